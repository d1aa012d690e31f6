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
    """One event, in its partner's log, its channel's, or both; what belongs to a log it is not in is None.

    Positions are given at the commit, and so is the place among the events that this log has of the session, which
    is 0 outside of any. `payload` is the snapshot of the object at that moment, `user_id` says whose key opens what
    is sealed inside it.
    """

    id: str
    type: str
    noun: str
    partner_id: str | None
    partner_position: int | None
    partner_session_sequence: int | None
    channel_id: str | None
    channel_position: int | None
    channel_session_sequence: int | None
    bot_id: str
    session_id: str | None
    user_id: str
    payload: str
    create_time: int


@record
class LogEntry:
    """An event as one log has it, without a word of the other."""

    position: int
    session_sequence: int
    id: str
    type: str
    noun: str
    bot_id: str
    session_id: str | None
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
