"""More failovers than a test has time for: series of six, each on a cluster of its own, from seed to seed."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.proof.figures import Figures, added
from tests.support.customers import as_violations
from tests.support.failing_over import fail_over_again_and_again

SERIES = 6


def run(scale: int, seed: int, report: Callable[[str], None]) -> tuple[Figures, list[str]]:
    """`scale` failovers in series that begin at `seed`."""
    figures: Figures = {}
    violations: list[str] = []
    for number in range(-(-scale // SERIES)):
        times = min(SERIES, scale - number * SERIES)
        with tempfile.TemporaryDirectory(prefix="comptoir-failovers-") as folder:
            try:
                outcome = asyncio.run(fail_over_again_and_again(Path(folder), times, f"{seed + number}"))
            except Exception as error:  # noqa: BLE001 - whatever fails is a finding
                violations += [f"seed {seed + number}: {words}" for words in as_violations(error)]
                continue
        violations += [f"seed {seed + number}: {words}" for words in outcome.failing.violations]
        figures = added(figures, outcome.figures)
        report(f"failovers, seed {seed + number}: {outcome.figures}")
    return figures, violations
