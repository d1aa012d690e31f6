"""The access matrix at scale: all cells on both databases, then random programs at whose objects everybody knocks."""

from __future__ import annotations

import asyncio
import logging
import tempfile
from collections.abc import Callable
from pathlib import Path

import structlog

from tests.access.door import METHODS
from tests.access.matrix import walked
from tests.access.programs import run_programs
from tests.support.databases import new_postgresql, new_sqlite

Figures = dict[str, int | float]


def run(scale: int, seed: int, report: Callable[[str], None]) -> tuple[Figures, list[str]]:
    """All cells once, then `scale` programs from `seed` on; any range of seeds may be run by itself."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    figures: Figures = {"methods": len(METHODS)}
    violations: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        for name, url in (("SQLite", new_sqlite(Path(folder))), ("PostgreSQL", new_postgresql())):
            findings = asyncio.run(walked(url, METHODS.values()))
            figures[f"cells on {name}"] = len(findings.cells)
            violations += [f"{name}: {sentence}" for sentence in findings.violations]
            report(f"access matrix on {name}: {len(findings.cells)} cells, {len(findings.violations)} violations")
    tally = asyncio.run(run_programs(seed, scale, report))
    figures |= {
        "programs": tally.programs,
        "actions": tally.actions,
        "cells in programs": tally.cells,
        "largest refusal, bytes": float(tally.largest_refusal),
    }
    return figures, violations + tally.violations
