"""Running many worlds, in one process or several, and adding up what they found."""

from __future__ import annotations

import multiprocessing
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.simulation.plan import plan_of
from tests.simulation.run import run_plan
from tests.simulation.world import Findings

REPORT_EVERY = 50


@dataclass
class Batch:
    """What the worlds of some seeds came to."""

    worlds: int = 0
    seconds: float = 0.0
    steps: int = 0
    hits: Counter[str] = field(default_factory=Counter)
    crashes: Counter[str] = field(default_factory=Counter)
    struck: Counter[str] = field(default_factory=Counter)
    facts: Counter[str] = field(default_factory=Counter)
    failures: dict[int, list[str]] = field(default_factory=dict)

    def add(self, seed: int, found: Findings) -> None:
        """Counts a world."""
        self.worlds += 1
        self.seconds += found.seconds
        self.steps += found.steps
        self.hits += found.hits
        self.crashes += found.crashes
        self.struck += found.struck
        self.facts += found.facts
        if found.violations:
            self.failures[seed] = found.violations

    @property
    def violations(self) -> list[str]:
        """Every failure with the seed that repeats it."""
        return [f"seed {seed}: {what}" for seed, found in self.failures.items() for what in found]

    def figures(self) -> dict[str, int | float | str]:
        """The whole as a flat table."""
        figures: dict[str, int | float | str] = {
            "worlds": self.worlds,
            "virtual hours": round(self.seconds / 3600, 1),
            "steps": self.steps,
            "crashes": self.crashes.total(),
            "violations": len(self.violations),
        }
        for name, counted in (
            ("crash", self.crashes),
            ("point", self.hits),
            ("fault", self.struck),
            ("", self.facts),
        ):
            figures |= {f"{name} {key}".strip(): count for key, count in sorted(counted.items())}
        return figures


def run_seeds(seeds: Sequence[int], jobs: int = 1, report: Callable[[str], None] = lambda _line: None) -> Batch:
    """Runs the worlds of some seeds; `report` is told now and then how it goes, and of every failure at once."""
    batch = Batch()
    for seed, found in _found(seeds, jobs):
        batch.add(seed, found)
        for what in found.violations:
            report(f"seed {seed}, commit {commit()}: {what}")
        if batch.worlds % REPORT_EVERY == 0:
            crashes, failed = batch.crashes.total(), len(batch.failures)
            report(f"{batch.worlds} of {len(seeds)} worlds, {crashes} crashes, {failed} failed")
    return batch


def _found(seeds: Sequence[int], jobs: int) -> Iterator[tuple[int, Findings]]:
    if jobs == 1:
        yield from map(_run, seeds)
        return
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        yield from pool.imap_unordered(_run, seeds, chunksize=4)


def _run(seed: int) -> tuple[int, Findings]:
    return seed, run_plan(plan_of(seed))


def commit() -> str:
    """The commit that is checked out, with a mark where files were changed since."""
    command = ("git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*")
    folder = Path(__file__).resolve().parents[2]
    said = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return said.stdout.strip() or "unknown"
