"""Canary secrets at scale: random programs in which whatever can fail does, and every place searched after each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tests.support.canary_programs import run_programs


def run(scale: int, seed: int, report: Callable[[str], None]) -> tuple[dict[str, int | float], list[str]]:
    """`scale` programs from `seed` on; any range of seeds may be run by itself."""
    tally = asyncio.run(run_programs(seed, scale, report))
    figures: dict[str, int | float] = {
        "programs": tally.programs,
        "calls": tally.calls,
        "refused": tally.refused,
        "failed inside": tally.failed,
        "canaries": tally.canaries,
    }
    return figures, tally.violations
