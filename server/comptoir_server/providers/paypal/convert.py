"""PayPal's objects in our words: orders, authorizations, captures and refunds to outcomes.

An order that is COMPLETED is not thereby paid: the truth is the status of the capture or the
authorization inside it. Every reader raises Unreadable for what the documents do not promise; a
success of another amount, currency or reference than asked is IN_DOUBT.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType

from comptoir_server.app.ports import DeclineCode, Instruction, LinkedWallet, OperationKind, Outcome, OutcomeKind
from comptoir_server.domain.records import replace
from comptoir_server.providers.paypal.amounts import from_money
from comptoir_server.providers.paypal.answers import Json, Unreadable, part, parts, required_text, text
from comptoir_server.providers.paypal.requests import INTENTS

ABSENT = Outcome(OutcomeKind.ABSENT)

_LABEL_UNKNOWN = "PayPal"
_RESOURCE_ID = re.compile(r"[A-Z0-9]{1,36}")
_EMAIL = re.compile(r"([0-9A-Za-z])[^@\s]*@([0-9A-Za-z-]+(?:[.][0-9A-Za-z-]+)+)")

Statuses = Mapping[str, OutcomeKind]

CAPTURE_STATUSES: Statuses = MappingProxyType(
    {
        "COMPLETED": OutcomeKind.CAPTURED,
        "PARTIALLY_REFUNDED": OutcomeKind.CAPTURED,
        "REFUNDED": OutcomeKind.CAPTURED,
        "PENDING": OutcomeKind.PENDING,
        "DECLINED": OutcomeKind.DECLINED,
        "DENIED": OutcomeKind.DECLINED,
        "FAILED": OutcomeKind.DECLINED,
    }
)
"""DENIED is in no enumeration, but in the texts about captures and in the names of their events."""

AUTHORIZATION_STATUSES: Statuses = MappingProxyType(
    {
        "CREATED": OutcomeKind.AUTHORIZED,
        "PARTIALLY_CAPTURED": OutcomeKind.AUTHORIZED,
        "CAPTURED": OutcomeKind.AUTHORIZED,
        "PENDING": OutcomeKind.PENDING,
        "DENIED": OutcomeKind.DECLINED,
        "VOIDED": OutcomeKind.DECLINED,
    }
)
"""What an authorization's status says about holding money: one that was released holds nothing, for good."""

VOID_STATUSES: Statuses = MappingProxyType(
    {
        "VOIDED": OutcomeKind.VOIDED,
        "CREATED": OutcomeKind.ABSENT,
        "PARTIALLY_CAPTURED": OutcomeKind.ABSENT,
        "PENDING": OutcomeKind.ABSENT,
        "CAPTURED": OutcomeKind.DECLINED,
        "DENIED": OutcomeKind.DECLINED,
    }
)
"""What an authorization's status says about a void: nothing is left to release once it is captured or denied."""

REFUND_STATUSES: Statuses = MappingProxyType(
    {
        "COMPLETED": OutcomeKind.REFUNDED,
        "PENDING": OutcomeKind.PENDING,
        "FAILED": OutcomeKind.DECLINED,
        "CANCELLED": OutcomeKind.DECLINED,
    }
)

_DECLINE_BY_REASON = MappingProxyType(
    {
        "DECLINED_BY_RISK_FRAUD_FILTERS": DeclineCode.SUSPECTED_FRAUD,
        "BUYER_COMPLAINT": DeclineCode.DO_NOT_HONOR,
        "CHARGEBACK": DeclineCode.DO_NOT_HONOR,
    }
)
_UNTOUCHED_ORDER = frozenset({"CREATED", "SAVED", "VOIDED"})


def capture_outcome(capture: Json) -> Outcome:
    """What a capture's status says, with its id and amount."""
    return _outcome(capture, CAPTURE_STATUSES, DeclineCode.INSTRUMENT_DECLINED)


def authorization_outcome(authorization: Json) -> Outcome:
    """What an authorization's status says about the hold, with its id, amount and expiry."""
    outcome = _outcome(authorization, AUTHORIZATION_STATUSES, DeclineCode.INSTRUMENT_DECLINED)
    return replace(outcome, expire_time=_time(text(authorization, "expiration_time")))


