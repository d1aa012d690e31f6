"""What becomes of money that is given back: reserved, moved, or free again."""

from __future__ import annotations

from comptoir_server.app import books
from comptoir_server.app.checkout_cards import receipt, speak
from comptoir_server.app.deps import Deps
from comptoir_server.app.events import tell
from comptoir_server.app.evidence import Case
from comptoir_server.app.instructions import begin
from comptoir_server.app.ports import DeclineCode, OperationKind
from comptoir_server.domain.ledger import Effect, refund_lines
from comptoir_server.domain.operations import Operation
from comptoir_server.domain.orders import ORDER_TRANSITIONS, OrderCommand
from comptoir_server.domain.payments import Capture, Payment, Refund, RefundCommand, RefundOrigin, RefundState
from comptoir_server.domain.records import replace
from comptoir_server.domain.transitions import move
from comptoir_server.store.tables import CAPTURES, ORDERS, REFUNDS
from comptoir_server.store.tx import Tx


def reserve(
    deps: Deps,
    tx: Tx,
    payment: Payment,
    capture: Capture,
    amount: int,
    *,
    request_key: str,
    origin: RefundOrigin,
    reason: str,
    queued: bool,
) -> tuple[Refund, Payment, Operation]:
    """Writes a refund down and reserves its amount on payment and capture, both locked and both checked for enough."""
    refund = Refund(
        id=tx.new_id("rfd"),
        payment_id=payment.id,
        capture_id=capture.id,
        partner_id=payment.partner_id,
        bot_id=payment.bot_id,
        session_id=payment.session_id,
        user_id=payment.user_id,
        channel_id=payment.channel_id,
        request_key=request_key,
        state=RefundState.PROCESSING,
        origin=origin,
        currency_code=payment.currency_code,
        amount=amount,
        reason=reason,
        decline_code="",
        reference="",
        create_time=tx.now,
        update_time=tx.now,
    )
    payment = replace(payment, refunding=payment.refunding + amount, update_time=tx.now)
    operation = begin(
        deps, tx, OperationKind.REFUND, payment, refund.id, amount, target=capture.reference, queued=queued
    )
    tx.put(refund)
    tx.put(payment)
    tx.put(replace(capture, refunding=capture.refunding + amount, update_time=tx.now))
    tell(tx, "refund", refund)
    return refund, payment, operation


async def give_back(case: Case, capture: Capture, reason: str) -> None:
    """The platform gives back all that is left of a capture that nobody wants."""
    _, payment, _ = reserve(
        case.deps,
        case.tx,
        case.payment,
        capture,
        capture.refundable,
        request_key=f"platform/{capture.id}",
        origin=RefundOrigin.PLATFORM,
        reason=reason,
        queued=True,
    )
    case.payment = payment


async def _refund(case: Case) -> tuple[Refund, Capture]:
    refund = await case.tx.load(REFUNDS.lock(case.operation.object_id))
    capture = await case.tx.load(CAPTURES.lock(refund.capture_id)) if refund else None
    if refund is None or capture is None:
        raise AssertionError(f"operation {case.operation.id} has no refund or no capture")
    return refund, capture


async def refunded(case: Case) -> None:
    """The money went back: the reservation becomes a refund, in the books too."""
    refund, capture = await _refund(case)
    refund = replace(refund.move(RefundCommand.SUCCEED, case.tx.now), reference=case.outcome.reference)
    case.tx.put(refund)
    case.tx.put(
        replace(
            capture,
            refunding=capture.refunding - refund.amount,
            refunded=capture.refunded + refund.amount,
            update_time=case.tx.now,
        )
    )
    case.put_payment(replace(case.payment, refunding=case.payment.refunding - refund.amount))
    await given_back(case, refund)
    await case.answer(refund.id, refund=refund, payment=case.payment)


