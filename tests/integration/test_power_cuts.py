"""The power is cut under load, on a disk that forgets what was not synced: nothing that was answered is lost.

The disk is a file system of our own (`tests.support.lossy_disk`), so these tests need root and /dev/fuse. A longer run
is `tests.proof.power_cuts`.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.support.kernel import require_mounts
from tests.support.lossy_disk import Disk, Loss
from tests.support.power_cuts import cut_first_starts, cut_power_again_and_again

SEED = 20_261_129
CUTS = 30
FIRST_STARTS = 6

pytestmark = pytest.mark.timeout(600)


def left_after_a_cut(folder: Path, loss: Loss, seed: int) -> dict[str, bytes]:
    """What a disk holds on which one page was synced, two more were written, and two names changed."""
    folder.mkdir()
    (folder / "old").write_bytes(b"o" * 4096)
    disk = Disk(folder)
    file = disk.look_up("old")
    disk.write(file, 0, b"s" * 4096)
    disk.sync(file)
    disk.write(file, 0, b"1" * 4096)
    disk.write(file, 0, b"2" * 4096)
    disk.rename("old", "new")
    disk.create("made")
    disk.cut(loss, random.Random(seed))
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_disk_loses_what_was_not_synced_and_only_that(tmp_path: Path) -> None:
    found = {loss: [left_after_a_cut(tmp_path / f"{loss.name}{i}", loss, i) for i in range(40)] for loss in Loss}

    assert found[Loss.ALL] == [{"old": b"s" * 4096}] * 40
    for loss in (Loss.SOME, Loss.REORDERED):
        assert {frozenset(left) for left in found[loss]} == {
            frozenset({"old"}),
            frozenset({"new"}),
            frozenset({"new", "made"}),
        }
    contents = {loss: {left.get("new", left.get("old", b"")) for left in found[loss]} for loss in Loss}
    assert contents[Loss.SOME] == {b"s" * 4096, b"2" * 4096}
    assert contents[Loss.REORDERED] > {b"s" * 4096, b"1" * 4096, b"2" * 4096}
    assert any({ord("2"), ord("s")} == set(content) for content in contents[Loss.REORDERED])


async def test_a_server_that_does_not_sync_every_commit_is_found_out(tmp_path: Path) -> None:
    require_mounts()

    outcome = await cut_power_again_and_again(tmp_path, 10, "lowered", {"synchronous": "NORMAL"})

    assert outcome.account is None
    assert any("is lost" in words for words in outcome.cutting.violations)


async def test_after_thirty_power_cuts_everything_that_was_answered_is_there(tmp_path: Path) -> None:
    require_mounts()

    outcome = await cut_power_again_and_again(tmp_path, CUTS, f"{SEED}")

    cutting = outcome.cutting
    print(f"seed {SEED}: {outcome.figures}; { ({loss.name: count for loss, count in cutting.cuts.items()}) }")
    assert cutting.violations == []
    assert cutting.cuts.total() >= CUTS
    assert set(cutting.cuts) == set(Loss)
    assert cutting.lost["pages"] > 0
    assert cutting.customers.unanswered == 0


async def test_a_first_start_that_is_cut_off_does_not_stop_the_next_one(tmp_path: Path) -> None:
    require_mounts()

    lost = await cut_first_starts(tmp_path, FIRST_STARTS, f"{SEED}")

    print(f"seed {SEED}: {FIRST_STARTS} first starts, not synced then: {dict(lost)}")
    assert lost["names"] > 0