def void_outcome(authorization: Json) -> Outcome:
    """What an authorization's status says about releasing it, which moves no amount."""
    outcome = _outcome(authorization, VOID_STATUSES, DeclineCode.DO_NOT_HONOR)
    return replace(outcome, amount=None, currency_code="")


def refund_outcome(refund: Json) -> Outcome:
    """What a refund's status says, with its id and amount."""
    return _outcome(refund, REFUND_STATUSES, DeclineCode.REFUND_NOT_POSSIBLE)


def as_asked(outcome: Outcome, instruction: Instruction) -> Outcome:
    """`outcome`, or IN_DOUBT when PayPal speaks of another amount or currency than `instruction` asked for."""
    if outcome.kind in {OutcomeKind.ABSENT, OutcomeKind.DECLINED, OutcomeKind.IN_DOUBT}:
        return outcome
    if (outcome.amount, outcome.currency_code) == (instruction.amount, instruction.currency_code):
        return outcome
    return replace(outcome, kind=OutcomeKind.IN_DOUBT, provider_code="AMOUNT_NOT_ASKED_FOR")


def order_outcome(order: Json, instruction: Instruction) -> Outcome:
    """What an order says about the charge or the authorization that `instruction` describes."""
    unit = _unit(order, instruction)
    payments = part(unit, "payments")
    read, made = {
        OperationKind.CHARGE: (capture_outcome, parts(payments, "captures")),
        OperationKind.AUTHORIZE: (authorization_outcome, parts(payments, "authorizations")),
    }[instruction.kind]
    if not made:
        return _order_without_payment(order)
    for item in made:
        _require_same(item, "custom_id", instruction.payment_id)
        _require_same(item, "invoice_id", instruction.object_id)
    outcomes = [read(item) for item in made]
    alive = [outcome for outcome in outcomes if outcome.kind is not OutcomeKind.DECLINED]
    if len(alive) > 1:
        raise Unreadable("several payments in one order")
    return as_asked((alive or outcomes)[0], instruction)


def capture_in_order(order: Json, instruction: Instruction) -> Outcome:
    """What the order says about the capture of a hold: the one that carries our capture id, or ABSENT."""
    payments = part(_only_unit(order), "payments")
    captures = parts(payments, "captures")
    found = [capture for capture in captures if text(capture, "invoice_id") == instruction.object_id]
    if found:
        return as_asked(capture_outcome(_only(found)), instruction)
    held = _by_id(parts(payments, "authorizations"), instruction.target_reference)
    if text(held, "status") in {"CAPTURED", "PARTIALLY_CAPTURED"} and not captures:
        raise Unreadable("captured without a capture")
    return ABSENT


def refund_in_order(order: Json, instruction: Instruction) -> Outcome:
    """What the order says about a refund: the one that carries our refund id, or ABSENT."""
    payments = part(_only_unit(order), "payments")
    refunds = parts(payments, "refunds")
    found = [refund for refund in refunds if instruction.object_id in _our_ids(refund)]
    if found:
        return as_asked(refund_outcome(_only(found)), instruction)
    capture = _by_id(parts(payments, "captures"), instruction.target_reference)
    if text(capture, "status") in {"REFUNDED", "PARTIALLY_REFUNDED"} and not refunds:
        raise Unreadable("refunded without a refund")
    return ABSENT


def made_outcome(body: Json, instruction: Instruction) -> Outcome:
    """What the answer to an execution says: the order, the capture, the void or the refund just made."""
    if instruction.kind in INTENTS:
        return order_outcome(body, instruction)
    if instruction.kind is OperationKind.VOID:
        return void_outcome(_same_id(body, instruction.target_reference))
    if instruction.kind is OperationKind.CAPTURE:
        _require_same(body, "invoice_id", instruction.object_id)
        return as_asked(capture_outcome(body), instruction)
    _require_same(body, "invoice_id", instruction.object_id)
    _require_same(body, "custom_id", instruction.object_id)
    return as_asked(refund_outcome(body), instruction)


def approval(order: Json) -> tuple[OperationKind, str, Outcome] | None:
    """What can be asked for now that the payer agreed to `order`, our id of it, and APPROVED; None while it cannot."""
    if text(order, "status") != "APPROVED":
        return None
    kinds = [kind for kind, intent in INTENTS.items() if intent == text(order, "intent")]
    unit = _only_unit(order)
    if not kinds or part(unit, "payments"):
        raise Unreadable("approved")
    return kinds[0], text(unit, "invoice_id") or text(unit, "custom_id"), _order_without_payment(order)


