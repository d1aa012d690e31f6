"""Two hands on one checkout: whoever comes first, at most one capture in the stand-in's books, and each is told right.

Many rounds of each race with seeded moments: on SQLite through one server, on PostgreSQL through two, with pauses
between their statements. Every round is judged by what the stand-in took, and by the words that each caller got.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import psycopg
import pytest

from comptoir_server.app import checkouts
from comptoir_server.app.deps import Deps
from comptoir_server.domain.checkouts import Checkout, CheckoutState
from comptoir_server.domain.errors import Reason, Refused
from comptoir_server.domain.payments import PaymentState
from comptoir_server.store import postgresql
from comptoir_server.store.errors import IntegrityError
from tests.support.altered import pausing
from tests.support.databases import POSTGRESQL, SQLITE, new_postgresql, new_sqlite
from tests.support.reckoning import read
from tests.support.standin_world import Standin, open_standin_world
from tests.support.world import World, another_server

SEED = 20_260_215
ROUNDS = 40
"""The least of each race; it goes on until every end was reached, `ROUNDS_MAX` at most."""

ROUNDS_MAX = 400
AMOUNT = 24_000
MOMENT_SECONDS = 0.03
"""Within which two callers come; a payment takes about as long."""

PAUSE_SECONDS_MAX = 0.001

LOCKLESS_ROUNDS = 100
WITHOUT_ITS_WORD = (
    "ALTER TABLE payments DROP CONSTRAINT payments_one_version",
    "DROP INDEX payments_one_live",
    "DROP INDEX payments_one_successful",
)
"""Takes away what keeps a database from ever holding two payments of one yes."""

STALE = "The checkout is at version 2, not 1; nothing was charged. Show the new version and ask again."
BUSY = "The checkout is {}; this needs it to be OPEN. Read it again and decide."
EXPIRED = "The checkout's time ran out before it was confirmed; nothing was charged. Make a new checkout."
TOO_LATE = "The checkout is COMPLETED; this needs it to be"

pytestmark = pytest.mark.timeout(240)


@dataclass
class Arena:
    """A world with one or two servers, the stand-in they ask, and the seeded moments at which people come."""

    worlds: list[World]
    standin: Standin
    database: str
    rng: random.Random

    @property
    def world(self) -> World:
        """The world as the first server sees it."""
        return self.worlds[0]

    async def confirm(self, checkout: Checkout, request_id: str, version: int = 0, moments: int = 1) -> dict[str, Any]:
        """A yes, at any moment, through any server."""
        await self.moment(moments)
        world = self.rng.choice(self.worlds)
        return await world.confirm(checkout, f"{request_id} {checkout.id}", version=version)

    async def moment(self, times: int = 1) -> None:
        """A while."""
        await asyncio.sleep(self.rng.uniform(0, times * MOMENT_SECONDS))

    async def decided(self) -> None:
        """Lets the workers work until nothing is undecided."""
        async with asyncio.timeout(30):
            await self.world.idle()
            while read(self.database).undecided:
                await self.world.work(1)

    def taken(self, checkout: Checkout) -> list[int]:
        """What the stand-in took for a checkout, capture by capture."""
        return self.standin.captures(*checkout.payment_ids)


@pytest.fixture(params=[SQLITE, POSTGRESQL])
async def arena(request: pytest.FixtureRequest, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Arena]:
    url = new_sqlite(tmp_path) if request.param == SQLITE else new_postgresql()
    async with open_standin_world(url) as (world, standin):
        worlds, others = [world], list[Deps]()
        if request.param == POSTGRESQL:
            others.append(await another_server(world, url))
            worlds.append(replace(world, deps=others[0], _requests=1_000_000))
            monkeypatch.setattr(postgresql.PostgresqlSession, "_run", pausing(SEED, PAUSE_SECONDS_MAX))
        yield Arena(worlds, standin, url, random.Random(SEED))
        await world.idle()
        for deps in others:
            await deps.store.close()


async def told(work: Awaitable[Any]) -> Any:
    """The answer, or the refusal; anything else is a defect."""
    try:
        return await work
    except Refused as refusal:
        return refusal


class Ends(Counter[str]):
    """How often each end of a race was reached."""

    def __init__(self, race: str, *possible: str) -> None:
        super().__init__()
        self.race = race
        self.possible = set(possible)

    def rounds(self) -> Iterator[int]:
        """Numbers of rounds, until enough were run; fails where an end was never reached."""
        for number in range(ROUNDS_MAX):
            if number >= ROUNDS and set(self) == self.possible:
                break
            yield number
        print(f"{self.race}: {self.total()} rounds, seed {SEED}: {dict(self)}")
        assert set(self) == self.possible


async def test_without_locks_the_database_refuses_a_second_charge_and_without_its_word_this_harness_sees_two(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = new_postgresql()
    async with open_standin_world(url) as (world, standin):
        for lock in list(postgresql.LOCKS):
            monkeypatch.setitem(postgresql.LOCKS, lock, "")
        servers = [await another_server(world, url) for _ in range(2)]
        monkeypatch.setattr(postgresql.PostgresqlSession, "_run", pausing(SEED, PAUSE_SECONDS_MAX))
        worlds = [replace(world, deps=deps) for deps in servers]

        refused, most = await tap_unlocked(worlds, standin, url, lambda refused, _: refused > 0)
        assert (refused, most) == (1, 1), "without locks nothing met"
        with psycopg.connect(url, autocommit=True) as connection:
            for statement in WITHOUT_ITS_WORD:
                connection.execute(statement)
        refused, most = await tap_unlocked(worlds, standin, url, lambda _, most: most > 1)
        assert most == 2, "nothing kept two charges apart, and the harness did not see them"

        await world.runtime.drain(5)
        for deps in servers:
            await deps.store.close()


async def tap_unlocked(
    worlds: list[World], standin: Standin, url: str, enough: Callable[[int, int], bool]
) -> tuple[int, int]:
    """Taps twice at once, on new checkouts, until it is enough: how often the database refused, the most captures."""
    refused, most = 0, 0
    for number in range(LOCKLESS_ROUNDS):
        checkout = await worlds[0].checkout(AMOUNT)
        taps = [one.confirm(checkout, f"{checkout.id} {i}", seconds=2) for i, one in enumerate(worlds)]
        outcomes = await asyncio.gather(*taps, return_exceptions=True)
        refused += sum(isinstance(outcome, IntegrityError) for outcome in outcomes)
        payments = [one.id for one in read(url).payments.values() if one.checkout_id == checkout.id]
        most = max(most, len(standin.captures(*payments)))
        if enough(refused, most):
            print(f"without locks, in round {number + 1}: {refused} refused, {most} captures of one checkout at most")
            break
    return refused, most


async def test_taps_at_any_moment_are_one_payment(arena: Arena) -> None:
    ends = Ends("three taps", "one capture")
    for _ in ends.rounds():
        checkout = await arena.world.checkout(AMOUNT)

        answers = await asyncio.gather(*(arena.confirm(checkout, f"tap {i}") for i in range(3)))

        payment = answers[0]["payment"]
        assert [answer["payment"].id for answer in answers] == [payment.id] * 3
        assert [answer["payment"].state for answer in answers] == [PaymentState.CAPTURED] * 3
        assert answers[0]["checkout"].payment_ids == (payment.id,)
        assert arena.taken(answers[0]["checkout"]) == [AMOUNT]
        ends["one capture"] += 1


async def test_a_duplicate_around_a_decline_is_declined_or_stale_and_charges_nothing(arena: Arena) -> None:
    ends = Ends("a duplicate around a decline", "declined alike", "stale")
    for _ in ends.rounds():
        checkout = await arena.world.checkout(AMOUNT)
        arena.standin.control("POST", "faults", operation="orders.capture", kind="decline", issue="INSTRUMENT_DECLINED")

        taps = await asyncio.gather(*(told(arena.confirm(checkout, f"tap {i}", moments=3)) for i in range(2)))

        answers = [tap for tap in taps if not isinstance(tap, Refused)]
        assert {answer["payment"].state for answer in answers} == {PaymentState.DECLINED}
        assert all(answer == answers[0] for answer in answers)
        require_stale([tap for tap in taps if isinstance(tap, Refused)])
        assert arena.taken(answers[0]["checkout"]) == []
        ends["stale" if len(answers) == 1 else "declined alike"] += 1

        again, late = await asyncio.gather(
            arena.confirm(checkout, "again", version=2), told(arena.confirm(checkout, "late"))
        )
        assert again["payment"].state == PaymentState.CAPTURED
        assert isinstance(late, Refused)
        assert str(late) in {
            STALE,
            *(BUSY.format(state) for state in (CheckoutState.PROCESSING, CheckoutState.COMPLETED)),
        }
        assert arena.taken(again["checkout"]) == [AMOUNT]


def require_stale(refusals: list[Refused]) -> None:
    """Each was told that the checkout has another version now."""
    assert [(refusal.reason, str(refusal)) for refusal in refusals] == [(Reason.VERSION_STALE, STALE)] * len(refusals)


async def test_a_yes_and_a_cancellation_at_once_end_in_one_of_them(arena: Arena) -> None:
    ends = Ends("a yes and a cancellation", "paid", "cancelled before", "given back")
    arena.standin.control("POST", "faults", operation="orders.capture", kind="latency", seconds=0.02, times=0)
    for _ in ends.rounds():
        checkout = await arena.world.checkout(AMOUNT)

        async def cancel(checkout: Checkout = checkout) -> Checkout:
            await arena.moment(4)
            return await arena.rng.choice(arena.worlds).cancel(checkout)

        yes, no = await asyncio.gather(told(arena.confirm(checkout, "yes")), told(cancel()))
        await arena.decided()

        final = await arena.world.now_checkout(checkout.id)
        ends[judge(arena, final, yes, no)] += 1


def judge(arena: Arena, final: Checkout, yes: Any, no: Any) -> str:
    """How a yes and a cancellation ended, each with the words that belong to it."""
    taken, given_back = arena.taken(final), arena.standin.refunded(*final.payment_ids)
    if final.state == CheckoutState.COMPLETED:
        assert (taken, given_back) == ([AMOUNT], 0)
        assert yes["checkout"] == final
        assert (no.reason, str(no)[: len(TOO_LATE)]) == (Reason.INVALID_STATE, TOO_LATE)
        return "paid"
    assert final.state == CheckoutState.CANCELED
    if isinstance(yes, Refused):
        assert (taken, given_back) == ([], 0)
        assert (yes.reason, str(yes)) == (Reason.INVALID_STATE, BUSY.format(final.state))
        assert no.state == CheckoutState.CANCELED
        return "cancelled before"
    assert (taken, given_back) == ([AMOUNT], AMOUNT)
    assert (no.state, no.cancel_requested) == (CheckoutState.PROCESSING, True)
    assert yes["checkout"].state == CheckoutState.CANCELED
    assert yes["payment"].reversal_reason == "The purchase was cancelled."
    return "given back"


async def test_a_yes_and_the_end_of_its_time_at_once_end_in_one_of_them(arena: Arena) -> None:
    ends = Ends("a yes and the end of its time", "expired", "paid")
    for _ in ends.rounds():
        expire_time = arena.world.runtime.now() + 60_000_000
        checkout = await arena.world.checkout(AMOUNT, expire_time=expire_time)
        left = (expire_time - arena.world.runtime.now()) / 1_000_000
        arena.world.runtime.advance(left - arena.rng.uniform(0, MOMENT_SECONDS))

        async def expire(deps: Deps, checkout: Checkout = checkout) -> None:
            await arena.moment()
            await checkouts.expire(deps, checkout.id)

        yes, *_ = await asyncio.gather(
            told(arena.confirm(checkout, "yes")), *(expire(world.deps) for world in arena.worlds)
        )
        arena.world.runtime.advance(1)
        await checkouts.expire(arena.world.deps, checkout.id)

        final = await arena.world.now_checkout(checkout.id)
        if isinstance(yes, Refused):
            assert (yes.reason, str(yes)) == (Reason.CHECKOUT_EXPIRED, EXPIRED)
            assert (final.state, arena.taken(final)) == (CheckoutState.EXPIRED, [])
            ends["expired"] += 1
        else:
            assert yes["checkout"] == final
            assert (final.state, arena.taken(final)) == (CheckoutState.COMPLETED, [AMOUNT])
            ends["paid"] += 1
