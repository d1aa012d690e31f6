"""Random programs of two tenants: everybody does what is theirs in any order, and then others knock at what is there.

The matrix asks about new objects in their first state; here they are in whatever state the program has left them, each
side is the victim in turn, and ids are any that the side ever had.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tests.access.door import METHODS, knock
from tests.access.estate import ROLES, Estate, open_estate
from tests.access.identities import makes, owners
from tests.access.matrix import Matrix
from tests.access.recipes import RECIPES, request_of
from tests.access.sides import Side
from tests.access.witness import Witness
from tests.support.databases import new_sqlite

OF_ANY_STATE = ("chk", "pay", "cap", "rfd", "ord", "wlk", "key")
"""Objects that may be asked about in every state; a closed session or an unlinked wallet would stop the program."""

STEPS = 6
KNOCKS = 4
PROGRAMS_AN_ESTATE = 10

KNOCKED_AT = tuple(sorted(METHODS))
"""The methods of which each program asks for some."""

ACTIONS = tuple(sorted(name for name in RECIPES if not METHODS[name].reads and name != "UpdateMarket"))
"""What the sides do for themselves."""


@dataclass
class Tally:
    """What the programs came to."""

    programs: int = 0
    actions: int = 0
    cells: int = 0
    largest_refusal: int = 0
    violations: list[str] = field(default_factory=list)


async def run_programs(first_seed: int, count: int, report: Callable[[str], None]) -> Tally:
    """The programs of `count` seeds from `first_seed` on, some on each database."""
    tally = Tally()
    for start in range(first_seed, first_seed + count, PROGRAMS_AN_ESTATE):
        seeds = range(start, min(start + PROGRAMS_AN_ESTATE, first_seed + count))
        with tempfile.TemporaryDirectory() as folder:
            url = new_sqlite(Path(folder))
            async with open_estate(url) as estate:
                witness = Witness(estate.deps, url)
                for seed in seeds:
                    await _run(estate, witness, Random(seed), tally, f"seed {seed}")
                witness.close()
        report(f"{tally.programs} programs, {tally.cells} cells, {len(tally.violations)} violations")
    return tally


async def _run(estate: Estate, witness: Witness, random: Random, tally: Tally, name: str) -> None:
    for _ in range(STEPS):
        estate.roles = random.choice(ROLES)
        await _act(estate, random)
        tally.actions += 1
    estate.roles = random.choice(ROLES)
    _choose(estate.victim, random)
    matrix = Matrix(estate, witness)
    findings = await matrix.walk(METHODS[each] for each in random.sample(KNOCKED_AT, min(KNOCKS, len(KNOCKED_AT))))
    tally.programs += 1
    tally.cells += len(findings.cells)
    tally.largest_refusal = max(tally.largest_refusal, findings.largest_refusal)
    tally.violations += [f"{name}: {sentence}" for sentence in findings.violations]


async def _act(estate: Estate, random: Random) -> None:
    """Somebody does something that is theirs to do, whatever it comes to."""
    method, side = METHODS[random.choice(ACTIONS)], estate.victim
    able = [one for one in await owners(estate) if one.caller in method.callers]
    who = random.choice(able)
    request = await request_of(method, side, RECIPES, who.credential)
    if method.takes_request_id:
        request.request_id = estate.request_id()  # type: ignore[attr-defined]
    reply = await knock(estate.boundary, method, who.credential, request.SerializeToString())
    if makes(method, who.caller):
        side.notice(reply)
    await estate.idle()


def _choose(side: Side, random: Random) -> None:
    """Any object of each kind that the side ever had takes the place of the one that is asked about."""
    for prefix in OF_ANY_STATE:
        had = sorted(each for each in side.seen if each.startswith(f"{prefix}_".encode()))
        side.ids[prefix] = random.choice(had).decode()
