"""What a machine has once, the test runs on it take in turns."""

from __future__ import annotations

import fcntl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

DOCUMENTED_PORTS = "documented-ports"
"""7600, 7680 and 7610."""

FIRST_POSTGRESQL = "first-postgresql"
"""The system's user as whom root runs a PostgreSQL: two runs that make it at once get two, and lose one of them."""


@contextmanager
def turn(of: str) -> Iterator[None]:
    """Holds something against every other process and thread that asks for a turn of it."""
    with turn_file(of).open("w") as taken:
        fcntl.flock(taken, fcntl.LOCK_EX)
        yield


def turn_file(of: str) -> Path:
    """The file whose lock is the turn."""
    return Path(tempfile.gettempdir(), f"comptoir-{of}.lock")
