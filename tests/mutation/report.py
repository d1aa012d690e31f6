"""What the mutants of a module show, in numbers and sentences."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.mutation.mutants import path_of
from tests.mutation.runner import Fate, Verdict, examine
from tests.mutation.scope import Target
from tests.mutation.survivors import ACCEPTED

EVERY = 50
"""After so many mutants it is said how far it is."""


@dataclass
class Result:
    """What came of the mutants of a module."""

    module: str
    fates: Counter[Fate] = field(default_factory=Counter)
    survivors: dict[str, str] = field(default_factory=dict)
    """Each with its patch."""
    accepted: int = 0
    complaints: list[str] = field(default_factory=list)
    """What the list of accepted survivors does not say, or says wrongly."""
    seconds: float = 0.0

    @property
    def met(self) -> int:
        """How many there were."""
        return sum(self.fates.values())

    @property
    def killed(self) -> int:
        """How many a test noticed."""
        return self.fates[Fate.KILLED] + self.fates[Fate.TIMED_OUT]

    @property
    def share(self) -> float:
        """Which part of them."""
        return self.killed / self.met if self.met else 0.0

    def take(self, verdict: Verdict, patch: str, accepted: Mapping[str, str]) -> str:
        """Counts a verdict; what is to be said of it, if anything."""
        name = verdict.mutant.name
        self.fates[verdict.fate] += 1
        if verdict.killed:
            return self._complain(f"killed, but listed as a survivor: {name}") if name in accepted else ""
        self.survivors[name] = patch
        if name in accepted:
            self.accepted += 1
            return f"{verdict.fate}, accepted ({accepted[name]}): {name}"
        return f"{self._complain(f'{verdict.fate}, and not listed: {name}')}\n{patch}"

    def _complain(self, complaint: str) -> str:
        self.complaints.append(complaint)
        return complaint


def measured(target: Target, jobs: int, share: float, report: Callable[[str], None]) -> Result:
    """Runs the mutants of a module and tells of each that survives as it is found."""
    result, text, began = Result(target.module), path_of(target.module).read_bytes(), time.monotonic()
    for verdict in examine(target, jobs, share):
        if said := result.take(verdict, verdict.mutant.diff(text), ACCEPTED):
            report(said)
        if result.met % EVERY == 0:
            report(f"{target.module}: {result.met} mutants, {result.killed} killed, {time.monotonic() - began:.0f} s")
    result.seconds = time.monotonic() - began
    return result


def flat(result: Result) -> dict[str, Any]:
    """A result as JSON."""
    return {
        "module": result.module,
        "mutants": result.met,
        "fates": {str(fate): count for fate, count in result.fates.items()},
        "share": round(result.share, 4),
        "survivors": result.survivors,
        "complaints": result.complaints,
        "seconds": round(result.seconds, 1),
    }
