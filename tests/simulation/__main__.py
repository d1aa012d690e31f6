"""Simulated worlds from the command line.

    python -m tests.simulation SEED [--without PART ...] [--shrink]     one world, what it holds and what went wrong
    python -m tests.simulation --seeds A..B [--jobs N]                  many worlds: progress, figures, failures

The exit code is 1 where something was wrong.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

from tests.simulation.batch import commit, run_seeds
from tests.simulation.plan import Plan, plan_of
from tests.simulation.run import run_plan
from tests.simulation.shrink import kind_of, shrink

SHRUNK_MAX = 3
"""How many failing worlds of a batch are made smaller."""


def main(arguments: Sequence[str]) -> int:
    """Runs what the arguments ask for; answers the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__.split("\n")[0])
    parser.add_argument("seed", nargs="?", type=int)
    parser.add_argument("--seeds", help="A..B: from A up to, and without, B")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--without", nargs="*", default=[], metavar="PART")
    parser.add_argument("--shrink", action="store_true")
    given = parser.parse_args(arguments)
    if (given.seed is None) == (given.seeds is None):
        parser.error("give a seed, or --seeds A..B")
    if given.seed is not None:
        return one(plan_of(given.seed).without(given.without), given.without, smaller=given.shrink)
    first, _, last = given.seeds.partition("..")
    return many(range(int(first), int(last)), given.jobs)


def one(plan: Plan, dropped: Sequence[str], *, smaller: bool) -> int:
    """Shows one world."""
    print(f"seed {plan.seed}, commit {commit()}: {plan.servers} server(s), payers {', '.join(plan.accounts)}")
    print(f"parts: {' '.join(repr(part) if ' ' in part else part for part in plan.parts)}")
    for story in plan.stories:
        kind = "hold" if story.manual else "charge"
        print(
            f"  story:{story.number} person {story.person} {story.way}, {kind} {story.minor_units}, then {story.after}"
        )
    found = run_plan(plan)
    print(
        f"{found.steps} steps, {found.seconds:.0f} virtual seconds, crashes {dict(found.crashes)}, trace {found.trace}"
    )
    for violation in found.violations:
        print(f"WRONG {violation}")
    if found.violations and smaller:
        explain(plan, found.violations[0], dropped)
    return 1 if found.violations else 0


def explain(plan: Plan, violation: str, dropped: Sequence[str] = ()) -> None:
    """Makes a failing world smaller and prints the command that repeats it."""
    parts = (*dropped, *shrink(plan, kind_of(violation), lambda smaller: run_plan(smaller).violations))
    without = " ".join(f"'{part}'" if " " in part else part for part in parts)
    print(f"to repeat it: python -m tests.simulation {plan.seed}{f' --without {without}' if parts else ''}")


def many(seeds: range, jobs: int) -> int:
    """Runs many worlds and shows what they came to."""
    started = time.monotonic()
    batch = run_seeds(seeds, jobs, print)
    for name, figure in batch.figures().items():
        print(f"{figure:>12} {name}")
    print(f"{batch.worlds / (time.monotonic() - started):.2f} worlds a second")
    for seed, found in list(batch.failures.items())[:SHRUNK_MAX]:
        explain(plan_of(seed), found[0])
    return 1 if batch.failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
