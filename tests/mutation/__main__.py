"""Mutation testing: changes the code that moves money one place at a time, and says which change no test notices.

    python -m tests.mutation [MODULE …] [--share SHARE] [--json FILE] [--jobs JOBS]

Exit code 1 where of a module less than nine in ten mutants are killed.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.mutation.report import Result, flat, measured
from tests.mutation.runner import warm_up
from tests.mutation.scope import KILLED_LEAST, SAMPLES, SCOPE


def main() -> int:
    """Runs, and answers the exit code."""
    given = _arguments()
    console = Console(highlight=False, soft_wrap=True)
    results = []
    warm_up()
    for target in SAMPLES if given.samples else SCOPE:
        if not given.modules or target.module in given.modules:
            results.append(measured(target, given.jobs, given.share, lambda line: console.print(line, markup=False)))
            if given.json:
                given.json.write_text(json.dumps([flat(one) for one in results], indent=1), encoding="utf-8")
    console.print(_table(results))
    return 0 if all(one.share >= KILLED_LEAST for one in results) else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=(__doc__ or "").splitlines()[0])
    modules = [target.module for target in SCOPE]
    parser.add_argument(
        "modules", nargs="*", metavar="MODULE", help=f"of: {', '.join(modules)}; all where none is given"
    )
    parser.add_argument("--share", type=float, default=1.0, help="meet only this share of the mutants (1)")
    parser.add_argument("--json", type=Path, help="write every verdict there")
    parser.add_argument("--samples", action="store_true", help="meet what shows that survivors are noticed")
    parser.add_argument("--jobs", type=int, default=2, help="processes at once (2)")
    given = parser.parse_args()
    unknown = [name for name in given.modules if name not in modules]
    if unknown:
        parser.error(f"{unknown[0]} is not mutated; these are: {', '.join(modules)}")
    return given


def _table(results: list[Result]) -> Table:
    table = Table(title="mutants")
    for heading in ("module", "mutants", "killed", "survived", "accepted", "%", "seconds"):
        table.add_column(heading, justify="left" if heading == "module" else "right", no_wrap=True)
    for one in results:
        table.add_row(
            one.module, str(one.met), str(one.killed), str(len(one.survivors)), str(one.accepted),
            f"{one.share:.1%}", f"{one.seconds:.0f}", style="" if one.share >= KILLED_LEAST else "bold red",
        )  # fmt: skip
    return table


if __name__ == "__main__":
    sys.exit(main())
