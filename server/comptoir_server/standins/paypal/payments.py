"""Payments v2: holds, captures and refunds, and what becomes of them by themselves."""

from __future__ import annotations

from collections.abc import Callable

from comptoir_server.standins.paypal.amounts import read_money, smallest
from comptoir_server.standins.paypal.books import Authorization, Capture, Order, Refund, Unit
from comptoir_server.standins.paypal.errors import Refusal, not_found
from comptoir_server.standins.paypal.state import State
from comptoir_server.standins.paypal.views import minimal
from comptoir_server.standins.paypal.wire import Call, Json, Result, micros, whole

DAY_SECONDS = 24 * 3_600
HOLD_SECONDS = 29 * DAY_SECONDS
HONOUR_SECONDS = 3 * DAY_SECONDS
REFUND_SECONDS = 180 * DAY_SECONDS
OVERAGE_PERCENT = 115
OVERAGE_MOST_USD = 75_00
WITHOUT_DECIMALS = "DECIMALS_NOT_SUPPORTED"
AGAIN_STATUS = 201
"""The payments document knows no 200 for a repetition, unlike orders and vault."""


def get_authorization(state: State, call: Call) -> Result:
    """GET /v2/payments/authorizations/{id}."""
    return Result(200, whole(state.views.authorization(_hold(state, call))))


def capture_authorization(state: State, call: Call) -> Result:
    """POST /v2/payments/authorizations/{id}/capture: all that is left, or the amount in the body."""
    hold = _hold(state, call)
    _require_open(hold)
    amount, code = _asked_amount(call, hold.minor_units - hold.captured, hold.unit.currency_code)
    if code != hold.unit.currency_code:
        raise Refusal("AUTH_CAPTURE_CURRENCY_MISMATCH", "/amount/currency_code", code)
    if hold.captured + amount > _most(hold.minor_units, code):
        raise Refusal("MAX_CAPTURE_AMOUNT_EXCEEDED", "/amount/value")
    own_invoice_id = call.body.get("invoice_id", "")
    if own_invoice_id and _is_used(state, hold, own_invoice_id):
        raise Refusal("DUPLICATE_INVOICE_ID", "/invoice_id", own_invoice_id)
    if issue := _payer_issue(hold.order):
        raise Refusal(issue)
    final = call.body.get("final_capture", False) or hold.captured + amount >= hold.minor_units
    invoice_id = own_invoice_id or hold.unit.invoice_id
    capture = take(state, call, hold.order, hold.unit, amount, invoice_id=invoice_id, hold=hold, final=final)
    if capture.status != "DECLINED":
        hold.status, hold.update_time = ("CAPTURED" if final else "PARTIALLY_CAPTURED"), call.now
    return Result(201, _both(lambda: state.views.capture(capture)), AGAIN_STATUS)


def reauthorize(state: State, call: Call) -> Result:
    """POST /v2/payments/authorizations/{id}/reauthorize: a new hold in the old one's place, once, on days 4 to 29."""
    hold = _hold(state, call)
    _require_open(hold)
    if hold.parent or hold.captures:
        raise Refusal("REAUTHORIZATION_NOT_SUPPORTED")
    if call.now < hold.create_time + micros(HONOUR_SECONDS):
        raise Refusal("REAUTHORIZATION_TOO_SOON")  # met at PayPal, though its documents do not list it
    amount, code = _asked_amount(call, hold.minor_units, hold.unit.currency_code)
    if code != hold.unit.currency_code:
        raise Refusal("AUTH_CURRENCY_MISMATCH", "/amount/currency_code", code)
    if amount > _most(hold.minor_units, code):
        raise Refusal("TRANSACTION_REFUSED", "/amount/value")
    hold.status, hold.update_time = "VOIDED", call.now
    state.books.note(call.now, "void", hold, call.request_id)
    renewed = add_hold(state, call, hold.order, hold.unit, amount, parent=hold)
    return Result(201, _both(lambda: state.views.authorization(renewed)), AGAIN_STATUS)


def void_authorization(state: State, call: Call) -> Result:
    """POST /v2/payments/authorizations/{id}/void: 204, or 200 with the hold when `Prefer` asks for it."""
    hold = _hold(state, call)
    if hold.parent:
        raise Refusal("CANNOT_BE_VOIDED")
    if hold.status == "VOIDED":
        raise Refusal("PREVIOUSLY_VOIDED")
    if hold.status == "CAPTURED":
        raise Refusal("PREVIOUSLY_CAPTURED")
    _void(state, hold, call.now, call.request_id)
    return Result(200, lambda full: state.views.authorization(hold) if full else None)


