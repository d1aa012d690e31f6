"""What becomes of held money: captured, or released."""

from __future__ import annotations

from comptoir_server.app.charges import post_capture, release
from comptoir_server.app.events import tell
from comptoir_server.app.evidence import Case
from comptoir_server.app.ports import DeclineCode
from comptoir_server.app.refunding import give_back, is_wanted, later, still_owed
from comptoir_server.domain.payments import (
    PAYMENT_TRANSITIONS,
    Capture,
    CaptureCommand,
    CaptureState,
    PaymentCommand,
    PaymentState,
    PendingState,
)
from comptoir_server.domain.records import replace
from comptoir_server.domain.transitions import allows
from comptoir_server.store.tables import CAPTURES


async def _capture(case: Case) -> Capture:
    capture = await case.tx.load(CAPTURES.lock(case.operation.object_id))
    if capture is None:
        raise AssertionError(f"operation {case.operation.id} has no capture")
    return capture


async def captured(case: Case) -> None:
    """A part of the hold, or all that will be taken of it, was taken."""
    capture = replace(
        (await _capture(case)).move(CaptureCommand.SUCCEED, case.tx.now), reference=case.outcome.reference
    )
    case.tx.put(capture)
    payment = case.payment
    total = payment.captured + capture.amount
    command = (
        PaymentCommand.CAPTURE_ALL if capture.final or total == payment.authorized else PaymentCommand.CAPTURE_PART
    )
    payment = replace(
        payment.move(command, case.tx.now).settled(), captured=total, capturing=payment.capturing - capture.amount
    )
    case.put_payment(payment)
    tell(case.tx, "capture", capture)
    tell(case.tx, "payment", payment)
    await post_capture(case, capture)
    await case.answer(capture.id, capture=capture, payment=payment)


async def capture_declined(case: Case) -> None:
    """The provider refused to take it; the hold is as it was."""
    await _capture_ended(case, CaptureCommand.DECLINE, case.outcome.decline_code or DeclineCode.DO_NOT_HONOR)


async def capture_failed(case: Case) -> None:
    """Proven never executed; the hold is as it was."""
    await _capture_ended(case, CaptureCommand.FAIL, "")


async def _capture_ended(case: Case, command: CaptureCommand, code: str) -> None:
    capture = replace((await _capture(case)).move(command, case.tx.now), decline_code=code)
    case.tx.put(capture)
    payment = case.payment
    case.put_payment(replace(payment.settled(), capturing=payment.capturing - capture.amount, update_time=case.tx.now))
    tell(case.tx, "capture", capture)
    await case.answer(capture.id, capture=capture, payment=case.payment)


async def capture_doubted(case: Case) -> None:
    """The answer was lost; the amount stays reserved."""
    capture = (await _capture(case)).move(CaptureCommand.DOUBT, case.tx.now)
    case.tx.put(capture)
    case.put_payment(replace(case.payment, pending_state=PendingState.IN_DOUBT, update_time=case.tx.now))
    tell(case.tx, "capture", capture)


async def late_capture(case: Case) -> None:
    """Money was taken after its capture had ended otherwise: it is written down and given back."""
    ended = await _capture(case)
    capture = replace(
        ended,
        id=case.tx.new_id("cap"),
        request_key=f"late/{ended.id}",
        state=CaptureState.SUCCEEDED,
        reference=case.outcome.reference,
        create_time=case.tx.now,
        update_time=case.tx.now,
    )
    case.tx.put(capture)
    total = case.payment.captured + capture.amount
    case.put_payment(
        replace(
            case.payment,
            captured=total,
            authorized=max(case.payment.authorized, total + case.payment.capturing),
            reversal_reason="A capture succeeded after it had ended.",
        )
    )
    tell(case.tx, "capture", capture)
    await post_capture(case, capture)
    await give_back(case, capture, "It was taken after it had been called off.")
    tell(case.tx, "payment", case.payment, "payment.reversed")


async def voided(case: Case) -> None:
    """The hold was released."""
    payment = case.payment.settled()
    if allows(PAYMENT_TRANSITIONS, payment.state, PaymentCommand.VOID):
        payment = payment.move(PaymentCommand.VOID, case.tx.now)
    case.put_payment(replace(payment, update_time=case.tx.now))
    if payment.state == PaymentState.VOIDED:
        tell(case.tx, "payment", payment)
    await case.answer(payment.id, payment=payment)


async def void_refused(case: Case) -> None:
    """The hold could not be released; the payment is as it was. Nobody wants some: those are released all the same."""
    case.put_payment(replace(case.payment.settled(), update_time=case.tx.now))
    expires = case.payment.authorization_expire_time
    if still_owed(case) and not 0 < expires <= case.tx.now and not await is_wanted(case.tx, case.payment):
        case.tx.put(later(release(case), case.operation))
    await case.answer(case.payment.id, payment=case.payment)


async def void_doubted(case: Case) -> None:
    """The answer was lost; nothing else is done to the hold meanwhile."""
    case.put_payment(replace(case.payment, pending_state=PendingState.IN_DOUBT, update_time=case.tx.now))
    tell(case.tx, "payment", case.payment, "payment.doubted")
