"""Walks the whole access matrix on a new SQLite file and prints it: `python -m tests.access [METHOD ...]`."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import structlog

from tests.access.door import METHODS
from tests.access.matrix import Findings, walked
from tests.access.table import printed
from tests.support.databases import new_sqlite


async def walk(names: Sequence[str]) -> Findings:
    """The cells of these methods, of all where none is named."""
    with tempfile.TemporaryDirectory() as folder:
        return await walked(new_sqlite(Path(folder)), [METHODS[name] for name in names or METHODS])


def main() -> int:
    """Prints the table, then what must not have been; answers 1 where there is anything of that."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    parser = argparse.ArgumentParser(prog="python -m tests.access", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("methods", nargs="*", metavar="METHOD", help="such as GetCheckout; all where none is given")
    wanted = parser.parse_args().methods
    for name in wanted:
        if name not in METHODS:
            parser.error(f"there is no method {name}")
    findings = asyncio.run(walk(wanted))
    printed(findings.cells)
    for sentence in findings.violations:
        print(sentence, file=sys.stderr)
    print(f"{len(findings.cells)} cells, {len(findings.violations)} violations", file=sys.stderr)
    return 1 if findings.violations else 0


if __name__ == "__main__":
    sys.exit(main())
