"""What a call costs, against an empty one and against pgbench: the ratios that the project asks of itself.

A ratio that is not what was asked for breaks no promise to anybody: it is written down as not met, and is no violation.
"""

from __future__ import annotations

from collections.abc import Callable

from rich.console import Console

from tests.load import bench
from tests.load.stand import FULL
from tests.proof.ledger import Figure
from tests.support.databases import POSTGRESQL, SQLITE

PARTS = ("read", "confirm", "pgbench")


def run(scale: int, seed: int, report: Callable[[str], None]) -> tuple[dict[str, Figure], list[str]]:
    """`scale` runs at full size, of which the last is written down. Nothing else should run meanwhile."""
    del seed
    figures: dict[str, Figure] = {}
    for number in range(scale):
        report(f"run {number + 1} of {scale}")
        shown = bench.run(Console(width=100), PARTS, (SQLITE, POSTGRESQL), FULL)
        figures = {
            f"{target.words}, {database}": f"{value:.2f} ({target.asked} asked: {'met' if met else 'not met'})"
            for database, target, value, met in shown.judged()
        }
    return figures, []
