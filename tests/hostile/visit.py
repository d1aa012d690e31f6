"""One valid session through every method of the contract, step by step: what hostile input is made from.

A visitor brings everything of its own: a partner with a bot, a channel with a person, a wallet, purchases. Whoever
runs it sees each step before it is taken.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import Message

from comptoir import line_item, money, text_content, total_of
from comptoir.v1 import (
    AckEventsRequest,
    ApproveBotRequest,
    CancelCheckoutRequest,
    CancelWalletLinkRequest,
    CaptureMode,
    CloseSessionRequest,
    ConfirmCheckoutRequest,
    ConfirmWalletLinkRequest,
    CreateApiKeyRequest,
    CreateBotRequest,
    CreateCaptureRequest,
    CreateChannelRequest,
    CreateCheckoutRequest,
    CreatePartnerRequest,
    CreateRefundRequest,
    GetBalanceRequest,
    GetBotProfileRequest,
    GetBotRequest,
    GetCaptureRequest,
    GetCheckoutRequest,
    GetOrderRequest,
    GetPartnerRequest,
    GetPaymentRequest,
    GetRefundRequest,
    GetSessionRequest,
    GetUserRequest,
    GetWalletLinkRequest,
    GetWalletRequest,
    IssueUserTokenRequest,
    ListAccountsRequest,
    ListApiKeysRequest,
    ListCapturesRequest,
    ListCheckoutsRequest,
    ListEventsRequest,
    ListMarketsRequest,
    ListMessagesRequest,
    ListOrdersRequest,
    ListPaymentsRequest,
    ListPostingsRequest,
    ListProvidersRequest,
    ListRefundsRequest,
    ListSessionsRequest,
    ListWalletsRequest,
    OpenSessionRequest,
    Referral,
    RegisterUserRequest,
    RevokeApiKeyRequest,
    SendMessageRequest,
    SetDefaultWalletRequest,
    StartWalletLinkRequest,
    StreamEventsRequest,
    StreamMessagesRequest,
    SubmitBotRequest,
    UnlinkWalletRequest,
    UpdateCheckoutRequest,
    UpdateMarketRequest,
    VoidPaymentRequest,
)
from comptoir_server.app.call import Caller
from tests.hostile.place import Credential, Place
from tests.support.linking import approve, code_in

OPERATOR, PARTNER, CHANNEL, USER = Caller.OPERATOR, Caller.PARTNER, Caller.CHANNEL, Caller.USER


@dataclass(frozen=True, slots=True)
class Step:
    """One call of the session: who makes it, and with what; several messages where the method takes a stream."""

    caller: Caller
    requests: tuple[Message, ...]

    @property
    def method(self) -> str:
        """The method that takes these requests."""
        return type(self.requests[0]).__name__.removesuffix("Request")


Steps = AsyncGenerator[Step, Any]
"""Yields each step, and is sent its (last) answer."""

_numbers = itertools.count(1)


def _id() -> str:
    return f"visit-{next(_numbers)}"


def _by(caller: Caller, *requests: Any) -> Step:
    """A step; every request that has a place for a request id gets a new one."""
    for request in requests:
        if "request_id" in request.DESCRIPTOR.fields_by_name:
            request.request_id = _id()
    return Step(caller, requests)


async def session(place: Place) -> Steps:
    """The whole session, in an order in which each step succeeds."""
    parts: tuple[Callable[[Place, dict[str, str]], Steps], ...] = (_onboarding, _talk, _wallets, _sale, _holds, _end)
    known: dict[str, str] = {}
    for part in parts:
        steps = part(place, known)
        answer: Any = None
        while True:
            try:
                step = await (anext(steps) if answer is None else steps.asend(answer))
            except StopAsyncIteration:
                break
            answer = yield step


async def _onboarding(place: Place, known: dict[str, str]) -> Steps:
    answer = yield _by(OPERATOR, CreatePartnerRequest(display_name="Copper Air", fee_basis_points=150))
    known["partner"] = answer.partner.partner_id
    answer = yield _by(OPERATOR, CreateChannelRequest(display_name="Harbour Chat"))
    channel_id = answer.channel.channel_id
    answer = yield _by(OPERATOR, CreateApiKeyRequest(owner_id=known["partner"]))
    place.credentials[PARTNER] = Credential(answer.secret)
    answer = yield _by(OPERATOR, CreateApiKeyRequest(owner_id=channel_id))
    channel_secret = answer.secret
    place.credentials[CHANNEL] = Credential(channel_secret)
    yield _by(OPERATOR, UpdateMarketRequest(market="US", provider="paypal", open=True))
    answer = yield _by(PARTNER, CreateBotRequest(display_name="Ada", greeting="Where to?\nJust say."))
    known["bot"] = answer.bot.bot_id
    yield _by(PARTNER, SubmitBotRequest(bot_id=known["bot"]))
    yield _by(OPERATOR, ApproveBotRequest(bot_id=known["bot"]))
    answer = yield _by(PARTNER, CreateApiKeyRequest(bot_id=known["bot"], scopes=["message.write"]))
    spare = answer.api_key.api_key_id
    yield _by(PARTNER, ListApiKeysRequest(page_size=1))
    yield _by(PARTNER, RevokeApiKeyRequest(api_key_id=spare))
    yield _by(PARTNER, GetPartnerRequest())
    yield _by(PARTNER, GetBotRequest(bot_id=known["bot"]))
    answer = yield _by(
        CHANNEL,
        RegisterUserRequest(
            channel_user_id=_id(), display_name="Jo", market="US", locale="en-US", time_zone="America/New_York"
        ),
    )
    known["user"] = answer.user.user_id
    place.credentials[CHANNEL] = Credential(channel_secret, known["user"])
    answer = yield _by(CHANNEL, IssueUserTokenRequest(user_id=known["user"]))
    place.credentials[USER] = Credential(answer.token)
    yield _by(USER, GetUserRequest(user_id=known["user"]))
    yield _by(USER, GetBotProfileRequest(bot_id=known["bot"]))


async def _talk(_place: Place, known: dict[str, str]) -> Steps:
    referral = Referral(source=Referral.SOURCE_AD, ad_id="ad-7", ref="spring")
    answer = yield _by(CHANNEL, OpenSessionRequest(bot_id=known["bot"], referral=referral))
    known["session"] = answer.session.session_id
    yield _by(USER, SendMessageRequest(session_id=known["session"], content=text_content("To Lisbon, please")))
    choice = text_content("Window or aisle?", [("Window", "seat:window")])
    yield _by(PARTNER, SendMessageRequest(session_id=known["session"], content=choice))
    yield _by(USER, GetSessionRequest(session_id=known["session"]))
    yield _by(PARTNER, ListSessionsRequest(bot_id=known["bot"], page_size=1))
    yield _by(USER, ListMessagesRequest(session_id=known["session"], page_size=10))
    yield _by(CHANNEL, StreamMessagesRequest(session_id=known["session"]))
    answer = yield _by(PARTNER, ListEventsRequest(page_size=3))
    cursor = answer.next_cursor
    yield _by(PARTNER, AckEventsRequest(consumer="till", cursor=answer.events[0].cursor))
    subscribe, ack = StreamEventsRequest(), StreamEventsRequest()
    subscribe.subscribe.consumer, ack.ack.cursor = "till", cursor
    yield _by(PARTNER, subscribe, ack)


async def _wallets(place: Place, known: dict[str, str]) -> Steps:
    yield _by(USER, ListMarketsRequest())
    yield _by(USER, ListProvidersRequest())
    answer = yield _by(USER, StartWalletLinkRequest(provider="paypal", session_id=known["session"]))
    yield _by(USER, CancelWalletLinkRequest(wallet_link_id=answer.wallet_link.wallet_link_id))
    for wanted in ("kept", "spare"):
        answer = yield _by(CHANNEL, StartWalletLinkRequest(provider="paypal", session_id=known["session"]))
        link = answer.wallet_link
        async with place.world.browser() as browser:
            await approve(place.world, browser, link.link_url)
            code = code_in(await browser.get(link.link_url))
        yield _by(USER, GetWalletLinkRequest(wallet_link_id=link.wallet_link_id))
        answer = yield _by(
            CHANNEL, ConfirmWalletLinkRequest(wallet_link_id=link.wallet_link_id, confirmation_code=code)
        )
        known[wanted] = answer.wallet.wallet_id
    yield _by(USER, ListWalletsRequest())
    yield _by(USER, GetWalletRequest(wallet_id=known["kept"]))
    yield _by(USER, SetDefaultWalletRequest(wallet_id=known["kept"]))
    yield _by(USER, UnlinkWalletRequest(wallet_id=known["spare"]))


def _order(known: dict[str, str], mode: CaptureMode.ValueType = CaptureMode.CAPTURE_MODE_AUTOMATIC) -> Step:
    items = [line_item("Flight", money(12_000, "USD"), 2, item_reference="CM417")]
    return _by(
        PARTNER,
        CreateCheckoutRequest(
            session_id=known["session"],
            partner_reference=_id(),
            statement_descriptor="COPPER AIR",
            metadata={"booking": "KX7QPL"},
            items=items,
            total=total_of(items),
            capture_mode=mode,
        ),
    )


async def _sale(_place: Place, known: dict[str, str]) -> Steps:
    answer = yield _order(known)
    checkout_id = answer.checkout.checkout_id
    items = [line_item("Flight", money(11_000, "USD"), 2)]
    answer = yield _by(
        PARTNER, UpdateCheckoutRequest(checkout_id=checkout_id, version=1, items=items, total=total_of(items))
    )
    yield _by(USER, GetCheckoutRequest(checkout_id=checkout_id))
    yield _by(PARTNER, ListCheckoutsRequest(session_id=known["session"], page_size=1))
    answer = yield _by(CHANNEL, ConfirmCheckoutRequest(checkout_id=checkout_id, version=answer.checkout.version))
    payment_id = answer.payment.payment_id
    yield _by(USER, GetPaymentRequest(payment_id=payment_id))
    yield _by(PARTNER, ListPaymentsRequest(page_size=1))
    answer = yield _by(PARTNER, ListCapturesRequest(payment_id=payment_id))
    yield _by(PARTNER, GetCaptureRequest(capture_id=answer.captures[0].capture_id))
    answer = yield _by(
        PARTNER, CreateRefundRequest(payment_id=payment_id, amount=money(1_000, "USD"), reason="Seat 12B")
    )
    yield _by(USER, GetRefundRequest(refund_id=answer.refund.refund_id))
    yield _by(USER, ListRefundsRequest(payment_id=payment_id))
    answer = yield _by(PARTNER, ListOrdersRequest(page_size=1))
    yield _by(USER, GetOrderRequest(order_id=answer.orders[0].order_id))


async def _holds(_place: Place, known: dict[str, str]) -> Steps:
    for act in ("capture", "void"):
        answer = yield _order(known, CaptureMode.CAPTURE_MODE_MANUAL)
        checkout = answer.checkout
        answer = yield _by(
            USER, ConfirmCheckoutRequest(checkout_id=checkout.checkout_id, version=1, wallet_id=known["kept"])
        )
        payment_id = answer.payment.payment_id
        if act == "capture":
            yield _by(PARTNER, CreateCaptureRequest(payment_id=payment_id, amount=money(500, "USD")))
        else:
            yield _by(PARTNER, VoidPaymentRequest(payment_id=payment_id))
    answer = yield _order(known)
    yield _by(USER, CancelCheckoutRequest(checkout_id=answer.checkout.checkout_id))


async def _end(_place: Place, known: dict[str, str]) -> Steps:
    answer = yield _by(PARTNER, ListAccountsRequest(page_size=1))
    account_id = answer.accounts[0].account_id
    yield _by(PARTNER, GetBalanceRequest(account_id=account_id))
    yield _by(PARTNER, ListPostingsRequest(account_id=account_id, page_size=1))
    yield _by(CHANNEL, CloseSessionRequest(session_id=known["session"]))
