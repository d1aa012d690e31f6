"""How our records look to callers: where names differ, what is worked out, and what a kind of caller never sees.

A field of a message is, in this order: hidden; taken as MESSAGES, RENAMED or DERIVED say; the record's `id` where it is
the message's own (`checkout_id` of a Checkout); or the record's field of the same name. A view, a dataclass that holds
a record and adds to it, is looked into likewise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from comptoir_server.app.call import Caller
from comptoir_server.app.event_reading import EventView
from comptoir_server.app.ledgers import Balance
from comptoir_server.app.messages import MessageView
from comptoir_server.app.partners import BotProfile
from comptoir_server.app.users import UserView
from comptoir_server.app.wallet_views import WalletLinkView, WalletView
from comptoir_server.app.wallets import ProviderOffer
from comptoir_server.domain import cards
from comptoir_server.domain.cards import NoticeCard, WalletLinkCard
from comptoir_server.domain.checkouts import Checkout
from comptoir_server.domain.ledger import Account
from comptoir_server.domain.money import Money
from comptoir_server.domain.orders import Order
from comptoir_server.domain.partners import ApiKey, Bot, Channel, Partner
from comptoir_server.domain.payments import Capture, Payment, Refund
from comptoir_server.domain.sessions import Session
from comptoir_server.domain.wallets import LINK_TRIES, Market, Wallet, WalletLink
from comptoir_server.store.reads.ledgers import PostedLine


@dataclass(frozen=True, slots=True)
class Derived:
    """A field that is worked out from an object of `source`: the answered one, or one that it holds."""

    source: type
    compute: Callable[[Any], Any]


def _pending_operation(payment: Payment) -> dict[str, Any] | None:
    if not payment.pending_kind:
        return None
    return {
        "kind": f"KIND_{payment.pending_kind}",
        "state": f"STATE_{payment.pending_state}",
        "since": timestamp(payment.pending_since),
    }


def timestamp(microseconds: int) -> dict[str, int] | None:
    """A time as google.protobuf.Timestamp; absent where it is 0."""
    if not microseconds:
        return None
    seconds, rest = divmod(microseconds, 1_000_000)
    return {"seconds": seconds, "nanos": rest * 1_000}


def _plain_text_for_partner(view: MessageView) -> str:
    """The words of a message without the addresses in it that only the person may open."""
    text = view.plain_text
    for address in _addresses(view.content):
        text = text.replace(address, "").rstrip()
    return text


def _addresses(content: cards.Content | None) -> tuple[str, ...]:
    if isinstance(content, WalletLinkCard):
        return (content.link_url,) if content.link_url else ()
    if isinstance(content, NoticeCard):
        return (content.action_url,) if content.action_url else ()
    return ()


RENAMED: dict[str, str] = {
    "Payment.provider_payment_id": "reference",
    "Capture.provider_capture_id": "reference",
    "Refund.provider_refund_id": "reference",
}
"""Fields of ours that go by another name."""

DERIVED: dict[str, Derived] = {
    "Payment.pending_operation": Derived(Payment, _pending_operation),
    "Message.erased": Derived(MessageView, lambda view: view.content is None),
    "Wallet.provider_deletion_pending": Derived(Wallet, lambda wallet: wallet.revoke_time > 0),
    "WalletLink.tries_left": Derived(WalletLink, lambda link: LINK_TRIES - link.tries),
}
"""Fields that are worked out where the object has none of the name."""

DERIVED_FOR: dict[tuple[Caller, str], Derived] = {
    (Caller.PARTNER, "Message.plain_text"): Derived(MessageView, _plain_text_for_partner),
}
"""Fields that are worked out for one kind of caller in any case."""

UNKNOWN: frozenset[tuple[type, str]] = frozenset({(Wallet, "is_default"), (WalletLink, "link_url")})
"""Fields that a bare record, as events keep it, does not tell; they stay empty there."""

_PEOPLE_HIDDEN = frozenset({"Session.bot_user_id", "Checkout.bot_user_id"})

HIDDEN: dict[Caller, frozenset[str]] = {
    Caller.PARTNER: frozenset(
        {
            "Session.user_id",
            "Checkout.user_id",
            "Payment.wallet_id",
            "Payment.action_url",
            "PayButton.payload",
            "PayButton.wallet_id",
            "WalletLinkCard.link_url",
            "NoticeCard.action_url",
        }
    ),
    Caller.USER: _PEOPLE_HIDDEN,
    Caller.CHANNEL: _PEOPLE_HIDDEN,
    Caller.OPERATOR: _PEOPLE_HIDDEN
    | {"Payment.action_url", "PayButton.payload", "WalletLinkCard.link_url", "NoticeCard.action_url"},
}
"""What each kind of caller never sees."""

MESSAGES: dict[str, tuple[type, ...]] = {
    "Money": (Money,),
    "User": (UserView,),
    "Partner": (Partner,),
    "Channel": (Channel,),
    "Bot": (Bot,),
    "BotProfile": (BotProfile,),
    "ApiKey": (ApiKey,),
    "Session": (Session,),
    "Message": (MessageView,),
    "Event": (EventView,),
    "ProviderOffer": (ProviderOffer,),
    "Market": (Market,),
    "WalletLink": (WalletLinkView, WalletLink),
    "Wallet": (WalletView, Wallet),
    "Checkout": (Checkout,),
    "Order": (Order,),
    "Payment": (Payment,),
    "Capture": (Capture,),
    "Refund": (Refund,),
    "Account": (Account,),
    "Balance": (Balance,),
    "Posting": (PostedLine,),
    "Ping": (dict,),
    "Acked": (dict,),
}
"""The objects from which each message of an answer is made; a dictionary is taken as it stands."""