def get_capture(state: State, call: Call) -> Result:
    """GET /v2/payments/captures/{id}."""
    return Result(200, whole(state.views.capture(_capture(state, call))))


def refund_capture(state: State, call: Call) -> Result:
    """POST /v2/payments/captures/{id}/refund: all that is left, or the amount in the body."""
    capture = _capture(state, call)
    _require_refundable(capture, call.now)
    left = capture.minor_units - capture.given_back
    amount, code = _asked_amount(call, left, capture.unit.currency_code)
    if code != capture.unit.currency_code:
        raise Refusal("REFUND_CAPTURE_CURRENCY_MISMATCH", "/amount/currency_code", code)
    if amount > left:
        raise Refusal("REFUND_AMOUNT_EXCEEDED", "/amount/value")
    invoice_id = call.body.get("invoice_id", "")
    if invoice_id in state.books.refund_invoice_ids:
        raise Refusal("DUPLICATE_INVOICE_ID", "/invoice_id", invoice_id)
    status = capture.order.account.refund_status if capture.order.account else "COMPLETED"
    refund = Refund(
        id=state.new_id(),
        capture=capture,
        minor_units=amount,
        create_time=call.now,
        update_time=call.now,
        status=status,
        custom_id=call.body.get("custom_id", ""),
        invoice_id=invoice_id,
        note=call.body.get("note_to_payer", ""),
    )
    give_back(state, refund, call.now, call.request_id)
    return Result(201, _both(lambda: state.views.refund(refund)), AGAIN_STATUS)


def get_refund(state: State, call: Call) -> Result:
    """GET /v2/payments/refunds/{id}."""
    refund = state.books.refunds.get(call.ids["id"])
    if refund is None:
        raise not_found("id", call.ids["id"])
    return Result(200, whole(state.views.refund(refund)))


def add_hold(
    state: State, call: Call, order: Order, unit: Unit, minor_units: int, parent: Authorization | None = None
) -> Authorization:
    """Holds money for 29 days. A renewal ends when the hold that it renews would have ended."""
    expire_time = parent.expire_time if parent else call.now + micros(HOLD_SECONDS)
    hold = Authorization(state.new_id(), order, unit, minor_units, call.now, expire_time, call.now, parent=parent)
    unit.authorizations.append(hold)
    state.books.authorizations[hold.id] = hold
    state.books.paid_invoice_ids |= {unit.invoice_id} - {""}
    state.books.note(call.now, "authorization", hold, call.request_id)
    state.plan(expire_time, lambda time: _expire(state, hold, time))
    view = state.views.authorization(hold)
    state.webhooks.emit(call.now, "PAYMENT.AUTHORIZATION.CREATED", "authorization", "Payment authorized", view)
    return hold


def take(
    state: State,
    call: Call,
    order: Order,
    unit: Unit,
    minor_units: int,
    *,
    invoice_id: str,
    hold: Authorization | None = None,
    final: bool = True,
) -> Capture:
    """Takes money, at once or pending, as the payer's account has it; or is declined by the payer's bank."""
    status = order.account.capture_status if order.account else "COMPLETED"
    reason = "ECHECK" if status == "PENDING" else ""
    capture = Capture(
        state.new_id(), order, unit, minor_units, call.now, call.now, status, reason, invoice_id, final, hold
    )
    unit.captures.append(capture)
    state.books.captures[capture.id] = capture
    if hold:
        hold.captures.append(capture)
    if status != "DECLINED":
        state.books.paid_invoice_ids |= {invoice_id} - {""}
    _note_capture(state, capture, call.now, call.request_id)
    if status == "PENDING":
        state.plan(state.settle_time(call.now), lambda time: settle_capture(state, capture, time))
    return capture


def settle_capture(state: State, capture: Capture, now: int) -> None:
    """Decides a pending capture, as the payer's account has it."""
    if capture.status != "PENDING":
        return
    capture.status = capture.order.account.settled_capture if capture.order.account else "COMPLETED"
    capture.reason, capture.update_time = "", now
    _note_capture(state, capture, now, "")


def give_back(state: State, refund: Refund, now: int, request_id: str) -> None:
    """Enters a refund or a reversal, pending or done, and tells of it."""
    capture = refund.capture
    capture.refunds.append(refund)
    capture.unit.refunds.append(refund)
    state.books.refunds[refund.id] = refund
    state.books.refund_invoice_ids |= {refund.invoice_id} - {""}
    if refund.status == "PENDING":
        state.books.note(now, "refund_pending", refund, request_id)
        state.emit_refund(now, "PAYMENT.REFUND.PENDING", refund)
        state.plan(state.settle_time(now), lambda time: _settle_refund(state, refund, time))
        return
    _note_refund(state, refund, now, request_id)


