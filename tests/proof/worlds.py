"""Simulated worlds by the thousand: the longer run of what `tests/simulation` runs in short."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NamedTuple

from tests.simulation.batch import run_seeds


class Result(NamedTuple):
    """Figures by name, and everything that was wrong, each with the seed that repeats it."""

    figures: dict[str, int | float | str]
    violations: list[str]


def run(scale: int, seed: int, report: Callable[[str], None]) -> Result:
    """Runs `scale` worlds on every core, those of the seeds from `seed` on; the next slice begins at `seed + scale`."""
    batch = run_seeds(range(seed, seed + scale), jobs=os.cpu_count() or 1, report=report)
    return Result(batch.figures(), batch.violations)
