"""What a long proof has shown so far: kept in a file after each slice, so that it can be taken up again.

Each instrument's part is of one commit. One that is run again after a change begins anew, and the others stay.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

Figure = int | float | str


class Slice(NamedTuple):
    """What the next cases of an instrument showed, and how long they took."""

    cases: int
    seconds: float
    figures: dict[str, Figure]
    violations: list[str]


@dataclass
class Entry:
    """What one instrument has shown of one commit. The next slice begins at seed `done`."""

    commit: str
    done: int = 0
    seconds: float = 0.0
    figures: dict[str, Figure] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)

    def add(self, shown: Slice) -> None:
        """Takes in a slice: whole numbers are counts and add up, fractions are maxima, of words the last stands."""
        self.done += shown.cases
        self.seconds += shown.seconds
        self.violations += shown.violations
        for name, value in shown.figures.items():
            before = self.figures.get(name)
            if isinstance(value, int) and isinstance(before, int):
                value += before
            elif isinstance(value, float) and isinstance(before, int | float):
                value = max(value, before)
            self.figures[name] = value


@dataclass
class Ledger:
    """What each instrument has shown of the commit that it ran on last."""

    entries: dict[str, Entry] = field(default_factory=dict)

    def entry(self, name: str, commit: str) -> Entry:
        """The entry of an instrument, empty at first, and where the last one is of another commit."""
        kept = self.entries.get(name)
        return kept if kept is not None and kept.commit == commit else Entry(commit)

    def write(self, path: Path) -> None:
        """Keeps it, whole or not at all."""
        draft = path.with_suffix(".draft")
        draft.write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")
        draft.replace(path)


def read_ledger(path: Path) -> Ledger:
    """What was kept; an empty one where nothing was."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Ledger()
    return Ledger({name: Entry(**entry) for name, entry in kept["entries"].items()})


@contextmanager
def changing(path: Path) -> Iterator[Ledger]:
    """What was kept, to be added to and kept again; runs beside this one wait until that is done."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        ledger = read_ledger(path)
        yield ledger
        ledger.write(path)