def _settle_refund(state: State, refund: Refund, now: int) -> None:
    account = refund.capture.order.account
    refund.status, refund.update_time = (account.settled_refund if account else "COMPLETED"), now
    if refund.status == "FAILED":
        state.books.note(now, "refund_failed", refund, "")
        state.emit_refund(now, "PAYMENT.REFUND.FAILED", refund)
        return
    _note_refund(state, refund, now, "")


def _note_refund(state: State, refund: Refund, now: int, request_id: str) -> None:
    capture = refund.capture
    done = sum(item.minor_units for item in capture.refunds if item.status == "COMPLETED")
    capture.status = "REFUNDED" if done >= capture.minor_units else "PARTIALLY_REFUNDED"
    capture.update_time = now
    if refund.reversal:
        capture.reason = "CHARGEBACK"
    kind, event = ("reversal", "REVERSED") if refund.reversal else ("refund", "REFUNDED")
    state.books.note(now, kind, refund, request_id)
    state.emit_refund(now, f"PAYMENT.CAPTURE.{event}", refund)


def _note_capture(state: State, capture: Capture, now: int, request_id: str) -> None:
    kind = {"COMPLETED": "capture", "PENDING": "capture_pending"}.get(capture.status, "capture_declined")
    state.books.note(now, kind, capture, request_id)
    state.emit_capture(now, capture.status, capture)


def _void(state: State, hold: Authorization, now: int, request_id: str) -> None:
    released = hold.minor_units - hold.captured
    hold.status, hold.update_time = "VOIDED", now
    state.books.note(now, "void", hold, request_id, max(released, 0))
    view = state.views.authorization(hold)
    state.webhooks.emit(now, "PAYMENT.AUTHORIZATION.VOIDED", "authorization", "Authorization voided", view)


def _expire(state: State, hold: Authorization, now: int) -> None:
    if hold.status in {"CREATED", "PARTIALLY_CAPTURED"}:
        hold.expired = True
        _void(state, hold, now, "")


def _require_open(hold: Authorization) -> None:
    if hold.expired:
        raise Refusal("AUTHORIZATION_EXPIRED")
    if hold.status == "VOIDED":
        raise Refusal("AUTHORIZATION_VOIDED")
    if hold.status == "CAPTURED":
        raise Refusal("AUTHORIZATION_ALREADY_CAPTURED")


def _require_refundable(capture: Capture, now: int) -> None:
    if capture.status == "PENDING":
        raise Refusal("PENDING_CAPTURE")
    if capture.status == "DECLINED":
        raise Refusal("REFUND_NOT_ALLOWED")
    if capture.reversed:
        raise Refusal("REFUND_NOT_PERMITTED_DUE_TO_CHARGEBACK")
    if capture.given_back >= capture.minor_units:
        raise Refusal("CAPTURE_FULLY_REFUNDED")
    if now > capture.create_time + micros(REFUND_SECONDS):
        raise Refusal("REFUND_TIME_LIMIT_EXCEEDED")


def _is_used(state: State, hold: Authorization, invoice_id: str) -> bool:
    """Whether another payment has the invoice number; the order's own is free until a capture takes it."""
    if invoice_id == hold.unit.invoice_id:
        return any(capture.invoice_id == invoice_id for capture in hold.captures)
    return invoice_id in state.books.paid_invoice_ids


def _payer_issue(order: Order) -> str:
    """Why the payer of a hold cannot be charged any more, "" when he can."""
    return order.account.authorize_issue if order.account else ""


def _most(minor_units: int, currency_code: str) -> int:
    """The most that may be taken of a hold: 115 per cent of it, and in US dollars at most 75 more."""
    unit = smallest(currency_code)
    most = minor_units * OVERAGE_PERCENT // 100 // unit * unit
    return min(most, minor_units + OVERAGE_MOST_USD) if currency_code == "USD" else most


def _asked_amount(call: Call, default: int, currency_code: str) -> tuple[int, str]:
    money: Json = call.body.get("amount", {})
    return read_money(money, "/amount", without_decimals=WITHOUT_DECIMALS) if money else (default, currency_code)


def _hold(state: State, call: Call) -> Authorization:
    hold = state.books.authorizations.get(call.ids["id"])
    if hold is None:
        raise not_found("id", call.ids["id"])
    return hold


def _capture(state: State, call: Call) -> Capture:
    capture = state.books.captures.get(call.ids["id"])
    if capture is None:
        raise not_found("id", call.ids["id"])
    return capture


def _both(view: Callable[[], Json]) -> Callable[[bool], Json]:
    return lambda full: view() if full else minimal(view())
