"""`python -m tests.defects [NAME ...]`: plants defects one by one and says how each was caught.

`--list` names them all. `--json` writes one verdict a line. `--planted-only` leaves out the runs without a defect.
`--pairs COUNT --seed SEED` plants two at once, of which at least one gate must notice something.
"""

from __future__ import annotations

import argparse
import json
import sys

from tests.defects.registry import load
from tests.defects.runner import cases_of, examine, flat, gates_of, pairs_of


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.defects", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--planted-only", action="store_true")
    parser.add_argument("--samples", action="store_true", help="plant what shows that holes are noticed")
    parser.add_argument("--pairs", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args()
    defects = load()
    if asked.list:
        for one in defects.values():
            print(f"{one.name}\n    {one.kind}\n    {one.what}\n    {one.gate}")
        return 0
    names = asked.names or list(defects)
    if asked.samples:
        from tests.defects.samples import SAMPLES

        names = SAMPLES
    cases = cases_of(names) if asked.planted_only else [*gates_of(names), *cases_of(names)]
    if asked.pairs:
        cases = pairs_of(names, asked.pairs, asked.seed)
    good = True
    for verdict in examine(cases, asked.workers):
        good = good and verdict.fine
        if asked.json:
            print(json.dumps(flat(verdict)), flush=True)
        else:
            print(f"{'ok  ' if verdict.fine else 'HOLE'} {verdict.seconds:5.1f} s  {verdict}", flush=True)
            if not verdict.fine:
                print(verdict.log)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
