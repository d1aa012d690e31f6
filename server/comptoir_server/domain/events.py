"""What happened: one event a state of every table, in the log of everybody it concerns."""

from __future__ import annotations

from enum import StrEnum

from comptoir_server.domain.checkouts import CheckoutState
from comptoir_server.domain.orders import OrderState
from comptoir_server.domain.payments import CaptureState, PaymentState, RefundState
from comptoir_server.domain.records import record
from comptoir_server.domain.sessions import SessionState
from comptoir_server.domain.wallets import LinkState, WalletState

STATES: dict[str, type[StrEnum]] = {
    "session": SessionState,
    "wallet_link": LinkState,
    "wallet": WalletState,
    "checkout": CheckoutState,
    "order": OrderState,
    "payment": PaymentState,
    "capture": CaptureState,
    "refund": RefundState,
}
"""Every table of states that callers see."""

_IRREGULAR: dict[tuple[str, str], str] = {
    ("session", "OPEN"): "session.opened",
    ("checkout", "OPEN"): "checkout.opened",
    ("order", "OPEN"): "order.opened",
    ("wallet", "ACTIVE"): "wallet.linked",
    ("wallet", "NEEDS_RELINK"): "wallet.relink_needed",
    ("wallet_link", "PENDING_APPROVAL"): "wallet_link.started",
    ("wallet_link", "PENDING_CONFIRMATION"): "wallet_link.approved",
    ("payment", "REQUIRES_ACTION"): "payment.action_required",
    ("checkout", "REQUIRES_ACTION"): "checkout.action_required",
}

TYPES: dict[tuple[str, str], str] = {
    (noun, state.value): _IRREGULAR.get((noun, state.value), f"{noun}.{state.value.lower()}")
    for noun, states in STATES.items()
    for state in states
}
"""The event that tells of an object's entering a state."""

OTHERS = (
    "session.referred",
    "message.received",
    "postback.received",
    "checkout.updated",
    "order.refunded",
    "payment.doubted",
    "payment.refunded",
    "payment.reversed",
)
"""Events that tell of something other than a new state."""


@record
class Event:
    """One event in one log. `position` and `session_sequence` are given at the commit.

    `payload` is the snapshot of the object at that moment. `sealed_id` and `user_id` say whose key opens
    what is sealed inside it; empty where nothing is.
    """

    log_id: str
    position: int
    id: str
    type: str
    noun: str
    bot_id: str
    session_id: str | None
    session_sequence: int
    user_id: str
    payload: str
    create_time: int


@record
class Consumer:
    """How far a named consumer of a log has acknowledged."""

    log_id: str
    name: str
    position: int
    update_time: int
