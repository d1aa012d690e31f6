"""Reading payments, taking held money, releasing it, giving money back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from comptoir_server.app import paging
from comptoir_server.app.access import owned
from comptoir_server.app.call import CallContext
from comptoir_server.app.deps import Deps
from comptoir_server.app.events import tell
from comptoir_server.app.instructions import begin as begin_operation
from comptoir_server.app.once import Answer, Begun, begin, stored_answer
from comptoir_server.app.operations import drive
from comptoir_server.app.ports import OperationKind
from comptoir_server.app.refunding import is_wanted, reserve
from comptoir_server.domain.errors import Reason, Refused, invalid_field
from comptoir_server.domain.money import Money
from comptoir_server.domain.payments import (
    PAYMENT_TRANSITIONS,
    Capture,
    CaptureState,
    Payment,
    PaymentCommand,
    PaymentState,
    PendingKind,
    PendingState,
    RefundOrigin,
)
from comptoir_server.domain.records import replace
from comptoir_server.domain.transitions import move
from comptoir_server.runtime import fault
from comptoir_server.store.reads.payments import captures_of, page_of_payments, refunds_of
from comptoir_server.store.tables import CAPTURES, PAYMENTS, REFUNDS, REQUESTS
from comptoir_server.store.tx import Tx

CAPTURES_MAX = 100
"""How many captures one payment may have."""


async def get_payment(deps: Deps, call: CallContext, *, payment_id: str) -> Answer:
    """Reads a payment."""
    return {"payment": owned(call, await deps.store.get(PAYMENTS.get(payment_id)))}


async def list_payments(
    deps: Deps,
    call: CallContext,
    *,
    checkout_id: str,
    operation_state: PendingState | None,
    page_size: int,
    page_token: str,
) -> Answer:
    """Lists the caller's payments, newest first."""
    wanted = paging.size(page_size)
    before_id = paging.position(deps, call, page_token)
    rows = await deps.store.read(
        lambda tx: page_of_payments(
            tx,
            call,
            checkout_id=checkout_id,
            operation_state=operation_state,
            page_size=wanted + 1,
            before_id=before_id,
        )
    )
    return paging.page(deps, call, "payments", rows, wanted)


async def get_capture(deps: Deps, call: CallContext, *, capture_id: str) -> Answer:
    """Reads a capture."""
    return {"capture": owned(call, await deps.store.get(CAPTURES.get(capture_id)))}


async def list_captures(deps: Deps, call: CallContext, *, payment_id: str) -> Answer:
    """Lists the captures of a payment, oldest first."""

    async def work(tx: Tx) -> Answer:
        owned(call, await tx.load(PAYMENTS.get(payment_id)))
        return {"captures": tuple(await captures_of(tx, payment_id))}

    return await deps.store.read(work)


async def get_refund(deps: Deps, call: CallContext, *, refund_id: str) -> Answer:
    """Reads a refund."""
    return {"refund": owned(call, await deps.store.get(REFUNDS.get(refund_id)))}


async def list_refunds(deps: Deps, call: CallContext, *, payment_id: str) -> Answer:
    """Lists the refunds of a payment, oldest first."""

    async def work(tx: Tx) -> Answer:
        owned(call, await tx.load(PAYMENTS.get(payment_id)))
        return {"refunds": tuple(await refunds_of(tx, payment_id))}

    return await deps.store.read(work)


async def create_capture(
    deps: Deps, call: CallContext, *, payment_id: str, amount: Money | None, final: bool
) -> Answer:
    """Takes held money. Raises NOT_FOUND, INVALID_STATE, AMOUNT_MISMATCH, CAPTURE_EXCEEDS_AUTHORIZATION."""

    async def work(tx: Tx) -> Begun | Answer:
        payment = owned(call, await tx.load(PAYMENTS.lock(payment_id)))
        move("payment", PAYMENT_TRANSITIONS, payment.state, PaymentCommand.CAPTURE_PART)
        payment.require_idle()
        await _require_wanted(tx, payment)
        captures = await tx.load(CAPTURES.list_by("by_payment", payment.id))
        if len(captures) >= CAPTURES_MAX:
            raise Refused(Reason.LIMIT_EXCEEDED, f"A payment has at most {CAPTURES_MAX} captures.", limit="captures")
        wanted = _amount(payment, amount, payment.capturable)
        if not 0 < wanted <= payment.capturable:
            raise Refused(
                Reason.CAPTURE_EXCEEDS_AUTHORIZATION,
                f"{payment.capturable} minor units are held, not {wanted}; nothing was captured.",
                available=payment.capturable,
                given=wanted,
            )
        capture = Capture(
            id=tx.new_id("cap"),
            payment_id=payment.id,
            partner_id=payment.partner_id,
            bot_id=payment.bot_id,
            session_id=payment.session_id,
            user_id=payment.user_id,
            channel_id=payment.channel_id,
            request_key=call.request_key,
            state=CaptureState.PROCESSING,
            currency_code=payment.currency_code,
            amount=wanted,
            refunded=0,
            refunding=0,
            final=final or wanted == payment.capturable,
            decline_code="",
            reference="",
            create_time=tx.now,
            update_time=tx.now,
        )
        operation = begin_operation(
            deps, tx, OperationKind.CAPTURE, payment, capture.id, wanted, target=payment.reference, final=capture.final
        )
        tx.put(capture)
        tx.put(
            replace(payment.pending(operation.id, PendingKind.CAPTURE, tx.now), capturing=payment.capturing + wanted)
        )
        tell(tx, "capture", capture)
        return Begun(capture.id, operation)

    async def current(tx: Tx, object_id: str) -> Answer:
        capture = await tx.load(CAPTURES.get(object_id))
        return {"capture": capture, "payment": await tx.load(PAYMENTS.get(capture.payment_id if capture else ""))}

    return await _ask(deps, call, payment_id, work, current)


