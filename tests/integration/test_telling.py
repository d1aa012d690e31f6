"""What happens is told by the very transaction in which it happens, whoever found it out. On both databases."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from comptoir_server.app import event_log, event_streams
from comptoir_server.app.event_log import Subscribe
from comptoir_server.app.settled import Bell
from comptoir_server.runtime import arm_faults
from comptoir_server.store.checks import check_database, runner
from comptoir_server.store.reads.events import events_between
from comptoir_server.store.tables import REQUESTS
from tests.support.databases import database_url
from tests.support.providers import LOST_REPLY, ScriptedProvider, capabilities
from tests.support.world import World, open_world

__all__ = ["database_url"]

BOUND_SECONDS = 10


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with open_world(database_url) as made:
        yield made


async def purchase(world: World) -> None:
    """A payment whose reply is lost, found out by a look-up, and given back in part."""
    checkout = await world.checkout()
    world.provider.replies.append(LOST_REPLY)
    payment_id = (await world.confirm(checkout, seconds=0.3))["payment"].id
    await world.idle()
    await world.work(6)
    await world.refund(payment_id, 8_000)


async def types_of(world: World, log_id: str) -> list[str]:
    """What a log tells, oldest first."""
    events = await world.deps.store.read(
        lambda tx: events_between(tx, log_id, 0, 1_000, bot_id="", event_type="", session_id="", limit=1_000)
    )
    return [event.type for event in events]


async def test_every_commit_holds_its_events(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    about_events = [one for one in runner.INVARIANTS if one.code.startswith("E")]
    monkeypatch.setattr(runner, "INVARIANTS", about_events)
    broken: list[tuple[str, ...]] = []

    def look(point: str) -> None:
        if point == "batch.committed":
            broken.append(check_database(database_url).broken)

    patient = ScriptedProvider(replace(capabilities(), call_limit_seconds=60.0))  # looking takes its time
    async with open_world(database_url, patient) as world:
        arm_faults(look)
        try:
            await purchase(world)
            await world.idle()
        finally:
            arm_faults(None)

    assert len(about_events) >= 5
    assert len(broken) >= 6, "nobody looked"
    assert broken == [()] * len(broken)


async def test_what_a_look_up_decides_is_told_as_a_reply_would_be(world: World) -> None:
    replied = await world.confirm(await world.checkout())
    by_reply = await types_of(world, world.partner_id)
    checkout = await world.checkout()
    world.provider.replies.append(LOST_REPLY)
    await world.confirm(checkout, seconds=0.3)
    await world.work(6)

    by_look_up = (await types_of(world, world.partner_id))[len(by_reply) :]

    assert replied["payment"].state == "CAPTURED"
    assert [one for one in by_look_up if one != "payment.doubted"] == [
        one for one in by_reply if one != "session.opened"
    ]
    assert by_look_up[-4:] == ["payment.captured", "capture.succeeded", "checkout.completed", "order.opened"]


async def test_what_a_look_up_decides_is_stored_as_the_answer(world: World) -> None:
    checkout = await world.checkout()
    world.provider.replies.append(LOST_REPLY)
    first = await world.confirm(checkout, "the-one", seconds=0.3)
    await world.work(6)

    async def unanswered(tx: object) -> int:
        columns = REQUESTS.table.c
        statement = sa.select(sa.func.count()).where(columns.object_id == first["payment"].id, columns.answer == "")
        [[count]] = await tx.query(statement)  # type: ignore[attr-defined]
        return int(count)

    assert await world.deps.store.read(unanswered) == 0
    again = await world.confirm(checkout, "the-one")
    assert (again["payment"].state, again["checkout"].state) == ("CAPTURED", "COMPLETED")


async def test_an_event_whose_wake_up_was_lost_is_found_by_looking(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_streams, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(Bell, "wake", lambda _: None)
    said: asyncio.Queue[Subscribe] = asyncio.Queue()
    said.put_nowait(Subscribe("bookings", "", 0))

    async def requests() -> AsyncIterator[Subscribe]:
        while True:
            yield await said.get()

    stream: Any = event_log.stream_events(world.deps, world.by_partner("StreamEvents"), requests())
    async with asyncio.timeout(BOUND_SECONDS):
        first = await anext(stream)
        waiting = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0.1)
        checkout = await world.checkout()
        second = await waiting

    assert first["event"].event.type == "session.opened"
    assert (second["event"].event.type, second["event"].payload.id) == ("checkout.opened", checkout.id)
    await stream.aclose()
