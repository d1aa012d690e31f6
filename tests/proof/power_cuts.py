"""More power cuts than a test has time for: series of fifty, each on a disk of its own, from seed to seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from tests.proof.figures import Figures
from tests.proof.series import in_series
from tests.support.power_cuts import cut_first_starts, cut_power_again_and_again

SERIES = 50
FIRST_STARTS = 10


def run(scale: int, seed: int, report: Callable[[str], None]) -> tuple[Figures, list[str]]:
    """At least `scale` cuts in series that begin at `seed`, and ten first starts that are cut off for each series."""
    return in_series("power cuts", _one, scale, SERIES, seed, report)


async def _one(folder: Path, cuts: int, seed: str) -> tuple[Figures, Sequence[str]]:
    outcome = await cut_power_again_and_again(folder, cuts, seed)
    await cut_first_starts(folder, FIRST_STARTS, seed)
    return outcome.figures | {"first starts cut off": FIRST_STARTS}, outcome.cutting.violations
