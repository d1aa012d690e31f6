"""People who buy: patient and impatient ones, with one device or two, sure of what they want or not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from comptoir import line_item, money, total_of
from comptoir.v1 import (
    CancelCheckoutRequest,
    Checkout,
    ConfirmCheckoutRequest,
    CreateCheckoutRequest,
    GetCheckoutRequest,
    GetPaymentRequest,
    IssueUserTokenRequest,
    Payment,
    UnlinkWalletRequest,
    UpdateCheckoutRequest,
)
from comptoir.v1 import CaptureMode as Mode
from comptoir_server.domain.errors import Reason
from comptoir_server.transport.failures import Failed
from tests.simulation.calls import Credential
from tests.simulation.plan import NEWCOMER, Story
from tests.simulation.servers import Unreachable
from tests.simulation.town import Partner, Person, Town

TRIES = 4
"""How often somebody repeats a yes before they put the telephone away."""

LONG_SECONDS = 25.0

EXPECTED = frozenset(
    {
        Reason.INVALID_STATE,
        Reason.VERSION_STALE,
        Reason.CHECKOUT_EXPIRED,
        Reason.WALLET_NOT_ACTIVE,
        Reason.MARKET_NOT_AVAILABLE,
        Reason.REFUND_EXCEEDS_CAPTURE,
        Reason.CAPTURE_EXCEEDS_AUTHORIZATION,
        Reason.CREDENTIAL_EXPIRED,
        Reason.CONFIRMATION_CODE_WRONG,
    }
)
"""Refusals that people and partners who do such things must reckon with."""

Consents = dict[tuple[str, int], int]
"""What was agreed to: the total by checkout and version."""


class Market:
    """Where stories happen."""

    def __init__(self, town: Town) -> None:
        self.town = town
        self.world = town.world
        self.consents: Consents = {}
        self.checkouts: dict[str, tuple[Person, Partner]] = {}
        self.payments: dict[str, tuple[Person, Partner]] = {}

    async def say(
        self, credential: Credential, name: str, request: Any, seconds: float = LONG_SECONDS, tries: int = 40
    ) -> Any:
        """The answer of a call; None where it is a refusal that may be, or where nobody answers."""
        try:
            return await self.world.network.insist(credential, name, request, seconds, tries)
        except Unreachable:
            return None
        except Failed as failed:
            field = failed.reason is Reason.FIELD_INVALID and failed.message.startswith(("wallet_id", "expire_time"))
            if failed.reason not in EXPECTED and not field:
                self.world.failed(f"{name} was refused: {failed.outcome} {failed.message}")
            return None

    async def offer(self, story: Story, person: Person, *, replaces: str = "") -> Checkout | None:
        """The partner's checkout for a story, in place of another where one is named."""
        partner = self.town.partners[story.partner]
        items = [line_item(f"Flight {story.number}", money(story.minor_units, "USD"))]
        request = CreateCheckoutRequest(
            request_id=f"offer {story.number}{' again' if replaces else ''}",
            replaces_checkout_id=replaces,
            session_id=person.sessions[partner.number],
            items=items,
            total=total_of(items),
            capture_mode=Mode.CAPTURE_MODE_MANUAL if story.manual else Mode.CAPTURE_MODE_AUTOMATIC,
        )
        if story.way == "is late" and not any(kind.startswith("clock") for kind in self.world.plan.rates):
            request.expire_time.FromMicroseconds(self.world.clock.now() + int(8e6 + 2e6 * story.pause_seconds))
        answer = await self.say(partner.credential, "CreateCheckout", request)
        if answer is None:
            return None
        checkout: Checkout = answer.checkout
        self.checkouts[checkout.checkout_id] = (person, partner)
        return checkout

    async def yes(
        self,
        credential: Credential,
        checkout: Checkout,
        request_id: str,
        seconds: float = LONG_SECONDS,
        wallet_id: str = "",
    ) -> Payment | None:
        """A person's yes to the version that they see, repeated a few times while it is being confirmed."""
        self.consents[checkout.checkout_id, checkout.version] = checkout.total.minor_units
        request = ConfirmCheckoutRequest(
            request_id=request_id, checkout_id=checkout.checkout_id, version=checkout.version, wallet_id=wallet_id
        )
        payment: Payment | None = None
        for _ in range(TRIES):
            answer = await self.say(credential, "ConfirmCheckout", request, seconds, tries=6)
            if answer is None:
                return payment
            payment = answer.payment
            self._knows(checkout, answer.payment)
            if payment.state == Payment.STATE_REQUIRES_ACTION:
                await self.approve(payment)
            elif payment.state != Payment.STATE_PROCESSING:
                break
            await self.world.pause(5.0)
        return payment

    def _knows(self, checkout: Checkout, payment: Payment) -> None:
        whose = self.checkouts[checkout.checkout_id]
        if self.payments.setdefault(payment.payment_id, whose) != whose or payment.checkout_id != checkout.checkout_id:
            self.world.failed(f"A1 {payment.payment_id} was told to a stranger")

    async def approve(self, payment: Payment) -> None:
        """The person does at the provider what is asked of them."""
        token = payment.action_url.partition("token=")[2]
        self.town.control("approve", token=token, account="action")
        await self.world.pause(2.0)

    async def look(self, credential: Credential, checkout_id: str) -> Checkout | None:
        """A checkout as it is."""
        answer = await self.say(credential, "GetCheckout", GetCheckoutRequest(checkout_id=checkout_id))
        return None if answer is None else answer.checkout

    async def look_at_payment(self, credential: Credential, payment_id: str) -> Payment | None:
        """A payment as it is."""
        answer = await self.say(credential, "GetPayment", GetPaymentRequest(payment_id=payment_id))
        return None if answer is None else answer.payment

    async def cancel(self, credential: Credential, checkout: Checkout, request_id: str) -> None:
        """Calls it off."""
        request = CancelCheckoutRequest(request_id=request_id, checkout_id=checkout.checkout_id)
        await self.say(credential, "CancelCheckout", request)

    async def token(self, person: Person) -> Credential | None:
        """The credential of the person's own device."""
        answer = await self.say(person.channel, "IssueUserToken", IssueUserTokenRequest(user_id=person.user_id))
        return None if answer is None else Credential(answer.token, person.user_id)


