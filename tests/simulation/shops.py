"""What partners do with what was paid: take it, release it, give it back; often twice at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from comptoir import money
from comptoir.v1 import (
    Capture,
    Checkout,
    CreateCaptureRequest,
    CreateRefundRequest,
    Payment,
    VoidPaymentRequest,
)
from tests.simulation.people import Market
from tests.simulation.plan import Story
from tests.simulation.town import Partner

LOOKS = 8
DECIDED_SECONDS = 4.0


class Aftercare:
    """One partner and one payment of a story."""

    def __init__(self, market: Market, story: Story, partner: Partner, payment: Payment) -> None:
        self.market = market
        self.story = story
        self.partner = partner
        self.payment = payment
        self.total = payment.amount.minor_units

    async def capture(self, name: str, minor_units: int | None = None, *, final: bool = False) -> Capture | None:
        """Takes a part, or all."""
        request = CreateCaptureRequest(
            request_id=f"{name} {self.story.number}", payment_id=self.payment.payment_id, final=final
        )
        if minor_units is not None:
            request.amount.CopyFrom(money(minor_units, "USD"))
        answer = await self._until_decided("CreateCapture", request, "capture")
        return None if answer is None else answer.capture

    async def refund(self, name: str, minor_units: int | None = None) -> None:
        """Gives a part back, or all."""
        request = CreateRefundRequest(request_id=f"{name} {self.story.number}", payment_id=self.payment.payment_id)
        if minor_units is not None:
            request.amount.CopyFrom(money(minor_units, "USD"))
        await self._until_decided("CreateRefund", request, "refund")

    async def void(self, name: str) -> None:
        """Releases the hold."""
        request = VoidPaymentRequest(request_id=f"{name} {self.story.number}", payment_id=self.payment.payment_id)
        await self.market.say(self.partner.credential, "VoidPayment", request, self.story.deadline_seconds)

    async def _until_decided(self, name: str, request: Any, noun: str) -> Any:
        """The answer, asked for again with the same request id a few times while it is not final."""
        answer = None
        for _ in range(3):
            answer = await self.market.say(self.partner.credential, name, request, self.story.deadline_seconds)
            if answer is None or getattr(answer, noun).state not in {1, 2}:
                break
            await self.market.world.pause(DECIDED_SECONDS)
        return answer


async def look_after(market: Market, story: Story, checkout_id: str) -> None:
    """Does what the story says with the payment of a checkout, if it is paid within a while."""
    partner = market.town.partners[story.partner]
    for _ in range(LOOKS):
        checkout = await market.look(partner.credential, checkout_id)
        if checkout is None:
            return
        if checkout.state == Checkout.STATE_COMPLETED:
            break
        if checkout.state in {Checkout.STATE_CANCELED, Checkout.STATE_EXPIRED}:
            await refund_what_was_called_off(market, story, partner, checkout)
            return
        await market.world.pause(DECIDED_SECONDS)
    else:
        return
    payment = await market.look_at_payment(partner.credential, checkout.payment_ids[-1])
    if payment is not None:
        await AFTER[story.after](Aftercare(market, story, partner, payment))


async def refund_what_was_called_off(market: Market, story: Story, partner: Partner, checkout: Checkout) -> None:
    """Somebody gives a part back at the provider's own pages of what the platform owes as a whole."""
    if story.after not in {"refund there", "charged back"} or not checkout.payment_ids:
        return
    payment = await market.look_at_payment(partner.credential, checkout.payment_ids[-1])
    if payment is not None and payment.provider_payment_id and not story.manual:
        part = {"value": f"{payment.amount.minor_units // 3 / 100:.2f}", "currency_code": "USD"}
        market.town.control("dashboard/refund", capture_id=payment.provider_payment_id, amount=part)


async def nothing(_care: Aftercare) -> None:
    """Leaves it."""


async def refund(care: Aftercare) -> None:
    """Gives all back."""
    await care.refund("refund")


async def refund_twice(care: Aftercare) -> None:
    """Two refunds of everything at once: one wins."""
    await asyncio.gather(care.refund("refund a"), care.refund("refund b"))


async def refund_same(care: Aftercare) -> None:
    """The same refund twice at once."""
    await asyncio.gather(care.refund("refund", care.total // 2), care.refund("refund", care.total // 2))


async def refund_parts(care: Aftercare) -> None:
    """Several parts, more than there is."""
    await asyncio.gather(*(care.refund(f"refund {part}", care.total * 2 // 5) for part in range(3)))


async def refund_there(care: Aftercare) -> None:
    """Somebody gives a part back at the provider's own pages."""
    payment = await care.market.look_at_payment(care.partner.credential, care.payment.payment_id)
    if payment is None or not payment.provider_payment_id:
        return
    part = {"value": f"{care.total // 3 / 100:.2f}", "currency_code": "USD"}
    care.market.town.control("dashboard/refund", capture_id=payment.provider_payment_id, amount=part)
    await care.refund("refund", care.total // 3)


async def charged_back(care: Aftercare) -> None:
    """The provider takes a part back by itself, while the partner gives all back."""
    payment = await care.market.look_at_payment(care.partner.credential, care.payment.payment_id)
    if payment is None or not payment.provider_payment_id:
        return
    part = {"value": f"{care.total // 4 / 100:.2f}", "currency_code": "USD"}
    care.market.town.control("dashboard/reverse", capture_id=payment.provider_payment_id, amount=part)
    await care.refund("refund")


async def capture(care: Aftercare) -> None:
    """Takes all."""
    await care.capture("capture")


async def capture_twice(care: Aftercare) -> None:
    """Two captures of all at once: one wins."""
    await asyncio.gather(care.capture("capture a"), care.capture("capture b"))


async def capture_parts(care: Aftercare) -> None:
    """Parcel by parcel."""
    for part in range(2):
        await care.capture(f"capture {part}", care.total // 3)
    await care.capture("the rest", final=True)


async def capture_or_void(care: Aftercare) -> None:
    """One takes it while another releases it."""
    await asyncio.gather(care.capture("capture"), care.void("void"))


async def void(care: Aftercare) -> None:
    """Releases it."""
    await care.void("void")


async def void_twice(care: Aftercare) -> None:
    """Releases it twice at once."""
    await asyncio.gather(care.void("void a"), care.void("void b"))


async def capture_and_refund(care: Aftercare) -> None:
    """Takes a part and gives of it back."""
    taken = await care.capture("capture", care.total // 2, final=True)
    if taken is not None:
        await care.refund("refund", care.total // 4)


AFTER: Mapping[str, Callable[[Aftercare], Awaitable[None]]] = {
    "": nothing,
    "refund": refund,
    "refund twice": refund_twice,
    "refund same": refund_same,
    "refund parts": refund_parts,
    "refund there": refund_there,
    "charged back": charged_back,
    "capture": capture,
    "capture twice": capture_twice,
    "capture parts": capture_parts,
    "capture or void": capture_or_void,
    "void": void,
    "void twice": void_twice,
    "capture, refund": capture_and_refund,
}
