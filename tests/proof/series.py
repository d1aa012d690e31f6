"""Long runs in series, each in a folder of its own and from its own seed."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

from tests.proof.figures import Figures, added
from tests.support.customers import as_violations

One = Callable[[Path, int, str], Coroutine[Any, Any, tuple[Figures, Sequence[str]]]]
"""Runs so many cases in a folder, from a seed: what was counted and what was wrong."""


def in_series(
    name: str, one: One, scale: int, size: int, seed: int, report: Callable[[str], None]
) -> tuple[Figures, list[str]]:
    """`scale` cases in series of `size` that begin at `seed`; one that fails is a finding, and the next runs."""
    figures: Figures = {}
    violations: list[str] = []
    for number in range(-(-scale // size)):
        this = f"{seed + number}"
        with tempfile.TemporaryDirectory(prefix="comptoir-proof-", ignore_cleanup_errors=True) as folder:
            try:
                found, wrong = asyncio.run(one(Path(folder), min(size, scale - number * size), this))
            except Exception as error:  # noqa: BLE001 - whatever fails is a finding
                violations += [f"seed {this}: {words}" for words in (*as_violations(error), *_unforeseen(folder))]
                continue
            if wrong:
                violations += [f"seed {this}: {words}" for words in (*wrong, *_unforeseen(folder))]
        figures = added(figures, found)
        report(f"{name}, seed {this}: {found}")
    return figures, violations


def _unforeseen(folder: str) -> list[str]:
    """What the servers say of failures that nobody foresaw: where each came from is in their logs alone."""
    return [
        line
        for log in sorted(Path(folder).rglob("*.log"))
        for line in log.read_text(encoding="utf-8", errors="replace").splitlines()
        if '"unforeseen"' in line
    ]
