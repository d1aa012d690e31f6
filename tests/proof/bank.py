"""The bank for longer than a test has time for: series of twenty kills, each on a database of its own."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.proof.figures import Figures, added
from tests.support.bank import run_bank
from tests.support.customers import as_violations

SERIES = 20


def run(scale: int, seed: int, report: Callable[[str], None]) -> tuple[Figures, list[str]]:
    """`scale` kills, one every five seconds, in series that begin at `seed`."""
    figures: Figures = {}
    violations: list[str] = []
    for number in range(-(-scale // SERIES)):
        kills = min(SERIES, scale - number * SERIES)
        with tempfile.TemporaryDirectory(prefix="comptoir-bank-") as folder:
            try:
                bank, found = asyncio.run(run_bank(Path(folder), kills, f"{seed + number}"))
            except Exception as error:  # noqa: BLE001 - whatever fails is a finding
                violations += [f"seed {seed + number}: {words}" for words in as_violations(error)]
                continue
        violations += [f"seed {seed + number}: {words}" for words in bank.violations]
        figures = added(figures, found)
        report(f"bank, seed {seed + number}: {found}")
    return figures, violations
