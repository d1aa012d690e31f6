"""What a test needs of the machine that no package brings: where it is missing the test is skipped, and says so."""

from __future__ import annotations

import functools
import os
import tempfile
from pathlib import Path

import pytest

from tests.support import fuse

LACKING = "this machine lacks"
"""How the reason of such a skip begins; `tests.skips` makes a failure of it where nothing may be skipped."""


@functools.cache
def _why_no_mounts() -> str:
    if os.geteuid() != 0:
        return "root's rights"
    if not fuse.DEVICE.exists():
        return str(fuse.DEVICE)
    with tempfile.TemporaryDirectory() as folder:
        try:
            device = fuse.mount(Path(folder))
        except OSError as error:
            return f"the right to mount ({error.strerror})"
        os.close(device)
        fuse.unmount(Path(folder))
    return ""


def require_mounts() -> None:
    """Skips the test where no file system of our own can be mounted."""
    if why := _why_no_mounts():
        pytest.skip(f"{LACKING} {why}")
