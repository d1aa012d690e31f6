"""A payer who must act at PayPal: from the confirmation over PayPal's page to the money, with the stand-in's books.

The server's use cases, its database, the connector and the stand-in are the real ones; only the wires are short.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from comptoir_server.app import webhooks
from comptoir_server.domain.checkouts import CaptureMode, Checkout, CheckoutState
from comptoir_server.domain.payments import Payment, PaymentState
from comptoir_server.standins.paypal import make_signer
from comptoir_server.standins.paypal.signing import Signer
from comptoir_server.store.tables import WALLETS
from comptoir_server.store.tx import Tx
from tests.support import paypal_world
from tests.support.databases import new_sqlite
from tests.support.tally import sends
from tests.support.world import World, open_world


@dataclass
class Town:
    """A server with a person, and the PayPal at which that person's wallet is."""

    server: World
    paypal: paypal_world.World

    async def asked(self, capture_mode: CaptureMode = CaptureMode.AUTOMATIC) -> tuple[Checkout, Payment]:
        """A checkout that was confirmed, and whose payer PayPal wants to see."""
        checkout = await self.server.checkout(capture_mode=capture_mode)
        answer = await self.server.confirm(checkout)
        payment: Payment = answer["payment"]
        assert (payment.state, answer["checkout"].state) == (
            PaymentState.REQUIRES_ACTION,
            CheckoutState.REQUIRES_ACTION,
        )
        assert await self.paypal.effects() == []
        await self.paypal.delivered()
        return checkout, payment

    async def delivered(self, *, times: int = 1) -> None:
        """PayPal's webhooks arrive, each so often."""
        for notice in await self.paypal.delivered():
            for number in range(times):
                again = replace(notice, event_id=f"{notice.event_id}-{number}")
                await webhooks.receive(self.server.deps, "paypal", again)
        await self.server.idle()

    async def work(self, seconds: float = 0.0) -> None:
        """Time passes for everybody, and the workers do what is due."""
        self.paypal.at(self.paypal.now + int(seconds * 1_000_000))
        await self.server.work(seconds)


@pytest.fixture(scope="module")
def signer() -> Signer:
    return make_signer(paypal_world.NOW)


@pytest.fixture
async def town(signer: Signer, tmp_path: Path) -> AsyncIterator[Town]:
    async for paypal in paypal_world.open_world(signer):
        async with open_world(new_sqlite(tmp_path)) as server:
            server.deps = replace(server.deps, providers={"paypal": paypal.provider})
            token = (await paypal.wallet("action")).token
            sealed = server.deps.vault.seal_token(server.wallet_id, token)

            async def link(tx: Tx, sealed: bytes = sealed, wallet_id: str = server.wallet_id) -> None:
                wallet = await tx.load(WALLETS.lock(wallet_id))
                assert wallet is not None
                tx.put(replace(wallet, token_sealed=sealed))

            await server.deps.store.write(link)
            yield Town(server, paypal)


async def test_a_payer_who_does_not_act_is_never_charged(town: Town) -> None:
    checkout, payment = await town.asked()

    for seconds in (6, 17, 66, 1_800):
        await town.work(seconds)

    assert (await town.server.now_checkout(checkout.id)).state == CheckoutState.EXPIRED
    assert (await town.server.now_payment(payment.id)).state == PaymentState.FAILED
    assert await sends(town.server, payment.id) == [("CHARGE", "NOT_SENT", 1)]
    assert await town.paypal.effects() == []


@pytest.mark.parametrize("times", [0, 1, 3], ids=["look-up", "webhook", "webhook three times"])
async def test_a_payer_who_acted_is_charged_once_however_that_is_learnt(town: Town, times: int) -> None:
    checkout, payment = await town.asked()

    await town.paypal.agree(payment.action_url, "action")
    await town.delivered(times=times)
    await town.work(6)
    await town.work()
    await town.delivered(times=3)
    await town.work(66)

    assert (await town.server.now_checkout(checkout.id)).state == CheckoutState.COMPLETED
    assert (await town.server.now_payment(payment.id)).captured == 24_000
    assert await sends(town.server, payment.id) == [("CHARGE", "REQUIRES_ACTION", 1), ("CHARGE", "CAPTURED", 1)]
    keys = await town.paypal.sent("orders.capture")
    assert (len(keys), len(set(keys))) == (2, 2)
    assert await town.paypal.effects() == [("capture", 24_000)]


@pytest.mark.parametrize("fault", ["lost_request", "lost_answer", "error_after", "late_effect", "throttled"])
async def test_a_payer_who_acted_is_charged_once_however_the_wire_fails(town: Town, fault: str) -> None:
    checkout, payment = await town.asked()
    await town.paypal.fault("orders.capture", fault, seconds=3)

    await town.paypal.agree(payment.action_url, "action")
    await town.delivered()
    await town.work()
    await town.paypal.control("POST", "forget", what="keys")
    for seconds in (6, 17, 66):
        await town.work(seconds)

    assert (await town.server.now_checkout(checkout.id)).state == CheckoutState.COMPLETED
    assert await town.paypal.effects() == [("capture", 24_000)]


async def test_a_payer_who_acts_after_calling_it_off_is_not_charged(town: Town) -> None:
    checkout, payment = await town.asked()
    await town.server.cancel(await town.server.now_checkout(checkout.id))

    await town.paypal.agree(payment.action_url, "action")
    await town.delivered()
    await town.work(66)

    assert (await town.server.now_checkout(checkout.id)).state == CheckoutState.CANCELED
    assert await town.paypal.effects() == []


@pytest.mark.parametrize("mode", [CaptureMode.AUTOMATIC, CaptureMode.MANUAL])
async def test_a_clock_that_is_put_back_before_the_payer_acts_undoes_nothing(town: Town, mode: CaptureMode) -> None:
    checkout, payment = await town.asked(mode)
    town.server.runtime.advance(-3_600)

    await town.paypal.agree(payment.action_url, "action")
    await town.delivered()
    await town.server.work()
    await town.delivered(times=2)
    await town.server.work(66)

    after = await town.server.now_payment(payment.id)
    taken = mode == CaptureMode.AUTOMATIC
    assert after.state == (PaymentState.CAPTURED if taken else PaymentState.AUTHORIZED)
    assert (after.authorized, after.refunding, after.reversal_reason) == (24_000, 0, "")
    assert (await town.server.now_checkout(checkout.id)).state == CheckoutState.COMPLETED
    assert await town.paypal.effects() == [("capture" if taken else "authorization", 24_000)]