Way = Callable[[Market, Story, Person, Checkout], Awaitable[None]]


async def insists(market: Market, story: Story, person: Person, checkout: Checkout) -> None:
    """One yes, repeated with its request id."""
    await market.yes(person.channel, checkout, f"yes {story.number}", story.deadline_seconds)


async def taps_twice(market: Market, story: Story, person: Person, checkout: Checkout) -> None:
    """The same yes twice at once."""
    once = (market.yes(person.channel, checkout, f"yes {story.number}", story.deadline_seconds) for _ in range(2))
    await asyncio.gather(*once)


async def taps_two_buttons(market: Market, story: Story, person: Person, checkout: Checkout) -> None:
    """Two different yeses at once."""
    taps = (market.yes(person.channel, checkout, f"yes {story.number}/{tap}", story.deadline_seconds) for tap in (1, 2))
    await asyncio.gather(*taps)


async def has_two_devices(market: Market, story: Story, person: Person, checkout: Checkout) -> None:
    """A yes in the chat and one on the person's own device."""
    own = await market.token(person)
    devices = [person.channel, own or person.channel]
    await asyncio.gather(*(market.yes(device, checkout, f"yes {story.number}") for device in devices))


async def gives_up(market: Market, story: Story, person: Person, checkout: Checkout) -> None:
    """Hangs up, looks later, and says yes again where it is still asked for."""
    market.consents[checkout.checkout_id, checkout.version] = checkout.total.minor_units
    request = ConfirmCheckoutRequest(
        request_id=f"yes {story.number}", checkout_id=checkout.checkout_id, version=checkout.version
    )
    try:
        async with asyncio.timeout(market.world.draw.uniform(0.02, 0.6)):
            await market.world.network.once(person.channel, "ConfirmCheckout", request, 25.0)
    except (TimeoutError, Unreachable, Failed):
        pass
    await market.world.pause(10 * story.pause_seconds + 1)
    seen = await market.look(person.channel, checkout.checkout_id)
    if seen is not None and seen.state == Checkout.STATE_OPEN:
        await market.yes(person.channel, seen, f"yes again {story.number}")


