"""The reducer: evidence in, state, books, events and answers out.

Replies, look-ups and webhooks all go through `settle`. It never moves backwards: duplicates and reordering
change nothing, and a success that is no longer wanted is undone through the same machine.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from comptoir_server.app import charges, holds, refunding
from comptoir_server.app.deps import Deps
from comptoir_server.app.evidence import Case, Evidence
from comptoir_server.app.ports import OperationKind, Outcome, OutcomeKind
from comptoir_server.domain.operations import Operation, OperationCommand, OperationState, delay_seconds
from comptoir_server.domain.payments import Payment, PendingState
from comptoir_server.domain.records import replace
from comptoir_server.runtime import MICROSECONDS
from comptoir_server.store.tables import OPERATIONS, PAYMENTS
from comptoir_server.store.tx import Tx

Handler = Callable[[Case], Awaitable[None]]

_K, _O = OperationKind, OutcomeKind

FINAL: dict[tuple[OperationKind, OutcomeKind], Handler] = {
    (_K.CHARGE, _O.CAPTURED): charges.succeeded,
    (_K.CHARGE, _O.DECLINED): charges.declined,
    (_K.CHARGE, _O.NOT_SENT): charges.failed,
    (_K.AUTHORIZE, _O.AUTHORIZED): charges.succeeded,
    (_K.AUTHORIZE, _O.DECLINED): charges.declined,
    (_K.AUTHORIZE, _O.NOT_SENT): charges.failed,
    (_K.CAPTURE, _O.CAPTURED): holds.captured,
    (_K.CAPTURE, _O.DECLINED): holds.capture_declined,
    (_K.CAPTURE, _O.NOT_SENT): holds.capture_failed,
    (_K.VOID, _O.VOIDED): holds.voided,
    (_K.VOID, _O.DECLINED): holds.void_refused,
    (_K.VOID, _O.NOT_SENT): holds.void_refused,
    (_K.REFUND, _O.REFUNDED): refunding.refunded,
    (_K.REFUND, _O.DECLINED): refunding.failed,
    (_K.REFUND, _O.NOT_SENT): refunding.failed,
}
"""What ends an operation. Every other outcome leaves it waiting or in doubt."""

DOUBTED: dict[OperationKind, Handler] = {
    _K.CHARGE: charges.doubted,
    _K.AUTHORIZE: charges.doubted,
    _K.CAPTURE: holds.capture_doubted,
    _K.VOID: holds.void_doubted,
    _K.REFUND: refunding.doubted,
}

WEBHOOK = "webhook:"
"""How the sources of evidence begin that a provider brought by itself."""

_WAITING = frozenset({_O.PENDING, _O.REQUIRES_ACTION})

SUCCESSES = frozenset({_O.CAPTURED, _O.AUTHORIZED, _O.VOIDED, _O.REFUNDED})


async def settle(deps: Deps, tx: Tx, operation_id: str, payment_id: str, evidence: Evidence) -> None:
    """Draws every consequence of `evidence` about an operation, in one transaction."""
    operation, payment = await tx.load(OPERATIONS.lock(operation_id), PAYMENTS.lock(payment_id))
    if operation is None or payment is None:
        raise AssertionError(f"evidence about an unknown operation {operation_id}")
    outcome = judge(operation, evidence.outcome, evidence.source)
    heir = await _asked_again(tx, operation, payment, outcome)
    if heir is not None:
        await settle(deps, tx, heir.id, payment_id, evidence)
        return
    case = Case(deps, tx, operation, payment, replace(evidence, outcome=outcome))
    kind = OperationKind(operation.kind)
    if operation.state == OperationState.DONE:
        await _after_the_end(case, kind)
    elif (kind, outcome.kind) in FINAL:
        _finish(case)
        await FINAL[kind, outcome.kind](case)
    elif outcome.kind == _O.REQUIRES_ACTION and (await case.checkout()).cancel_requested:
        case.evidence = replace(evidence, outcome=replace(outcome, kind=_O.NOT_SENT))
        _finish(case)
        await charges.failed(case)
    elif outcome.kind in _WAITING:
        await _wait(case)
    else:
        await _doubt(case, kind)
    tx.after_commit(payment_id)


async def _asked_again(tx: Tx, operation: Operation, payment: Payment, outcome: Outcome) -> Operation | None:
    """The operation that followed one whose person had to act, while it is under way: a success is that one's.

    Both are for one order, of which a look-up of the first may be answered late.
    """
    if operation.outcome != _O.REQUIRES_ACTION or outcome.kind not in SUCCESSES:
        return None
    heir = await tx.load(OPERATIONS.get(payment.pending_operation_id))
    return heir if heir is not None and heir.id != operation.id and heir.kind == operation.kind else None


def judge(operation: Operation, outcome: Outcome, source: str) -> Outcome:
    """`outcome` as far as it can be believed: what contradicts what was asked for, or proves too little, is doubt."""
    asked = (operation.amount, operation.currency_code)
    moved = outcome.kind in SUCCESSES and outcome.kind != OutcomeKind.VOIDED
    if moved and (outcome.amount, outcome.currency_code) != asked:
        return replace(
            outcome, kind=OutcomeKind.IN_DOUBT, provider_code="another amount or currency than was asked for"
        )
    if outcome.kind == OutcomeKind.NOT_SENT and source == "reply" and operation.sends > 1:
        return replace(outcome, kind=OutcomeKind.IN_DOUBT, provider_code="an earlier send may have arrived")
    return outcome


def _finish(case: Case) -> None:
    case.put_operation(
        replace(
            case.operation.move(OperationCommand.FINISH, case.tx.now),
            evidence=case.evidence.source,
            outcome=case.outcome.kind,
            provider_code=case.outcome.provider_code[:200],
            debug_id=case.outcome.debug_id[:200],
            lease_owner="",
            lease_until=0,
        )
    )


async def _wait(case: Case) -> None:
    """The provider has it for certain, and decides later."""
    operation = _begun(case).move(OperationCommand.WAIT, case.tx.now)
    case.put_operation(_rescheduled(case, operation))
    payment = case.payment
    if payment.pending_operation_id == operation.id and payment.pending_state == PendingState.IN_DOUBT:
        case.put_payment(replace(payment, pending_state=PendingState.PROCESSING, update_time=case.tx.now))
    if case.outcome.kind == OutcomeKind.REQUIRES_ACTION:
        await charges.action_required(case)


async def _doubt(case: Case, kind: OperationKind) -> None:
    """The answer was lost: evidence is sought from now on."""
    first = case.operation.state == OperationState.PROCESSING
    operation = _begun(case).move(OperationCommand.DOUBT, case.tx.now)
    ended = case.evidence.source == "reply"
    operation = replace(operation, last_send_time=case.evidence.time if ended else operation.last_send_time)
    case.put_operation(_rescheduled(case, operation))
    if first:
        await DOUBTED[kind](case)


def _begun(case: Case) -> Operation:
    """The operation, of which the provider has something: what follows one that came late may not have been sent."""
    operation = case.operation
    return operation if operation.sends else replace(operation, sends=1, last_send_time=case.evidence.time)


def _rescheduled(case: Case, operation: Operation) -> Operation:
    """The operation, to be looked at again; whoever drives it keeps the lease when others bring evidence."""
    if case.evidence.source.startswith(WEBHOOK) and case.tx.now < operation.lease_until:
        return operation
    wait = delay_seconds(operation.tries) * case.deps.runtime.uniform(0.9, 1.1)
    if case.evidence.more_in_seconds is not None:
        wait = min(wait, case.evidence.more_in_seconds)
    return replace(
        operation,
        lease_owner="",
        lease_until=0,
        next_time=case.tx.now + int(wait * MICROSECONDS),
        provider_code=case.outcome.provider_code[:200],
        debug_id=case.outcome.debug_id[:200],
    )


async def _after_the_end(case: Case, kind: OperationKind) -> None:
    """Evidence about what has ended: the same again changes nothing; a late success is undone."""
    success = case.outcome.kind in SUCCESSES and (kind, case.outcome.kind) in FINAL
    if not success or case.outcome.kind == case.operation.outcome:
        return
    if kind == OperationKind.VOID and case.payment.pending_operation_id:
        return  # what is under way on the hold since tells by itself what became of it
    case.put_operation(
        replace(case.operation, outcome=case.outcome.kind, evidence=case.evidence.source, update_time=case.tx.now)
    )
    await LATE[kind](case)


LATE: dict[OperationKind, Handler] = {
    _K.CHARGE: charges.late_success,
    _K.AUTHORIZE: charges.late_success,
    _K.CAPTURE: holds.late_capture,
    _K.VOID: holds.voided,
    _K.REFUND: refunding.late_refund,
}
