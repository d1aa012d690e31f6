"""Two server processes on one PostgreSQL: one request id is one payment, wherever and with whatever key it arrives."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import pytest_asyncio

from comptoir import AsyncClient, AsyncServices
from comptoir.errors import CredentialInvalid, RequestIdReused
from comptoir.v1 import Checkout, ConfirmCheckoutResponse, Payment, Refund, RevokeApiKeyRequest
from tests.support.databases import new_postgresql
from tests.support.processes import BOT, CHANNEL, PARTNER, Site, open_site
from tests.support.reckoning import read, require_equal_books
from tests.support.shop import Person, Shop, open_shop, until

MASTER_KEY = base64.b64encode(bytes(range(32))).decode()
TIMES = 16
LATENCY_SECONDS = 0.1
"""The stand-in's: what is sent at once is under way at once."""

SLOW_SECONDS = 3.0

pytestmark = [pytest.mark.timeout(400), pytest.mark.asyncio(loop_scope="module")]


@dataclass
class Town:
    """One site seen through each of its two servers, and a person who buys at both."""

    site: Site
    first: Shop
    second: Shop
    person: Person
    operator: str

    def at(self, shop: Shop) -> AsyncServices:
        """The person's services, at the server of that shop."""
        return shop.channel.for_user(self.person.user_id)

    async def captures(self) -> int:
        """How many captures there are, in both books alike."""
        return require_equal_books(read(self.site.database), await self.site.standin.books())[0]

    async def refunds(self) -> int:
        """How many refunds there are, in both books alike."""
        return require_equal_books(read(self.site.database), await self.site.standin.books())[1]

    def attempts(self, checkout: Checkout) -> list[str]:
        """The payments of a checkout."""
        payments = read(self.site.database).payments.values()
        return [payment.id for payment in payments if payment.checkout_id == checkout.checkout_id]

    def refunds_of(self, payment: Payment) -> int:
        """How many refunds of a payment there are, in whatever state."""
        refunds = read(self.site.database).refunds.values()
        return sum(refund.payment_id == payment.payment_id for refund in refunds)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def town(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Town]:
    folder: Path = tmp_path_factory.mktemp("town")
    site_opened = open_site(folder, new_postgresql(), servers=2, master_key=MASTER_KEY, standin_latency=LATENCY_SECONDS)
    async with site_opened as site, open_shop(site) as first, open_shop(site, site.servers[1]) as second:
        operator = await site.create_key("--operator")
        yield Town(site, first, second, await first.person(), operator["key"])
        assert [await server.stop() for server in site.servers] == [0, 0]
        assert read(site.database).undecided == []
        code, said = await site.check()
        assert code == 0, said


async def require_one_payment(town: Town, checkout: Checkout, answers: list[ConfirmCheckoutResponse]) -> None:
    """All were answered alike and finally, and there is one payment."""
    assert len(answers) == TIMES
    assert answers == [answers[0]] * TIMES
    assert answers[0].payment.state == Payment.STATE_CAPTURED
    assert answers[0].checkout.state == Checkout.STATE_COMPLETED
    assert town.attempts(checkout) == [answers[0].payment.payment_id]


async def test_a_request_id_with_other_content_is_refused_by_the_other_server(town: Town) -> None:
    bought, other = await town.first.checkout(town.person), await town.first.checkout(town.person)
    await town.person.confirm(bought, "the-one", town.at(town.first))
    before = await town.captures()

    with pytest.raises(RequestIdReused):
        await town.person.confirm(other, "the-one", town.at(town.second))

    assert town.attempts(other) == []
    assert await town.captures() == before


