"""The documented ports 7600, 7680 and 7610 exist once a machine: tests that use them take turns."""

from __future__ import annotations

import fcntl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def documented_ports() -> Iterator[None]:
    """Holds the ports against the other processes of the test run."""
    with (Path(tempfile.gettempdir()) / "comptoir-documented-ports.lock").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        yield
