"""The bank for longer than a test has time for: series of twenty kills, each on a database of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from tests.proof.figures import Figures
from tests.proof.series import in_series
from tests.support.bank import run_bank

SERIES = 20


def run(scale: int, seed: int, report: Callable[[str], None]) -> tuple[Figures, list[str]]:
    """`scale` kills, one every five seconds, in series that begin at `seed`."""
    return in_series("bank", _one, scale, SERIES, seed, report)


async def _one(folder: Path, kills: int, seed: str) -> tuple[Figures, Sequence[str]]:
    bank, found = await run_bank(folder, kills, seed)
    return found, bank.violations
