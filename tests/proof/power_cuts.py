"""More power cuts than a test has time for: series of fifty, each on a disk of its own, from seed to seed."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.proof.figures import Figures, added
from tests.support.customers import as_violations
from tests.support.power_cuts import cut_first_starts, cut_power_again_and_again

SERIES = 50
FIRST_STARTS = 10


def run(scale: int, seed: int, report: Callable[[str], None]) -> tuple[Figures, list[str]]:
    """At least `scale` cuts in series that begin at `seed`, and ten first starts that are cut off for each series."""
    figures: Figures = {}
    violations: list[str] = []
    for number in range(-(-scale // SERIES)):
        cuts = min(SERIES, scale - number * SERIES)
        with tempfile.TemporaryDirectory(prefix="comptoir-cuts-", ignore_cleanup_errors=True) as folder:
            try:
                outcome = asyncio.run(cut_power_again_and_again(Path(folder), cuts, f"{seed + number}"))
                asyncio.run(cut_first_starts(Path(folder), FIRST_STARTS, f"{seed + number}"))
            except Exception as error:  # noqa: BLE001 - whatever fails is a finding
                violations += [f"seed {seed + number}: {words}" for words in as_violations(error)]
                continue
        violations += [f"seed {seed + number}: {words}" for words in outcome.cutting.violations]
        figures = added(figures, outcome.figures | {"first starts cut off": FIRST_STARTS})
        report(f"power cuts, seed {seed + number}: {outcome.figures}")
    return figures, violations
