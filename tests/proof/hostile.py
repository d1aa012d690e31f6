"""Hostile input by the thousand: `scale` calls of every method, and a tenth as many HTTP requests."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.hostile import pages
from tests.hostile.campaign import Campaign
from tests.hostile.memory import MIB, resident_bytes
from tests.hostile.place import open_place
from tests.support.door import METHODS

Figures = dict[str, int | float | str]

SLICE = 2_000
"""How many calls of each method are made in one place; then another is opened, with the next seed."""


def run(scale: int, seed: int, report: Callable[[str], None]) -> tuple[Figures, list[str]]:
    """Figures and violations of `scale` calls a method, from `seed` on; other seeds make other calls."""
    return asyncio.run(_run(scale, seed, report))


async def _run(scale: int, seed: int, report: Callable[[str], None]) -> tuple[Figures, list[str]]:
    figures: Figures = {"methods": len(METHODS), "calls": 0, "requests": 0, "answered": 0, "refused": 0, "seeds": ""}
    violations: list[str] = []
    slowest, done, first = 0.0, 0, seed
    while done < scale:
        count = min(SLICE, scale - done)
        with tempfile.TemporaryDirectory() as folder:
            async with open_place(Path(folder), seed) as place:
                campaign = Campaign(place, seed)
                await campaign.settle_in()
                for method in METHODS:
                    await campaign.method(method, count)
                statuses, wrong = await pages.run(place, max(count // 500, 1), seed)
                violations += [str(finding) for finding in campaign.tally.findings] + wrong + place.problems()
        answered = sum(outcomes["OK"] for outcomes in campaign.tally.outcomes.values())
        _add(figures, calls=campaign.tally.calls, requests=statuses.total(), answered=answered)
        _add(figures, refused=campaign.tally.calls - answered)
        slowest = max(slowest, campaign.tally.slowest)
        done += count
        report(f"hostile: {figures['calls']} calls, {figures['requests']} requests, {len(violations)} wrong")
        seed += 1
    figures["seeds"] = f"{first} to {seed - 1}"
    figures["most CPU of a call, ms"] = round(slowest * 1_000.0, 1)
    figures["resident, MiB"] = round(resident_bytes() / MIB, 1)
    return figures, violations


def _add(figures: Figures, **more: int) -> None:
    for name, count in more.items():
        figures[name] = int(figures[name]) + count