async def _require_wanted(tx: Tx, payment: Payment) -> None:
    """INVALID_STATE for a hold whose purchase was called off."""
    if not await is_wanted(tx, payment):
        raise Refused(
            Reason.INVALID_STATE,
            "The purchase was called off, and its hold is being released; nothing was captured.",
            state=payment.state,
            allowed="",
        )


async def void_payment(deps: Deps, call: CallContext, *, payment_id: str) -> Answer:
    """Releases held money. Raises NOT_FOUND, INVALID_STATE."""

    async def work(tx: Tx) -> Begun | Answer:
        payment = owned(call, await tx.load(PAYMENTS.lock(payment_id)))
        move("payment", PAYMENT_TRANSITIONS, payment.state, PaymentCommand.VOID)
        if payment.state == PaymentState.VOIDED:
            return {"payment": payment}
        payment.require_idle()
        operation = begin_operation(
            deps, tx, OperationKind.VOID, payment, payment.id, payment.amount, target=payment.reference
        )
        tx.put(payment.pending(operation.id, PendingKind.VOID, tx.now))
        return Begun(payment.id, operation)

    async def current(tx: Tx, object_id: str) -> Answer:
        return {"payment": await tx.load(PAYMENTS.get(object_id))}

    return await _ask(deps, call, payment_id, work, current)


async def create_refund(
    deps: Deps, call: CallContext, *, payment_id: str, amount: Money | None, capture_id: str, reason: str
) -> Answer:
    """Gives money back. Raises NOT_FOUND, INVALID_STATE, AMOUNT_MISMATCH, REFUND_EXCEEDS_CAPTURE."""

    async def work(tx: Tx) -> Begun | Answer:
        payment = owned(call, await tx.load(PAYMENTS.lock(payment_id)))
        if not payment.captured:
            raise Refused(
                Reason.INVALID_STATE,
                f"The payment is {payment.state}; nothing was taken that could be given back.",
                state=payment.state,
                allowed="CAPTURED, PARTIALLY_CAPTURED",
            )
        wanted = _amount(payment, amount, payment.refundable)
        capture = await _refundable_capture(tx, payment, wanted, capture_id)
        refund, _, operation = reserve(
            deps,
            tx,
            payment,
            capture,
            wanted,
            request_key=call.request_key,
            origin=RefundOrigin.PARTNER,
            reason=reason,
            queued=False,
        )
        return Begun(refund.id, operation)

    async def current(tx: Tx, object_id: str) -> Answer:
        refund = await tx.load(REFUNDS.get(object_id))
        return {"refund": refund, "payment": await tx.load(PAYMENTS.get(refund.payment_id if refund else ""))}

    return await _ask(deps, call, payment_id, work, current)


async def _refundable_capture(tx: Tx, payment: Payment, wanted: int, capture_id: str) -> Capture:
    """The named capture, or the first one with enough left; locked. REFUND_EXCEEDS_CAPTURE where there is none."""
    captures = [
        c for c in await tx.load(CAPTURES.list_by("by_payment", payment.id)) if c.state == CaptureState.SUCCEEDED
    ]
    if capture_id:
        captures = [capture for capture in captures if capture.id == capture_id]
        if not captures:
            raise invalid_field("capture_id", "is not a successful capture of this payment.")
    available = 0
    for candidate in captures:
        capture = await tx.load(CAPTURES.lock(candidate.id))
        if capture is None:
            continue
        if 0 < wanted <= capture.refundable:
            return capture
        available = max(available, capture.refundable)
    raise Refused(
        Reason.REFUND_EXCEEDS_CAPTURE,
        f"At most {available} minor units can be given back of one capture, not {wanted}; nothing was refunded.",
        available=available,
        given=wanted,
    )


def _amount(payment: Payment, amount: Money | None, everything: int) -> int:
    """The amount in minor units, everything where none is given. Raises AMOUNT_MISMATCH, FIELD_INVALID."""
    if amount is None:
        return everything
    if amount.currency_code != payment.currency_code:
        raise Refused(
            Reason.AMOUNT_MISMATCH,
            f"The payment is in {payment.currency_code}, not {amount.currency_code}.",
            expected=payment.currency_code,
            given=amount.currency_code,
        )
    if amount.minor_units <= 0:
        raise invalid_field("amount.minor_units", "must be more than 0.")
    return amount.minor_units


async def _ask(
    deps: Deps,
    call: CallContext,
    payment_id: str,
    work: Callable[[Tx], Awaitable[Begun | Answer]],
    current: Callable[[Tx, str], Awaitable[Answer]],
) -> Answer:
    """Claims the request, lets a task of the server ask the provider, and waits for the outcome or the deadline."""
    begun = await begin(deps, call, work)
    if not isinstance(begun, Begun):
        return begun
    if begun.operation is not None:
        deps.runtime.spawn(drive(deps, begun.operation), f"{begun.operation.kind} {begun.object_id}")

    async def final(tx: Tx) -> Answer | None:
        request = await tx.load(REQUESTS.get(call.request_key))
        return stored_answer(request) if request is not None and request.answer else None

    answer = await deps.settled.until(
        begun.object_id, call.deadline, lambda: deps.store.read(final), just_begun=begun.operation is not None
    )
    fault("answer.unsent")
    if answer is not None:
        return answer
    return await deps.store.read(lambda tx: current(tx, begun.object_id))