async def changes_their_mind(market: Market, story: Story, person: Person, checkout: Checkout) -> None:
    """Says yes, and no while it is being paid; sometimes the partner says no."""
    paying = market.world.spawn(market.yes(person.channel, checkout, f"yes {story.number}", story.deadline_seconds))
    await market.world.pause(0.5)
    who = person.channel if story.minor_units % 3 else market.town.partners[story.partner].credential
    await market.cancel(who, checkout, f"no {story.number}")
    await paying


async def walks_away(market: Market, story: Story, person: Person, checkout: Checkout) -> None:
    """Says nothing; one in two says no."""
    if story.minor_units % 2:
        await market.cancel(person.channel, checkout, f"no {story.number}")


async def is_late(market: Market, story: Story, person: Person, checkout: Checkout) -> None:
    """Says yes about when the checkout expires."""
    await asyncio.sleep(7.0 + 2 * market.world.draw.random() * story.pause_seconds)
    await market.yes(person.channel, checkout, f"yes {story.number}", story.deadline_seconds)


async def is_repriced(market: Market, story: Story, person: Person, checkout: Checkout) -> None:
    """Says yes to a price that the partner changes at the same time; then to the new one, if the old was not taken."""
    items = [line_item("Flight, cheaper", money(story.minor_units - 500, "USD"))]
    request = UpdateCheckoutRequest(
        request_id=f"price {story.number}",
        checkout_id=checkout.checkout_id,
        version=checkout.version,
        items=items,
        total=total_of(items),
    )
    partner = market.town.partners[story.partner]
    await asyncio.gather(
        market.yes(person.channel, checkout, f"yes {story.number}"),
        market.say(partner.credential, "UpdateCheckout", request),
    )
    seen = await market.look(person.channel, checkout.checkout_id)
    if seen is not None and seen.state == Checkout.STATE_OPEN:
        await market.yes(person.channel, seen, f"yes again {story.number}")


async def is_replaced(market: Market, story: Story, person: Person, checkout: Checkout) -> None:
    """Says yes to what the partner replaces at the same time; then to what it was replaced by."""
    paying = market.world.spawn(market.yes(person.channel, checkout, f"yes {story.number}", story.deadline_seconds))
    await market.world.pause(2.0)
    other = await market.offer(story, person, replaces=checkout.checkout_id)
    await paying
    if other is not None:
        await market.yes(person.channel, other, f"yes again {story.number}", story.deadline_seconds)


async def links_anew(market: Market, story: Story, person: Person, checkout: Checkout) -> None:
    """Links another wallet first, and pays with that."""
    wallet = await market.town.link(person, "pays-too", f"link {story.number}")
    await market.yes(
        person.channel, checkout, f"yes {story.number}", wallet_id=wallet.wallet_id if wallet is not None else ""
    )


async def unlinks(market: Market, story: Story, person: Person, checkout: Checkout) -> None:
    """Takes the wallet away while it pays."""
    wallet = await market.town.link(person, "pays", f"link {story.number}")
    if wallet is None:
        return
    paying = market.world.spawn(market.yes(person.channel, checkout, f"yes {story.number}", wallet_id=wallet.wallet_id))
    await market.world.pause(0.3)
    request = UnlinkWalletRequest(request_id=f"unlink {story.number}", wallet_id=wallet.wallet_id)
    await market.say(person.channel, "UnlinkWallet", request)
    await paying


async def revokes_there(market: Market, story: Story, person: Person, checkout: Checkout) -> None:
    """Takes the permission back at the provider while it pays, and links anew."""
    tokens = market.world.paypal.state.books.payment_tokens
    known = set(tokens)
    wallet = await market.town.link(person, "pays", f"link {story.number}")
    if wallet is None:
        return
    paying = market.world.spawn(market.yes(person.channel, checkout, f"yes {story.number}", wallet_id=wallet.wallet_id))
    await market.world.pause(0.5)
    for token in [token for token in tokens if token not in known][:1]:
        market.town.control("dashboard/revoke", token=token)
    await paying


WAYS: Mapping[str, Way] = {
    "insists": insists,
    "taps twice": taps_twice,
    "taps two buttons": taps_two_buttons,
    "has two devices": has_two_devices,
    "gives up": gives_up,
    "changes their mind": changes_their_mind,
    "walks away": walks_away,
    "is late": is_late,
    "is re-priced": is_repriced,
    "is replaced": is_replaced,
    "links anew": links_anew,
    "unlinks": unlinks,
    "revokes there": revokes_there,
    NEWCOMER: insists,
}
