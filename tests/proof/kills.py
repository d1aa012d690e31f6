"""More kills than a test has time for: series of a hundred, each on a database of its own, from seed to seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from tests.proof.figures import Figures
from tests.proof.series import in_series
from tests.support.killing import DECIDED_MINUTES_MAX, kill_again_and_again

SERIES = 100


def run(scale: int, seed: int, report: Callable[[str], None]) -> tuple[Figures, list[str]]:
    """`scale` kills in series that begin at `seed`; figures are sums, and the longest of what is longest."""
    return in_series("kills", _one, scale, SERIES, seed, report)


async def _one(folder: Path, kills: int, seed: str) -> tuple[Figures, Sequence[str]]:
    outcome = await kill_again_and_again(folder, kills, seed)
    violations = [*outcome.killing.violations]
    minutes = outcome.figures["longest minutes until decided"]
    if minutes > DECIDED_MINUTES_MAX:
        violations.append(f"{minutes} minutes until everything was decided")
    return outcome.figures, violations
