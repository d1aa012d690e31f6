"""The others: strangers who try what is not theirs, partners who change their keys, an operator who closes a market."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from comptoir.v1 import (
    CancelCheckoutRequest,
    CreateApiKeyRequest,
    CreateCaptureRequest,
    CreateRefundRequest,
    GetCheckoutRequest,
    GetPartnerRequest,
    GetPaymentRequest,
    ListApiKeysRequest,
    MessageContent,
    RevokeApiKeyRequest,
    SendMessageRequest,
    TextContent,
    UpdateMarketRequest,
    VoidPaymentRequest,
)
from comptoir_server.domain import ids
from comptoir_server.domain.errors import Reason
from comptoir_server.transport.failures import Failed
from tests.simulation.calls import Credential
from tests.simulation.people import Market
from tests.simulation.servers import Unreachable

STRANGE_SECONDS = 12.0

TRIES: tuple[tuple[str, Callable[[str, str], Any]], ...] = (
    ("GetPayment", lambda _name, one: GetPaymentRequest(payment_id=one)),
    ("CreateRefund", lambda name, one: CreateRefundRequest(request_id=name, payment_id=one)),
    ("CreateCapture", lambda name, one: CreateCaptureRequest(request_id=name, payment_id=one)),
    ("VoidPayment", lambda name, one: VoidPaymentRequest(request_id=name, payment_id=one)),
    ("GetCheckout", lambda _name, one: GetCheckoutRequest(checkout_id=one)),
    ("CancelCheckout", lambda name, one: CancelCheckoutRequest(request_id=name, checkout_id=one)),
)
"""What a stranger tries."""


async def stranger(market: Market) -> None:
    """A partner and a person try what belongs to others: it must look like what is not there."""
    world, draw = market.world, market.world.generator("stranger")
    count = 0
    while not world.healed:
        await asyncio.sleep(draw.uniform(1.0, 2 * STRANGE_SECONDS))
        if not market.payments:
            continue
        payment_id = draw.choice(list(market.payments))
        checkout_id = draw.choice(list(market.checkouts))
        owner, partner = market.checkouts[checkout_id]
        other = next(one for one in market.town.partners if one is not market.payments[payment_id][1])
        rival = next(one for one in market.town.partners if one is not partner)
        person = next(one for one in market.town.people if one is not owner)
        count += 1
        name, request = draw.choice(TRIES)
        if name in {"GetCheckout", "CancelCheckout"}:
            object_id, credential = checkout_id, rival.credential if name == "GetCheckout" else person.channel
        else:
            object_id, credential = payment_id, other.credential
        absent = ids.build(object_id[:3], 0, draw.randbytes(10))
        refusals = [
            await _refusal(market, credential, name, request(f"strange {count} {one}", one))
            for one in (object_id, absent)
        ]
        if None not in refusals and len(set(refusals)) > 1:
            world.failed(f"A1 {name}: what is a stranger's does not look like what is not there")


async def _refusal(market: Market, credential: Credential, name: str, request: Any) -> bytes | None:
    """With what it is refused; None where nobody answers. That it is not refused is a violation."""
    try:
        await market.world.network.insist(credential, name, request, tries=4)
    except Unreachable:
        return None
    except Failed as failed:
        return failed.status if failed.reason is Reason.NOT_FOUND else None
    market.world.failed(f"A1 {name} of a stranger's was answered")
    return None


async def keys(market: Market) -> None:
    """A partner makes a new key, goes on with it, and ends the old one, which then opens nothing."""
    world, draw = market.world, market.world.generator("keys")
    number = 0
    while not world.healed:
        await asyncio.sleep(draw.uniform(5.0, 60.0))
        partner = draw.choice(market.town.partners)
        number += 1
        listed = await market.say(partner.credential, "ListApiKeys", ListApiKeysRequest(), tries=6)
        made = await market.say(partner.credential, "CreateApiKey", CreateApiKeyRequest(request_id=f"key {number}"))
        if made is None or not made.secret or listed is None:
            continue
        old = Credential(partner.credential.secret, partner.partner_id)
        hints = [key for key in listed.api_keys if old.secret.startswith(key.hint)]
        partner.credential.secret = made.secret
        for key in hints:
            request = RevokeApiKeyRequest(request_id=f"end {number} {key.api_key_id}", api_key_id=key.api_key_id)
            revoked = await market.say(partner.credential, "RevokeApiKey", request)
            if revoked is not None:
                world.ended_keys[old.secret] = world.loop.time()
                await _opens_nothing(market, old)


async def _opens_nothing(market: Market, old: Credential) -> None:
    try:
        await market.world.network.insist(old, "GetPartner", GetPartnerRequest(), tries=4)
    except Unreachable:
        return
    except Failed as failed:
        if failed.reason is Reason.CREDENTIAL_INVALID:
            return
    market.world.failed("A3 a key that was ended still opens")


async def market_closes(market: Market) -> None:
    """An operator closes the market for a while, and opens it again."""
    draw = market.world.generator("market")
    await asyncio.sleep(draw.uniform(10.0, 80.0))
    for number, is_open in enumerate((False, True)):
        request = UpdateMarketRequest(request_id=f"market {number}", market="US", provider="paypal", open=is_open)
        answer = None
        while answer is None:
            answer = await market.say(market.town.operator, "UpdateMarket", request)
        await asyncio.sleep(draw.uniform(1.0, 15.0))


async def chat(market: Market) -> None:
    """People and bots talk; each message is sent twice."""
    world, draw = market.world, market.world.generator("chat")
    number = 0
    while not world.healed:
        await asyncio.sleep(draw.uniform(3.0, 30.0))
        person, partner = draw.choice(market.town.people), draw.choice(market.town.partners)
        who = draw.choice((person.channel, partner.credential))
        number += 1
        request = SendMessageRequest(
            request_id=f"message {number}",
            session_id=person.sessions[partner.number],
            content=MessageContent(text=TextContent(text=f"Is there a window seat? {number}")),
        )
        await asyncio.gather(*(market.say(who, "SendMessage", request) for _ in range(2)))


FOLK: Mapping[str, Callable[[Market], Coroutine[Any, Any, None]]] = {
    "stranger": stranger,
    "keys": keys,
    "market": market_closes,
    "chat": chat,
}
