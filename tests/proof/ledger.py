"""What a long proof has shown so far: kept in a file after each slice, so that it can be taken up again."""

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
    """What one instrument has shown. The next slice begins at seed `done`."""

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
    """What was shown of one commit."""

    commit: str
    entries: dict[str, Entry] = field(default_factory=dict)

    def entry(self, name: str) -> Entry:
        """The entry of an instrument, empty at first."""
        return self.entries.setdefault(name, Entry())

    def write(self, path: Path) -> None:
        """Keeps it, whole or not at all."""
        draft = path.with_suffix(".draft")
        draft.write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")
        draft.replace(path)


def read_ledger(path: Path, commit: str) -> Ledger:
    """What was kept of this commit; an empty one where nothing was, or of another."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Ledger(commit)
    if kept["commit"] != commit:
        return Ledger(commit)
    return Ledger(commit, {name: Entry(**entry) for name, entry in kept["entries"].items()})


@contextmanager
def changing(path: Path, commit: str) -> Iterator[Ledger]:
    """What was kept of this commit, to be added to and kept again; runs beside this one wait until that is done."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        ledger = read_ledger(path, commit)
        yield ledger
        ledger.write(path)
