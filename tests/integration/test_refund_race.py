"""Two refunds of the rest at once, again and again: one wins, and nothing is ever given back twice.

On PostgreSQL from two servers, each with connections of its own, with seeded pauses between their statements; on
SQLite from one. With the row locks taken away the same harness finds what it is there to find.
"""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import replace
from typing import Any

import pytest

from comptoir_server.app import payments
from comptoir_server.app.deps import Deps
from comptoir_server.app.ports import OperationKind
from comptoir_server.domain.errors import Reason, Refused
from comptoir_server.store import postgresql
from comptoir_server.store.checks import check_database
from tests.support.databases import new_postgresql, new_sqlite
from tests.support.world import World, another_server, open_world

TRIES = 200
AT_ONCE = 8
AMOUNT = 24_000
PAUSE_SECONDS_MAX = 0.002
SEED = 20_261_124


def pausing(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """Every statement on PostgreSQL waits a moment first, so that transactions of two servers meet."""
    draw = random.Random(seed)
    run = postgresql.PostgresqlSession._run

    def paused(self: Any, statement: str, parameters: Any = ()) -> Any:
        time.sleep(draw.uniform(0, PAUSE_SECONDS_MAX))
        return run(self, statement, parameters)

    monkeypatch.setattr(postgresql.PostgresqlSession, "_run", paused)


async def give_back(world: World, deps: Deps, payment_id: str) -> bool:
    """Asks one server for the rest of a payment; whether it agreed."""
    call = world.by_partner("CreateRefund")
    try:
        await payments.create_refund(deps, call, payment_id=payment_id, amount=None, capture_id="", reason="")
    except Refused as refusal:
        if refusal.reason != Reason.REFUND_EXCEEDS_CAPTURE:
            raise
        return False
    return True


async def race(world: World, servers: tuple[Deps, Deps], tries: int) -> list[int]:
    """How many of the two refunds were agreed to, for each try."""
    places = asyncio.Semaphore(AT_ONCE)

    async def once() -> int:
        async with places:
            payment_id = (await world.confirm(await world.checkout(AMOUNT)))["payment"].id
            return sum(await asyncio.gather(*(give_back(world, deps, payment_id) for deps in servers)))

    return await asyncio.gather(*(once() for _ in range(tries)))


@pytest.mark.timeout(240)
async def test_two_servers_on_postgresql_never_give_back_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    url = new_postgresql()
    pausing(monkeypatch, SEED)
    async with open_world(url) as world:
        other = await another_server(world, url)
        agreed = await race(world, (world.deps, other), TRIES)
        await world.idle()
        await other.store.close()

    print(f"{TRIES} tries, seed {SEED}: {agreed.count(1)} with one refund, {agreed.count(2)} with two")
    assert agreed == [1] * TRIES
    assert world.provider.books.total(OperationKind.REFUND) == TRIES * AMOUNT
    assert check_database(url).broken == ()


@pytest.mark.timeout(240)
async def test_one_server_on_sqlite_never_gives_back_twice(tmp_path: Any) -> None:
    url = new_sqlite(tmp_path)
    async with open_world(url) as world:
        agreed = await race(world, (world.deps, world.deps), TRIES)
        await world.idle()

    assert agreed == [1] * TRIES
    assert world.provider.books.total(OperationKind.REFUND) == TRIES * AMOUNT
    assert check_database(url).broken == ()


@pytest.mark.timeout(240)
async def test_without_the_locks_the_race_is_lost_and_the_harness_sees_it(monkeypatch: pytest.MonkeyPatch) -> None:
    url = new_postgresql()
    async with open_world(url) as world:
        for lock in list(postgresql.LOCKS):
            monkeypatch.setitem(postgresql.LOCKS, lock, "")
        first = replace(world.deps, store=(await another_server(world, url)).store)
        second = await another_server(world, url)
        pausing(monkeypatch, SEED)
        agreed = await race_of_raw(world, (first, second))
        await world.runtime.drain(5)
        await first.store.close()
        await second.store.close()

    assert agreed[-1] == 2, "the harness did not notice that the locks were gone"


async def race_of_raw(world: World, servers: tuple[Deps, Deps]) -> list[int]:
    """As `race`, until one is lost: without locks other things break too, and are not what is counted."""
    agreed: list[int] = []
    for _ in range(TRIES):
        payment_id = (await world.confirm(await world.checkout(AMOUNT)))["payment"].id
        outcomes = await asyncio.gather(
            *(give_back(world, deps, payment_id) for deps in servers), return_exceptions=True
        )
        agreed.append(sum(outcome is True for outcome in outcomes))
        if agreed[-1] == 2:
            break
    return agreed
