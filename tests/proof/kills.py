"""More kills than a test has time for: series of a hundred, each on a database of its own, from seed to seed."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.proof.figures import Figures, added
from tests.support.customers import as_violations
from tests.support.killing import DECIDED_MINUTES_MAX, kill_again_and_again

SERIES = 100


def run(scale: int, seed: int, report: Callable[[str], None]) -> tuple[Figures, list[str]]:
    """`scale` kills in series that begin at `seed`; figures are sums, and the longest of what is longest."""
    figures: Figures = {}
    violations: list[str] = []
    for number in range(-(-scale // SERIES)):
        kills = min(SERIES, scale - number * SERIES)
        with tempfile.TemporaryDirectory(prefix="comptoir-kills-") as folder:
            try:
                outcome = asyncio.run(kill_again_and_again(Path(folder), kills, f"{seed + number}"))
            except Exception as error:  # noqa: BLE001 - whatever fails is a finding
                violations += [f"seed {seed + number}: {words}" for words in as_violations(error)]
                continue
        violations += [f"seed {seed + number}: {words}" for words in outcome.killing.violations]
        minutes = outcome.figures["longest minutes until decided"]
        if minutes > DECIDED_MINUTES_MAX:
            violations.append(f"seed {seed + number}: {minutes} minutes until everything was decided")
        figures = added(figures, outcome.figures)
        report(f"kills, seed {seed + number}: {outcome.figures}")
    return figures, violations
