"""`make bench`: what a payment costs, as ratios within one run, alternating slices, on SQLite and on PostgreSQL.

    python -m tests.load.bench [PART …] [--database sqlite|postgresql] [--quick] [--json FILE]

Real calls over gRPC from a process of its own, 64 callers, full durability, and a provider of zero latency inside of
the server; CPU is the kernel's own count. Figures of one run compare with each other, not with those of another day.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pytest
from rich.console import Console

from tests.load import calls, cold_start, paired, profile, streams, tpc_b
from tests.load.report import Report, Section
from tests.load.stand import FULL, QUICK, Opener, Scale, Setting, open_stands
from tests.support.databases import POSTGRESQL, SQLITE, new_postgresql, new_sqlite

Part = Callable[[Setting], Section | list[Section]]

OTHERS: dict[str, Part] = {
    "fan-out": streams.fan_out,
    "streams": streams.memory,
    "cold-start": cold_start.measure,
    "data-size": paired.data_size,
    "one-by-one": paired.one_by_one,
    "pgbench": tpc_b.measure,
    "profile": profile.measure,
}
NAMES = (*calls.METHODS, *OTHERS)
ONLY_ON = {"pgbench": POSTGRESQL}


def run(
    console: Console,
    names: Sequence[str],
    databases: Sequence[str],
    scale: Scale,
    opener: Opener = open_stands,
) -> Report:
    """Measures these parts on these databases and shows each when it is there."""
    report = Report()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="comptoir-bench-") as folder:
        for database in databases:
            setting = _setting(console, database, scale, Path(folder), opener)
            for number, (name, part) in enumerate(parts := _parts(names, database), 1):
                where = f"[{time.monotonic() - begun:4.0f} s] {database} {number}/{len(parts)}"
                console.print(f"{where}: {name} …", style="cyan", highlight=False, markup=False)
                try:
                    shown = part(setting)
                    for section in shown if isinstance(shown, list) else [shown]:
                        report.add(database, section, console)
                except pytest.skip.Exception as reason:
                    console.print(f"  left out: {reason}", highlight=False)
    report.show_targets(console)
    return report


def _parts(names: Sequence[str], database: str) -> list[tuple[str, Part]]:
    """The parts to run on a database; calls are measured together, for their ratios."""
    methods = [name for name in names if name in calls.METHODS]
    found: list[tuple[str, Part]] = []
    if methods:
        found.append((", ".join(methods), partial(calls.measure, methods=methods)))
    return found + [
        (name, part) for name, part in OTHERS.items() if name in names and ONLY_ON.get(name, database) == database
    ]


def _setting(console: Console, database: str, scale: Scale, folder: Path, opener: Opener) -> Setting:
    new_url = new_postgresql if database == POSTGRESQL else partial(new_sqlite, folder)

    def say(words: str) -> None:
        console.print(f"  {words}", style="dim", highlight=False)

    return Setting(database, scale, new_url, folder, say, opener)


def main() -> None:
    """Measures what was asked for and prints what is."""
    parser = argparse.ArgumentParser(prog="make bench", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="PART", help=f"of: {', '.join(NAMES)}; all where none is given")
    parser.add_argument("--database", choices=(SQLITE, POSTGRESQL), help="only this one")
    parser.add_argument("--quick", action="store_true", help="about a minute: to see that it runs, not to compare")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    given = parser.parse_args()
    unknown = [name for name in given.names if name not in NAMES]
    if unknown:
        parser.error(f"there is no part {unknown[0]}; there are: {', '.join(NAMES)}")
    databases = (given.database,) if given.database else (SQLITE, POSTGRESQL)
    scale = QUICK if given.quick else FULL
    report = run(Console(width=100), given.names or NAMES, databases, scale)
    if given.json is not None:
        report.write(given.json, scale)


if __name__ == "__main__":
    main()
