"""A noisy partner and abused connections, for longer: `scale` seconds of each."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.hostile.abuse import KINDS
from tests.hostile.memory import MIB
from tests.hostile.test_overload import GROWTH_MAX, SHARE_MIN, overload
from tests.hostile.test_transport_abuse import GROWTH_MAX as ABUSE_GROWTH_MAX
from tests.hostile.test_transport_abuse import abused, before_and_during

Figures = dict[str, int | float | str]


def run(scale: int, seed: int, report: Callable[[str], None]) -> tuple[Figures, list[str]]:
    """Figures and violations of `scale` seconds of noise, and as many of each kind of abuse. Nothing is drawn."""
    del seed
    return asyncio.run(_run(scale, report))


async def _run(scale: int, report: Callable[[str], None]) -> tuple[Figures, list[str]]:
    figures: Figures = {"seconds": scale, "kinds of abuse": len(KINDS)}
    violations: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        shares, ended, lines, grown = await overload(Path(folder), float(scale))
    report("\n".join(lines))
    figures["answered alone, %"] = round(shares["alone"] * 100.0, 1)
    figures["answered beside, %"] = round(shares["beside"] * 100.0, 1)
    figures["noisy calls"] = ended.total()
    figures["grown by the noise, MiB"] = round(grown / MIB, 1)
    if shares["beside"] < SHARE_MIN * shares["alone"]:
        violations.append(f"beside a noisy partner only {shares['beside']:.0%} was answered")
    if grown > GROWTH_MAX:
        violations.append(f"the server grew by {grown // MIB} MiB under the noise")
    with tempfile.TemporaryDirectory() as folder:
        async with abused(Path(folder)) as (shop, person, server):
            for kind in KINDS:
                waits, said, size = await before_and_during(shop, person, server, kind, float(scale))
                report(f"{kind} ({said}): {waits}, {size // MIB:+} MiB")
                figures[f"{kind}: p99, ms"] = round(waits.at(0.99) * 1_000.0, 1)
                if size > ABUSE_GROWTH_MAX:
                    violations.append(f"the server grew by {size // MIB} MiB under {kind}")
            if not server.child.running:
                violations.append("the server ended")
    return figures, violations