@pytest.mark.parametrize("servers", [1, 2])
async def test_the_same_request_sixteen_times_at_once_is_one_payment_and_sixteen_equal_answers(
    town: Town, servers: int
) -> None:
    checkout = await town.first.checkout(town.person)
    before = await town.captures()
    ways = [town.at(town.first), town.at(town.second)][:servers]

    answers = await asyncio.gather(
        *(town.person.confirm(checkout, f"sixteen-{servers}", ways[number % servers]) for number in range(TIMES))
    )

    await require_one_payment(town, checkout, answers)
    assert await town.captures() == before + 1
    print(f"{TIMES} at once to {servers} process(es): 1 payment, {TIMES} equal answers")


async def test_sixteen_taps_with_different_request_ids_on_two_servers_are_one_payment(town: Town) -> None:
    checkout = await town.first.checkout(town.person)
    before = await town.captures()
    ways = [town.at(town.first), town.at(town.second)]

    answers = await asyncio.gather(
        *(town.person.confirm(checkout, f"tap-{number}", ways[number % 2]) for number in range(TIMES))
    )

    assert {answer.payment.payment_id for answer in answers} == set(town.attempts(checkout))
    assert {answer.payment.state for answer in answers} == {Payment.STATE_CAPTURED}
    assert len(town.attempts(checkout)) == 1
    assert await town.captures() == before + 1


async def revoke(town: Town, key: dict[str, str]) -> None:
    """Ends a key."""
    async with AsyncClient(town.site.server.target, town.operator) as client:
        await client.partners.revoke_api_key(RevokeApiKeyRequest(api_key_id=key["api_key_id"]))


async def test_a_channel_key_rotated_between_two_tries_of_a_yes_changes_nothing(town: Town) -> None:
    checkout = await town.first.checkout(town.person)
    before = await town.captures()
    old, new = [await town.site.create_key("--channel", CHANNEL) for _ in range(2)]
    targets, user_id = [server.target for server in town.site.servers], town.person.user_id
    async with (
        AsyncClient(targets[0], old["key"], user_id=user_id) as one,
        AsyncClient(targets[1], new["key"], user_id=user_id) as other,
    ):
        await town.site.standin.fault("orders.capture", "latency", seconds=SLOW_SECONDS)
        first_try = asyncio.create_task(town.person.confirm(checkout, "rotated", one))
        await until(lambda: bool(town.attempts(checkout)), "the payment has begun")
        first_try.cancel()
        await revoke(town, old)

        answer = await town.person.confirm(checkout, "rotated", other)

        assert answer == await town.person.confirm(checkout, "rotated", other)
        with pytest.raises(CredentialInvalid):
            await town.person.confirm(checkout, "rotated", one)
    assert answer.payment.state == Payment.STATE_CAPTURED
    assert town.attempts(checkout) == [answer.payment.payment_id]
    assert await town.captures() == before + 1


async def test_a_partner_key_rotated_between_two_tries_of_a_refund_changes_nothing(town: Town) -> None:
    payment = (await town.person.confirm(await town.first.checkout(town.person), "bought")).payment
    captures, refunds = await town.captures(), await town.refunds()
    old, new = [await town.site.create_key("--partner", PARTNER, "--bot", BOT) for _ in range(2)]
    targets = [server.target for server in town.site.servers]
    async with AsyncClient(targets[0], old["key"]) as one, AsyncClient(targets[1], new["key"]) as other:
        first, second = replace(town.first, partner=one), replace(town.second, partner=other)
        await town.site.standin.fault("captures.refund", "latency", seconds=SLOW_SECONDS)
        first_try = asyncio.create_task(first.refund(payment.payment_id, 1_000, "rotated"))
        await until(lambda: town.refunds_of(payment) == 1, "the refund has begun")
        first_try.cancel()
        await revoke(town, old)

        answer = await second.refund(payment.payment_id, 1_000, "rotated")

        assert answer == await second.refund(payment.payment_id, 1_000, "rotated")
        with pytest.raises(CredentialInvalid):
            await first.refund(payment.payment_id, 1_000, "rotated")
    assert answer.refund.state == Refund.STATE_SUCCEEDED
    assert town.refunds_of(payment) == 1
    assert (await town.captures(), await town.refunds()) == (captures, refunds + 1)
