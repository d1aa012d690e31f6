"""The bank for longer than a test has time for: series of ten kills, each on a database of its own.

Here it is also judged how soon events are heard at another server: nothing else should run meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from tests.proof.figures import Figures
from tests.proof.series import in_series
from tests.support.bank import LATE_SECONDS, run_bank

SERIES = 10


def run(scale: int, seed: int, report: Callable[[str], None]) -> tuple[Figures, list[str]]:
    """`scale` kills, one every five seconds, in series that begin at `seed`."""
    return in_series("bank", _one, scale, SERIES, seed, report)


async def _one(folder: Path, kills: int, seed: str) -> tuple[Figures, Sequence[str]]:
    bank, found = await run_bank(folder, kills, seed)
    late = found["99 of 100 of them heard within ms"]
    too_late = [f"one event in a hundred was heard after {late} ms"] if late > LATE_SECONDS * 1_000 else []
    return found, [*bank.violations, *too_late]
