"""Which readings of the monotonic clock may be held against each other."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from comptoir_server import runtime
from comptoir_server.runtime import Runtime

NAME = "from comptoir_server.runtime import Runtime; print(Runtime().monotonic_clock)"


def test_clocks_of_which_nothing_is_known_are_each_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "_BOOT_FILES", (Path("/nowhere/boot_id"),))

    assert len({Runtime().monotonic_clock for _ in range(3)}) == 3


@pytest.mark.skipif(not runtime._BOOT_FILES[0].exists(), reason="only Linux says which start of a machine this is")
def test_processes_of_one_machine_read_one_clock() -> None:
    other = subprocess.run([sys.executable, "-c", NAME], capture_output=True, text=True, check=True, timeout=60)

    assert other.stdout.strip() == Runtime().monotonic_clock


def test_another_start_or_a_container_with_its_own_clock_is_another_clock(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    files = (tmp_path / "boot_id", tmp_path / "timens_offsets")
    monkeypatch.setattr(runtime, "_BOOT_FILES", files)
    names = set()
    for start, offsets in (("one", "monotonic 0 0"), ("two", "monotonic 0 0"), ("two", "monotonic 86400 0")):
        files[0].write_text(start, encoding="utf-8")
        files[1].write_text(offsets, encoding="utf-8")
        names |= {Runtime().monotonic_clock, Runtime().monotonic_clock}

    assert len(names) == 3
