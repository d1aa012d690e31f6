"""`make proof`: every instrument for hours, a slice at a time, into a dated report.

    python -m tests.proof [NAME …] [--hours HOURS] [--share SHARE] [--restart]

Runs what is missing of each instrument's target, taking turns, and writes `tests/proof/REPORT.md` after every slice. It
may be interrupted at any moment and goes on where it was, as long as the commit is the same; an instrument that is run
on another commit begins anew. Runs of different instruments may go on beside each other, one for each core. Exit code 1
where anything was violated.
"""

from __future__ import annotations

import argparse
import importlib
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.proof.ledger import Entry, Figure, Ledger, Slice, changing, read_ledger

REPOSITORY = Path(__file__).resolve().parents[2]
KEPT = REPOSITORY / ".comptoir" / "proof.json"
REPORT = Path(__file__).with_name("REPORT.md")
COMMIT_LETTERS = 12

Run = Callable[[int, int, Callable[[str], None]], tuple[dict[str, Figure], list[str]]]
"""Runs so many cases from a seed on, reports as it goes, and answers figures and violations."""


@dataclass(frozen=True)
class Instrument:
    """One way to break a promise: what it runs, how much of it is a proof, and how much at a time."""

    module: str
    cases: str
    target: int
    slice: int


INSTRUMENTS: dict[str, Instrument] = {
    "worlds": Instrument("worlds", "simulated worlds", 20_000, 500),
    "kills": Instrument("kills", "kills with -9", 1_000, 100),
    "power cuts": Instrument("power_cuts", "power cuts", 300, 50),
    "failovers": Instrument("failovers", "PostgreSQL failovers", 30, 6),
    "bank": Instrument("bank", "kills of one of three servers, every five seconds", 360, 10),
    "hostile": Instrument("hostile", "hostile inputs a method", 20_000, 500),
    "access": Instrument("access", "programs of two tenants", 2_000, 20),
    "canaries": Instrument("canaries", "programs with canaries", 500, 10),
    "defects": Instrument("defects", "pairs of planted defects", 200, 20),
    "mutation": Instrument("mutation", "modules, every mutant of each", 21, 1),
    "speed": Instrument("speed", "runs of the bench", 1, 1),
    "overload": Instrument("overload", "seconds of noise, and of each abuse", 600, 10),
}


def main() -> int:
    """Runs, and answers the exit code."""
    given = _arguments()
    console = Console()
    commit = _commit()
    if given.restart:
        KEPT.unlink(missing_ok=True)
    ledger = read_ledger(KEPT)
    names = given.names or list(INSTRUMENTS)
    end = time.monotonic() + given.hours * 3600
    while time.monotonic() < end:
        entries = {name: ledger.entry(name, commit) for name in names}
        left = {name: more for name in names if (more := _target(name, given.share) - entries[name].done) > 0}
        if not left:
            break
        name = min(left, key=lambda each: entries[each].done / _target(each, given.share))
        shown = _slice(console, name, entries[name], min(INSTRUMENTS[name].slice, left[name]))
        with changing(KEPT) as ledger:
            entry = ledger.entries[name] = ledger.entry(name, commit)
            entry.add(shown)
            REPORT.write_text(_report(ledger), encoding="utf-8")
    console.print(_table(ledger))
    return 1 if any(entry.violations for entry in ledger.entries.values()) else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make proof", description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of: {', '.join(INSTRUMENTS)}; all where none is given"
    )
    parser.add_argument("--hours", type=float, default=24.0, help="stop after so many hours (24)")
    parser.add_argument("--share", type=float, default=1.0, help="run only this share of each target (1)")
    parser.add_argument("--restart", action="store_true", help="forget what was shown of this commit before")
    given = parser.parse_args()
    unknown = [name for name in given.names if name not in INSTRUMENTS]
    if unknown:
        parser.error(f"there is no instrument {unknown[0]}; there are: {', '.join(INSTRUMENTS)}")
    return given


def _target(name: str, share: float) -> int:
    return max(round(INSTRUMENTS[name].target * share), 1)


def _slice(console: Console, name: str, entry: Entry, count: int) -> Slice:
    """Runs the next cases of an instrument, and answers what they showed."""
    instrument = INSTRUMENTS[name]
    console.print(f"{name}: {entry.done:,} of {instrument.target:,} {instrument.cases}")
    run: Run = importlib.import_module(f"tests.proof.{instrument.module}").run
    started = time.monotonic()
    figures, violations = run(count, entry.done, lambda line: console.print(f"  {line}", style="dim"))
    for violation in violations:
        console.print(f"  VIOLATED {violation}", style="bold red")
    return Slice(count, time.monotonic() - started, figures, violations)


def _commit() -> str:
    found = subprocess.run(["git", "rev-parse", "HEAD"], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    changed = subprocess.run(
        ["git", "status", "--porcelain", "--untracked-files=no", "--", ".", f":!{REPORT.relative_to(REPOSITORY)}"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    return found.stdout.strip() + (" with changes" if changed.stdout else "")


def _table(ledger: Ledger) -> Table:
    table = Table(title="proof")
    for heading in ("instrument", "commit", "done", "target", "violations", "hours"):
        table.add_column(heading, justify="left" if heading in ("instrument", "commit") else "right")
    for name, entry in ledger.entries.items():
        numbers = f"{entry.done:,}", f"{INSTRUMENTS[name].target:,}", f"{len(entry.violations)}"
        table.add_row(name, _short(entry.commit), *numbers, f"{entry.seconds / 3600:.2f}")
    return table


def _report(ledger: Ledger) -> str:
    """The report as it is committed."""
    written = (
        f"Written {datetime.now(UTC):%Y-%m-%d %H:%M} UTC by `make proof`, on {platform.system()} with "
        f"{platform.python_implementation()} {platform.python_version()}."
    )
    lines = [
        "# Proof",
        "",
        written,
        "Seeds run from 0 to the number done; `make proof` on the same commit repeats them and goes on from there.",
        "",
        "| instrument | cases | commit | done | target | violations | hours |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for name, entry in ledger.entries.items():
        one, commit = INSTRUMENTS[name], _short(entry.commit)
        numbers = f"{entry.done:,} | {one.target:,} | {len(entry.violations)} | {entry.seconds / 3600:.2f}"
        lines.append(f"| {name} | {one.cases} | `{commit}` | {numbers} |")
    for name, entry in ledger.entries.items():
        lines += ["", f"## {name}", "", *_figures(entry)]
    return "\n".join(lines) + "\n"


def _short(commit: str) -> str:
    """A commit as people name it, with the mark of one that was changed."""
    number, _, mark = commit.partition(" ")
    return f"{number[:COMMIT_LETTERS]} {mark}".rstrip()


def _figures(entry: Entry) -> list[str]:
    shown = [
        f"- {name}: {value:,}" if isinstance(value, int) else f"- {name}: {value}"
        for name, value in entry.figures.items()
    ]
    return [*shown, *(f"- **violated**: {violation}" for violation in entry.violations)]


if __name__ == "__main__":
    sys.exit(main())