async def given_back(case: Case, refund: Refund) -> None:
    """Everything that follows from money having gone back, whoever wanted it.

    What the platform gives back was never part of an order: it undoes what nobody wanted.
    """
    payment = replace(case.payment, refunded=case.payment.refunded + refund.amount, update_time=case.tx.now)
    case.put_payment(payment)
    lines = refund_lines(payment.provider, payment.partner_id, refund.amount)
    await books.post(case.tx, refund.id, Effect.REFUND, refund.currency_code, lines)
    tell(case.tx, "refund", refund)
    tell(case.tx, "payment", payment, "payment.refunded")
    if refund.origin == RefundOrigin.PLATFORM:
        return
    found = await case.tx.load(ORDERS.get_by("by_checkout", payment.checkout_id))
    order = await case.tx.load(ORDERS.lock(found.id)) if found else None
    if order is None or order.payment_id != payment.id:
        return
    order = replace(order, refunded=order.refunded + refund.amount)
    if order.refunded == order.total:
        order = replace(order, state=move("order", ORDER_TRANSITIONS, order.state, OrderCommand.CANCEL))
        tell(case.tx, "order", order)
    else:
        tell(case.tx, "order", order, "order.refunded")
    case.tx.put(order)
    scene = await case.stage()
    provider = case.deps.providers[payment.provider].capabilities.display_name
    speak(case.deps, case.tx, scene, receipt(order, payment, scene.partner, provider, order.create_time))


async def failed(case: Case) -> None:
    """It did not go back: the reserved amount is free again."""
    refund, capture = await _refund(case)
    code = case.outcome.decline_code or ("" if case.outcome.kind == "NOT_SENT" else DeclineCode.REFUND_NOT_POSSIBLE)
    refund = replace(refund.move(RefundCommand.FAIL, case.tx.now), decline_code=code)
    case.tx.put(refund)
    case.tx.put(replace(capture, refunding=capture.refunding - refund.amount, update_time=case.tx.now))
    case.put_payment(replace(case.payment, refunding=case.payment.refunding - refund.amount, update_time=case.tx.now))
    tell(case.tx, "refund", refund)
    await case.answer(refund.id, refund=refund, payment=case.payment)


async def doubted(case: Case) -> None:
    """The answer was lost; the amount stays reserved."""
    refund, _ = await _refund(case)
    refund = refund.move(RefundCommand.DOUBT, case.tx.now)
    case.tx.put(refund)
    tell(case.tx, "refund", refund)


async def late_refund(case: Case) -> None:
    """Money went back after its refund had ended otherwise: it is written down as one made at the provider."""
    ended, capture = await _refund(case)
    await record_foreign(case, capture, ended.amount, case.outcome.reference, f"late/{ended.id}", ended.reason)


async def record_foreign(
    case: Case, capture: Capture, amount: int, reference: str, request_key: str, reason: str
) -> None:
    """A refund that was not made by us becomes an object of ours, as far as the capture has anything left.

    Raises AssertionError where more went back than was taken: that contradicts the provider's own rules.
    """
    if amount > capture.refundable or amount > case.payment.refundable:
        raise AssertionError(f"the provider gave back more than was taken of {capture.id}")
    refund = Refund(
        id=case.tx.new_id("rfd"),
        payment_id=case.payment.id,
        capture_id=capture.id,
        partner_id=case.payment.partner_id,
        bot_id=case.payment.bot_id,
        session_id=case.payment.session_id,
        user_id=case.payment.user_id,
        channel_id=case.payment.channel_id,
        request_key=request_key,
        state=RefundState.SUCCEEDED,
        origin=RefundOrigin.PROVIDER,
        currency_code=case.payment.currency_code,
        amount=amount,
        reason=reason,
        decline_code="",
        reference=reference,
        create_time=case.tx.now,
        update_time=case.tx.now,
    )
    case.tx.put(refund)
    case.tx.put(replace(capture, refunded=capture.refunded + amount, update_time=case.tx.now))
    await given_back(case, refund)
