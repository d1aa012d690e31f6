"""What becomes of money that is given back: reserved, moved, or free again."""

from __future__ import annotations

from comptoir_server.app import books
from comptoir_server.app.checkout_cards import receipt, speak
from comptoir_server.app.deps import Deps
from comptoir_server.app.events import tell
from comptoir_server.app.evidence import Case
from comptoir_server.app.instructions import begin
from comptoir_server.app.ports import DeclineCode, OperationKind, OutcomeKind
from comptoir_server.domain.ledger import Effect, refund_lines
from comptoir_server.domain.operations import Operation, OperationCommand, delay_seconds
from comptoir_server.domain.orders import ORDER_TRANSITIONS, OrderCommand
from comptoir_server.domain.payments import Capture, Payment, Refund, RefundCommand, RefundOrigin, RefundState
from comptoir_server.domain.records import replace
from comptoir_server.domain.transitions import move
from comptoir_server.runtime import MICROSECONDS
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


async def give_back(case: Case, capture: Capture, reason: str, after: Refund | None = None) -> None:
    """The platform gives back all that is left of a capture that nobody wants; `after` what came to nothing before."""
    _, payment, _ = reserve(
        case.deps,
        case.tx,
        case.payment,
        capture,
        capture.refundable,
        request_key=f"platform/{after.id if after else capture.id}",
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


async def is_wanted(tx: Tx, payment: Payment) -> bool:
    """Whether the payment is the one that its order was paid by; any other was called off, and is being undone."""
    order = await tx.load(ORDERS.get_by("by_checkout", payment.checkout_id))
    return order is not None and order.payment_id == payment.id


def still_owed(case: Case) -> bool:
    """Whether what we owe on our own account came to nothing for now: refused when it was asked for, or never sent.

    What a provider took on and failed at is over: it says so of an object of its own, by its reference.
    """
    return case.outcome.kind == OutcomeKind.NOT_SENT or not case.outcome.reference


def later(again: Operation, before: Operation) -> Operation:
    """A queued operation that follows one that came to nothing, after a while that grows."""
    wait = delay_seconds(before.tries) * MICROSECONDS
    return replace(again, tries=before.tries + 1, next_time=again.create_time + wait)


async def failed(case: Case) -> None:
    """It did not go back: the reserved amount is free again. What the platform owes is asked for anew.

    That has a key of its own, for under the old one a provider remembers what it answered.
    """
    refund, capture = await _refund(case)
    if refund.origin == RefundOrigin.PLATFORM and still_owed(case):
        again = begin(
            case.deps,
            case.tx,
            OperationKind.REFUND,
            case.payment,
            refund.id,
            refund.amount,
            target=capture.reference,
            queued=True,
        )
        case.tx.put(later(again, case.operation))
        return
    unsent = case.outcome.kind == OutcomeKind.NOT_SENT
    code = case.outcome.decline_code or ("" if unsent else DeclineCode.REFUND_NOT_POSSIBLE)
    refund = replace(refund.move(RefundCommand.FAIL, case.tx.now), decline_code=code)
    case.tx.put(refund)
    case.tx.put(replace(capture, refunding=capture.refunding - refund.amount, update_time=case.tx.now))
    case.put_payment(replace(case.payment, refunding=case.payment.refunding - refund.amount, update_time=case.tx.now))
    tell(case.tx, "refund", refund)
    await case.answer(refund.id, refund=refund, payment=case.payment)


async def doubted(case: Case) -> None:
    """The answer was lost; the amount stays reserved. A refund that is asked for anew may have been in doubt before."""
    refund, _ = await _refund(case)
    doubted = refund.move(RefundCommand.DOUBT, case.tx.now)
    case.tx.put(doubted)
    if doubted.state != refund.state:
        tell(case.tx, "refund", doubted)


async def let_go(case: Case, refund: Refund, capture: Capture, operation: Operation) -> Capture:
    """Ends a refund of ours that was not sent: somebody else gave money back. Answers the capture, with more free."""
    tx = case.tx
    done = operation.move(OperationCommand.FINISH, tx.now)
    tx.put(replace(done, evidence=case.evidence.source, outcome=OutcomeKind.NOT_SENT, lease_owner="", lease_until=0))
    refund = refund.move(RefundCommand.FAIL, tx.now)
    tx.put(refund)
    tell(tx, "refund", refund)
    capture = replace(capture, refunding=capture.refunding - refund.amount, update_time=tx.now)
    tx.put(capture)
    case.put_payment(replace(case.payment, refunding=case.payment.refunding - refund.amount, update_time=tx.now))
    return capture


async def late_refund(case: Case) -> None:
    """Money went back after its refund had ended otherwise: it is written down as one made at the provider."""
    ended, capture = await _refund(case)
    known = await case.tx.load(REFUNDS.list_by("by_payment", case.payment.id))
    if any(refund.reference == case.outcome.reference for refund in known):
        return
    await record_foreign(case, capture, ended.amount, case.outcome.reference, f"late/{ended.id}", ended.reason)


async def record_foreign(
    case: Case, capture: Capture, amount: int, reference: str, request_key: str, reason: str
) -> Capture:
    """A refund that was not made by us becomes an object of ours, as far as the capture has anything left.

    Answers the capture with less left. Raises AssertionError where more went back than was taken: that contradicts the
    provider's own rules.
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
    capture = replace(capture, refunded=capture.refunded + amount, update_time=case.tx.now)
    case.tx.put(capture)
    await given_back(case, refund)
    return capture