def prepared_order(order: Json, instruction: Instruction) -> str:
    """The id of the order just made, when it is the one asked for and still moves nothing."""
    reference = resource_id(order)
    unit = _unit(order, replace(instruction, order_reference=reference))
    if from_money(part(unit, "amount")) != (instruction.amount, instruction.currency_code):
        raise Unreadable("amount")
    return reference


def related_order(resource: Json) -> str:
    """The order that an authorization or a capture belongs to; empty when it does not say."""
    return text(part(part(resource, "supplementary_data"), "related_ids"), "order_id")


def linked_wallet(payment_token: Json) -> LinkedWallet:
    """The wallet behind a payment token, named by the payer's masked e-mail address."""
    email = text(part(part(payment_token, "payment_source"), "paypal"), "email_address")
    return LinkedWallet(
        token=required_text(payment_token, "id"),
        label=masked_email(email),
        customer_reference=text(part(payment_token, "customer"), "id"),
    )


def masked_email(email: str) -> str:
    """The first character and the domain, "a•••@example.com"; "PayPal" for what is no plain address."""
    match = _EMAIL.fullmatch(email)
    return f"{match[1]}•••@{match[2]}" if match else _LABEL_UNKNOWN


def resource_id(resource: Json) -> str:
    """The id of an order, authorization, capture or refund."""
    value = required_text(resource, "id")
    if not _RESOURCE_ID.fullmatch(value):
        raise Unreadable("id")
    return value


def _outcome(resource: Json, statuses: Statuses, decline_code: DeclineCode) -> Outcome:
    status = required_text(resource, "status")
    kind = statuses.get(status)
    if kind is None:
        raise Unreadable("status")
    reason = text(part(resource, "status_details"), "reason")
    declined = kind is OutcomeKind.DECLINED
    amount, currency_code = from_money(part(resource, "amount")) if part(resource, "amount") else (None, "")
    return Outcome(
        kind,
        reference=resource_id(resource),
        amount=amount,
        currency_code=currency_code,
        decline_code=_DECLINE_BY_REASON.get(reason, decline_code) if declined else None,
        provider_code=f"{status}:{reason}" if reason else status,
    )


def _order_without_payment(order: Json) -> Outcome:
    status = required_text(order, "status")
    if status == "APPROVED":
        return Outcome(OutcomeKind.APPROVED, reference=resource_id(order), provider_code=status)
    if status in _UNTOUCHED_ORDER:
        return replace(ABSENT, provider_code=status)
    if status == "PAYER_ACTION_REQUIRED":
        return Outcome(OutcomeKind.REQUIRES_ACTION, reference=resource_id(order), provider_code=status)
    raise Unreadable("status")


def _unit(order: Json, instruction: Instruction) -> Json:
    """The one purchase unit of the order that `instruction` names, when it is ours."""
    _same_id(order, instruction.order_reference)
    _require_same(order, "intent", INTENTS[instruction.kind])
    unit = _only_unit(order)
    _require_same(unit, "custom_id", instruction.payment_id)
    _require_same(unit, "invoice_id", instruction.object_id)
    return unit


def _only_unit(order: Json) -> Json:
    return _only(parts(order, "purchase_units"))


def _only(items: list[Json]) -> Json:
    if len(items) != 1:
        raise Unreadable("not exactly one")
    return items[0]


def _by_id(items: list[Json], reference: str) -> Json:
    return _only([item for item in items if text(item, "id") == reference])


def _same_id(resource: Json, reference: str) -> Json:
    if resource_id(resource) != reference:
        raise Unreadable("id")
    return resource


def _require_same(resource: Json, name: str, ours: str) -> None:
    """Refuses a reference that is not the one we sent; PayPal may leave it out."""
    if text(resource, name) not in {"", ours}:
        raise Unreadable(name)


def _our_ids(refund: Json) -> set[str]:
    return {text(refund, "custom_id"), text(refund, "invoice_id")}


def _time(value: str) -> int:
    """Microseconds since the epoch of an RFC 3339 time; 0 when PayPal gives none."""
    if not value:
        return 0
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise Unreadable("time") from None
    if moment.tzinfo is None:
        raise Unreadable("time")
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
