"""A server that is asked to end takes nothing on, cuts nothing off, and leaves nothing that the next cannot end."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from comptoir.errors import Draining
from comptoir.v1 import Checkout, ConfirmCheckoutResponse, GetCheckoutRequest, Payment
from tests.support.databases import new_sqlite
from tests.support.processes import QUICK, STOP_SECONDS, open_site
from tests.support.reckoning import read, require_equal_books
from tests.support.shop import Person, Shop, open_shop, until

RUNNING = 8
SLOW_SECONDS = 4.5
"""How long the stand-in keeps its answers to itself after the money has moved."""

pytestmark = pytest.mark.timeout(400)


@asynccontextmanager
async def paying(
    folder: Path, options: Mapping[str, str]
) -> AsyncIterator[tuple[Shop, Person, list[Checkout], list[asyncio.Task[ConfirmCheckoutResponse]]]]:
    """A shop, and yeses that all run: begun, and not yet answered by the stand-in."""
    async with open_site(folder, new_sqlite(folder), options=options) as site, open_shop(site) as shop:
        person = await shop.person()
        bought = [await shop.checkout(person) for _ in range(RUNNING)]
        await site.standin.control("POST", "webhooks", mode="dropped")
        await site.standin.fault("orders.capture", "latency", seconds=SLOW_SECONDS, times=RUNNING)
        running = [asyncio.create_task(person.confirm(one, one.checkout_id)) for one in bought]
        await until(lambda: len(read(site.database).payments) == RUNNING, "all payments have begun")
        yield shop, person, bought, running


async def require_drained(shop: Shop, person: Person, checkout: Checkout) -> None:
    """New calls are turned away, in words that say what to do, as soon as the server has heard that it is to end."""
    request = GetCheckoutRequest(checkout_id=checkout.checkout_id)
    async with asyncio.timeout(STOP_SECONDS):
        while True:
            try:
                await person.services.checkouts.get_checkout(request, timeout_seconds=0.5)
            except Draining:
                return


async def require_nothing_lost(shop: Shop, person: Person, bought: list[Checkout]) -> None:
    """After a new start every yes has one final answer and one capture, and the books are equal."""
    site = shop.site
    await site.server.start()
    answers = await asyncio.gather(*(person.confirm(one, one.checkout_id) for one in bought))
    assert [answer.payment.state for answer in answers] == [Payment.STATE_CAPTURED] * RUNNING
    await until(lambda: not read(site.database).undecided, "everything is decided", 60)
    assert await site.server.stop() == 0
    assert require_equal_books(read(site.database), await site.standin.books()) == (RUNNING, 0)
    code, said = await site.check()
    assert code == 0, said


async def test_running_yeses_are_answered_new_calls_turned_away_and_nothing_is_lost(tmp_path: Path) -> None:
    async with paying(tmp_path, {}) as (shop, person, bought, running):
        shop.site.server.child.signal(signal.SIGTERM)
        await require_drained(shop, person, bought[0])
        assert not any(call.done() for call in running)

        answers = await asyncio.gather(*running)

        assert await shop.site.server.child.ended(STOP_SECONDS) == 0
        assert [answer.payment.state for answer in answers] == [Payment.STATE_CAPTURED] * RUNNING
        assert read(shop.site.database).undecided == []
        await require_nothing_lost(shop, person, bought)


async def test_a_drain_that_cannot_wait_answers_what_is_certain_and_leaves_the_rest_to_the_next_server(
    tmp_path: Path,
) -> None:
    options = {**QUICK, "--provider-limit-seconds": "5", "--drain-seconds": "0.2"}
    async with paying(tmp_path, options) as (shop, person, bought, running):
        assert await shop.site.server.stop() == 0

        answers = await asyncio.gather(*running)
        assert [answer.payment.state for answer in answers] == [Payment.STATE_PROCESSING] * RUNNING
        assert [answer.checkout.state for answer in answers] == [Checkout.STATE_PROCESSING] * RUNNING
        undecided = read(shop.site.database).undecided
        assert {answer.payment.payment_id for answer in answers} <= set(undecided)
        await require_nothing_lost(shop, person, bought)
