"""Callers who stop waiting, at their deadline or by hanging up: what they began ends all the same. Over real gRPC."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from comptoir import AsyncClient, ComptoirError
from comptoir.v1 import Checkout, CreateRefundRequest, Payment, Refund
from comptoir_server.store.tables import EVENTS
from tests.support.databases import new_sqlite
from tests.support.processes import open_site
from tests.support.reckoning import Account, read, require_equal_books
from tests.support.shop import Shop, confirmation, open_shop, until

SEED = 20_260_216
CUTS = 60
AT_ONCE = 12
SLOW_SECONDS = 0.8
"""How long the stand-in keeps its answers to itself after the money has moved."""

MOMENTS = (0.03, 2 * SLOW_SECONDS)
"""Callers leave while their request is on its way and begun, or at any time until long after."""

SHORT_SECONDS = 0.2
LEAST_SECONDS = 1.0
"""A deadline with less is refused, for no provider answers in time."""

WAYS = ("deadline", "hang-up", "closed connection", "patience")

pytestmark = pytest.mark.timeout(400)


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    options = {"--provider-limit-seconds": "10"}
    async with open_site(tmp_path, new_sqlite(tmp_path), options=options) as site, open_shop(site) as opened:
        await site.standin.control("POST", "webhooks", mode="dropped")
        for operation in ("orders.capture", "captures.refund"):
            await site.standin.fault(operation, "latency", seconds=SLOW_SECONDS, times=0)
        yield opened


async def cut_off(shop: Shop, key: dict[str, str], user_id: str | None, request: Any, rng: random.Random) -> str:
    """Sends a request on a connection of one's own and stops waiting at some moment; answers in which way."""
    way, seconds = rng.choice(WAYS), rng.uniform(0, rng.choice(MOMENTS))
    client = AsyncClient(shop.site.server.target, key["key"], user_id=user_id)
    send = (
        client.payments.create_refund if isinstance(request, CreateRefundRequest) else client.checkouts.confirm_checkout
    )
    call = asyncio.create_task(send(request, timeout_seconds=LEAST_SECONDS + seconds if way == "deadline" else 30.0))
    if way in ("hang-up", "closed connection"):
        await asyncio.sleep(seconds)
    if way == "hang-up":
        call.cancel()
    if way == "closed connection":
        await client.close()
    await asyncio.gather(call, return_exceptions=True)
    await client.close()
    return way


async def one_by_one(rng: random.Random, works: list[Any]) -> Counter[str]:
    """Runs the works, so many at once; what they answered."""
    places = asyncio.Semaphore(AT_ONCE)

    async def in_turn(work: Any) -> str:
        async with places:
            return str(await work)

    return Counter(await asyncio.gather(*(in_turn(work) for work in works)))


def doubts(database: str) -> int:
    """How often anybody was told of doubt."""
    engine = sa.create_engine(database, poolclass=sa.NullPool)
    table = EVENTS.table
    with engine.connect() as connection:
        types = connection.scalars(sa.select(table.c.type)).all()
    assert "payment.captured" in types
    return sum("doubt" in kind for kind in types)


def require_no_doubt(account: Account, database: str) -> None:
    """Nothing is undecided, nothing ever was in doubt, and nothing had to be looked for."""
    assert account.undecided == []
    assert doubts(database) == 0
    assert set(account.evidence) == {"reply"}
    assert {operation.tries for operation in account.operations} == {0}


async def test_a_deadline_of_200_ms_is_refused_and_nothing_is_begun(shop: Shop) -> None:
    person = await shop.person()
    checkout = await shop.checkout(person)

    with pytest.raises(ComptoirError) as refusal:
        await person.services.checkouts.confirm_checkout(
            confirmation(checkout, "in a hurry"), timeout_seconds=SHORT_SECONDS
        )

    assert refusal.value.reason in {"PROVIDER_UNAVAILABLE", "DEADLINE_EXCEEDED"}
    await asyncio.sleep(2 * SLOW_SECONDS)
    assert read(shop.site.database).payments == {}
    assert (await shop.site.standin.books())["captures"] == []
    answer = await person.confirm(checkout, "in a hurry")
    assert answer.payment.state == Payment.STATE_CAPTURED


async def test_callers_cut_off_at_any_moment_leave_no_doubt_behind(shop: Shop) -> None:
    rng = random.Random(SEED)
    site, person = shop.site, await shop.person()
    bought = [await shop.checkout(person) for _ in range(CUTS)]
    yes = {checkout.checkout_id: confirmation(checkout, f"yes {i}") for i, checkout in enumerate(bought)}
    ways = await one_by_one(
        rng, [cut_off(shop, site.keys.channel, person.user_id, request, rng) for request in yes.values()]
    )
    await until(lambda: not read(site.database).undecided, "everything is decided")
    begun = read(site.database)
    require_no_doubt(begun, site.database)
    assert require_equal_books(begun, await site.standin.books()) == (len(begun.payments), 0)
    print(f"seed {SEED}: {CUTS} yeses, {dict(ways)}: {len(begun.payments)} begun, each captured once")
    assert set(ways) == set(WAYS)

    answers = await asyncio.gather(*(person.confirm(one, yes[one.checkout_id].request_id) for one in bought))

    assert [answer.checkout.state for answer in answers] == [Checkout.STATE_COMPLETED] * CUTS
    given = [
        CreateRefundRequest(request_id=f"back {answer.payment.payment_id}", payment_id=answer.payment.payment_id)
        for answer in answers
    ]
    ways = await one_by_one(rng, [cut_off(shop, site.keys.partner, None, request, rng) for request in given])
    await until(lambda: not read(site.database).undecided, "everything is decided")
    account = read(site.database)
    require_no_doubt(account, site.database)
    assert require_equal_books(account, await site.standin.books()) == (CUTS, len(account.refunds))
    print(f"seed {SEED}: {CUTS} refunds, {dict(ways)}: {len(account.refunds)} begun, each given back once")

    backs = await asyncio.gather(*(shop.partner.payments.create_refund(request) for request in given))

    assert [back.refund.state for back in backs] == [Refund.STATE_SUCCEEDED] * CUTS
    assert require_equal_books(read(site.database), await site.standin.books()) == (CUTS, CUTS)
    assert await site.server.stop() == 0
    code, said = await site.check()
    assert code == 0, said
