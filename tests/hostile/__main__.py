"""Makes the hostile calls of one session again, shrinks what is wrong with them, and keeps it on demand.

.venv/bin/python -m tests.hostile ConfirmCheckout --seed 7 --block 3 [--keep NAME]
.venv/bin/python -m tests.hostile all --calls 20000 --seed 7
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from comptoir_server import log
from tests.hostile.campaign import BLOCK, Campaign, Finding, shrunk
from tests.hostile.place import open_place
from tests.support.door import METHODS


async def main(arguments: argparse.Namespace) -> int:
    """Prints what is wrong; 1 where anything is."""
    names = list(METHODS) if arguments.method == "all" else [arguments.method]
    found: list[Finding] = []
    with tempfile.TemporaryDirectory() as folder:
        async with open_place(Path(folder), arguments.seed) as place:
            campaign = Campaign(place, arguments.seed)
            await campaign.settle_in()
            for name in names:
                if arguments.block is not None:
                    new = await campaign.block(name, arguments.block, BLOCK)
                else:
                    new = await campaign.method(name, arguments.calls)
                found += new
                print(f"{name}: {dict(campaign.tally.outcomes[name].most_common())}", flush=True)
                for finding in new:
                    print(finding, flush=True)
            for number, finding in enumerate(found[:10]):
                entry = await shrunk(place, finding)
                if entry is None:
                    print(f"{finding.given.method}: only after the calls before it")
                    continue
                print(f"{finding.given.method}: shrunk to {[raw.hex() for raw in entry.given.requests]}")
                if arguments.keep:
                    print(f"kept in {entry.write(f'{arguments.keep}-{number}' if number else arguments.keep)}")
            problems = place.problems()
    print(f"{campaign.tally.calls} calls, {len(found)} wrong; the database breaks {problems or 'nothing'}")
    return 1 if found or problems else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("method", choices=[*METHODS, "all"])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--block", type=int)
    parser.add_argument("--calls", type=int, default=1_000)
    parser.add_argument("--keep", default="")
    log.set_up(level="critical")
    sys.exit(asyncio.run(main(parser.parse_args())))
