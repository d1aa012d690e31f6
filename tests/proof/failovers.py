"""More failovers than a test has time for: series of six, each on a cluster of its own, from seed to seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from tests.proof.figures import Figures
from tests.proof.series import in_series
from tests.support.failing_over import fail_over_again_and_again

SERIES = 6


def run(scale: int, seed: int, report: Callable[[str], None]) -> tuple[Figures, list[str]]:
    """`scale` failovers in series that begin at `seed`."""
    return in_series("failovers", _one, scale, SERIES, seed, report)


async def _one(folder: Path, times: int, seed: str) -> tuple[Figures, Sequence[str]]:
    outcome = await fail_over_again_and_again(folder, times, seed)
    return outcome.figures, outcome.failing.violations
