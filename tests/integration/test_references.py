"""A partner's reference: one checkout that is open or paid has it, whoever asks at the same moment."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import pytest

from comptoir_server.app.events import tell
from comptoir_server.app.ports import OperationKind
from comptoir_server.domain.checkouts import Checkout
from comptoir_server.domain.errors import Reason, Refused
from comptoir_server.runtime import arm_faults
from comptoir_server.store.checks import check_database
from comptoir_server.store.database import IntegrityError
from comptoir_server.store.postgresql import PostgresqlSession
from comptoir_server.store.tables import BOT_USERS, BOTS, CHECKOUTS, SESSIONS
from comptoir_server.store.tx import Tx
from tests.support.databases import database_url
from tests.support.reckoning import read
from tests.support.world import World, another_server, open_world

__all__ = ["database_url"]

REFERENCE = "trip-1"
ROUNDS = 10
BOUND_SECONDS = 30


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with open_world(database_url) as made:
        yield made


async def refused(world: World) -> Refused:
    """Why another checkout of the reference is not made."""
    with pytest.raises(Refused) as refusal:
        await world.checkout(partner_reference=REFERENCE)
    return refusal.value


async def test_a_reference_that_was_paid_is_refused_and_names_the_checkout(world: World, database_url: str) -> None:
    paid = await world.checkout(partner_reference=REFERENCE)
    await world.confirm(paid)

    refusal = await refused(world)

    assert (refusal.reason, refusal.metadata) == (Reason.REFERENCE_ALREADY_PAID, {"checkout_id": paid.id})
    assert world.provider.books.total(OperationKind.CHARGE) == paid.total
    assert await checkouts_of_the_partner(world) == [paid.id]
    assert check_database(database_url).broken == ()


async def test_a_reference_that_is_open_is_refused_and_free_again_once_that_is_cancelled(world: World) -> None:
    first = await world.checkout(partner_reference=REFERENCE)

    refusal = await refused(world)
    await world.cancel(first)
    second = await world.checkout(partner_reference=REFERENCE)

    allowed = {"state": "OPEN", "allowed": "CANCELED, EXPIRED"}
    assert (refusal.reason, refusal.metadata) == (Reason.INVALID_STATE, allowed)
    assert await checkouts_of_the_partner(world) == [first.id, second.id]


async def checkouts_of_the_partner(world: World) -> list[str]:
    """Every checkout with the reference, in whatever state."""
    found = await world.deps.store.read(
        lambda tx: tx.load(CHECKOUTS.list_by("by_reference", world.partner_id, REFERENCE))
    )
    return [checkout.id for checkout in found]


async def through_another_bot(world: World, **changed: Any) -> World:
    """The world as the partner's second bot sees it, which talks to the same person in a session of its own."""
    bot, session, bot_user = await world.deps.store.read(
        lambda tx: tx.load(
            BOTS.get(world.bot_id),
            SESSIONS.get(world.session_id),
            BOT_USERS.get_by("by_bot_and_user", world.bot_id, world.user_id),
        )
    )
    assert bot is not None
    assert session is not None
    assert bot_user is not None
    new_id = world.runtime.new_id
    bot_id, session_id, bot_user_id = new_id("bot"), new_id("ses"), new_id("bsu")

    async def work(tx: Tx) -> None:
        opened = replace(session, id=session_id, bot_id=bot_id, bot_user_id=bot_user_id)
        for record in (
            replace(bot, id=bot_id),
            replace(bot_user, id=bot_user_id, bot_id=bot_id, session_id=session_id),
            opened,
        ):
            tx.put(record)
        tell(tx, "session", opened)

    await world.deps.store.write(work)
    return replace(world, bot_id=bot_id, session_id=session_id, _requests=1_000_000, **changed)


class Meeting:
    """Has two writers insert a checkout each before either commits: both have looked, and found the reference free."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.met = 0
        self._inserting: set[int] = set()
        self._both = threading.Event()
        insert = PostgresqlSession.insert

        def announced(session: PostgresqlSession, relation: Any, rows: Any) -> None:
            if relation is CHECKOUTS:
                self._come()
            insert(session, relation, rows)

        monkeypatch.setattr(PostgresqlSession, "insert", announced)
        arm_faults(self._hold)

    def again(self) -> None:
        """The next two meet."""
        self._inserting.clear()
        self._both.clear()

    def _come(self) -> None:
        self._inserting.add(threading.get_ident())
        if len(self._inserting) == 2 and not self._both.is_set():
            self.met += 1
            self._both.set()

    def _hold(self, point: str) -> None:
        if point == "batch.flushed" and threading.get_ident() in self._inserting:
            assert self._both.wait(BOUND_SECONDS), "the other never came"


@pytest.fixture
def meeting(monkeypatch: pytest.MonkeyPatch) -> Iterator[Meeting]:
    yield Meeting(monkeypatch)
    arm_faults(None)


async def race(worlds: tuple[World, World], meeting: Meeting) -> list[tuple[Checkout, BaseException]]:
    """The checkout that was made and what the other was told, round by round, each of another reference."""
    ends = []
    for number in range(ROUNDS):
        meeting.again()
        outcomes = await asyncio.gather(
            *(world.checkout(partner_reference=f"trip-{number}") for world in worlds), return_exceptions=True
        )
        [made] = [one for one in outcomes if isinstance(one, Checkout)]
        [loser] = [one for one in outcomes if isinstance(one, BaseException)]
        ends.append((made, loser))
    return ends


async def test_a_reference_that_nobody_claims_ends_as_an_internal_error_and_the_harness_sees_it(
    postgresql_url: str, monkeypatch: pytest.MonkeyPatch, meeting: Meeting
) -> None:
    monkeypatch.setattr(CHECKOUTS, "claim", False)
    async with open_world(postgresql_url) as world:
        other = await another_server(world, postgresql_url)
        ends = await race((world, await through_another_bot(world, deps=other)), meeting)
        await other.store.close()

    assert meeting.met == ROUNDS
    assert [type(loser) for _, loser in ends] == [IntegrityError] * ROUNDS


async def test_two_servers_that_make_a_checkout_of_one_reference_make_one_and_refuse_the_other_as_documented(
    postgresql_url: str, meeting: Meeting
) -> None:
    async with open_world(postgresql_url) as world:
        other = await another_server(world, postgresql_url)
        ends = await race((world, await through_another_bot(world, deps=other)), meeting)
        await other.store.close()

    assert meeting.met == ROUNDS
    for made, loser in ends:
        assert isinstance(loser, Refused)
        assert (loser.reason, loser.metadata) == (Reason.INVALID_STATE, {})
        assert str(loser).startswith(f"{made.partner_reference} is the reference of another bot's checkout;")
    assert read(postgresql_url).payments == {}
    assert check_database(postgresql_url).broken == ()
