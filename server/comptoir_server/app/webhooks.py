"""What providers tell us by themselves: kept first, acknowledged then, acted upon last."""

from __future__ import annotations

from dataclasses import replace

from comptoir_server.app.deps import Deps
from comptoir_server.app.evidence import Case, Evidence
from comptoir_server.app.ports import Notice, NoticeKind, OperationKind, Outcome, OutcomeKind
from comptoir_server.app.refunding import record_foreign
from comptoir_server.app.resuming import resume
from comptoir_server.app.settlement import WEBHOOK, settle
from comptoir_server.app.wallet_links import wallet_revoked
from comptoir_server.domain import snapshots
from comptoir_server.domain.inbox import DELIVERY_TRANSITIONS, FOREIGN_SECONDS, Delivery, DeliveryCommand, DeliveryState
from comptoir_server.domain.operations import Operation, delay_seconds
from comptoir_server.domain.payments import Capture, Payment
from comptoir_server.domain.transitions import move
from comptoir_server.runtime import MICROSECONDS, fault
from comptoir_server.store.tables import CAPTURES, INBOX, OPERATIONS, PAYMENTS, REFUNDS
from comptoir_server.store.tx import Tx


async def receive(deps: Deps, provider: str, notice: Notice) -> None:
    """Stores a verified delivery, once an event id, and acts on it in a task; returns when it is committed."""

    async def keep(tx: Tx) -> bool:
        if await tx.load(INBOX.lock((provider, notice.event_id))) is not None:
            return False
        text = snapshots.dump(notice)
        delivery = Delivery(provider, notice.event_id, notice.event_type, DeliveryState.STORED, text, 0, tx.now, tx.now)
        tx.put(delivery)
        return True

    fresh = await deps.store.write(keep)
    fault("webhook.stored")
    if fresh:
        deps.runtime.spawn(process(deps, provider, notice.event_id), f"webhook {notice.event_id}")


async def process(deps: Deps, provider: str, event_id: str) -> None:
    """Acts on a stored delivery; one about something that is not known yet waits and is tried again."""

    async def work(tx: Tx) -> None:
        delivery = await tx.load(INBOX.lock((provider, event_id)))
        if delivery is None or delivery.state == DeliveryState.PROCESSED:
            return
        notice = snapshots.load(Notice, delivery.notice)
        if await _act(deps, tx, provider, notice):
            tx.put(
                replace(delivery, state=move("delivery", DELIVERY_TRANSITIONS, delivery.state, DeliveryCommand.PROCESS))
            )
        else:
            tx.put(_later(tx, delivery))

    await deps.store.write(work)
    fault("webhook.processed")


def _later(tx: Tx, delivery: Delivery) -> Delivery:
    """The delivery, to be tried again; listed as foreign once nothing has claimed it for a week."""
    state = delivery.state
    if state == DeliveryState.STORED and tx.now >= delivery.create_time + FOREIGN_SECONDS * MICROSECONDS:
        state = move("delivery", DELIVERY_TRANSITIONS, state, DeliveryCommand.DISOWN)
    wait = delay_seconds(delivery.tries) * MICROSECONDS
    return replace(delivery, state=state, tries=delivery.tries + 1, next_time=tx.now + wait)


async def _act(deps: Deps, tx: Tx, provider: str, notice: Notice) -> bool:
    """True when the notice was acted upon, or needs no action; False while its object is unknown."""
    if notice.kind == NoticeKind.WALLET_REVOKED:
        await wallet_revoked(tx, provider, deps.vault.hash("provider token", notice.wallet_token))
        return True
    if notice.kind == NoticeKind.OTHER or notice.outcome is None or notice.operation is None:
        return True
    payment = await _payment(tx, provider, notice)
    if payment is None:
        return False
    operation = await _operation(tx, payment, notice)
    if operation is not None:
        return await _evidence(deps, tx, payment, operation, notice, notice.outcome)
    if notice.operation == OperationKind.REFUND and notice.outcome.kind == OutcomeKind.REFUNDED:
        return await _made_elsewhere(deps, tx, payment, notice, notice.outcome)
    return notice.operation == OperationKind.VOID


async def _payment(tx: Tx, provider: str, notice: Notice) -> Payment | None:
    """The payment that a notice speaks of: by our own id where it carries one, else by the provider's order."""
    if notice.object_id.startswith("pay_"):
        return await tx.load(PAYMENTS.lock(notice.object_id))
    child: Capture | object | None = None
    if notice.object_id.startswith("cap_"):
        child = await tx.load(CAPTURES.get(notice.object_id))
    elif notice.object_id.startswith("rfd_"):
        child = await tx.load(REFUNDS.get(notice.object_id))
    if child is not None:
        return await tx.load(PAYMENTS.lock(child.payment_id))  # type: ignore[attr-defined]
    if not notice.order_reference:
        return None
    found = await tx.load(PAYMENTS.list_by("by_order", provider, notice.order_reference))
    return await tx.load(PAYMENTS.lock(found[0].id)) if found else None


_CHARGES = frozenset({OperationKind.CHARGE, OperationKind.AUTHORIZE})


async def _operation(tx: Tx, payment: Payment, notice: Notice) -> Operation | None:
    """The operation whose outcome the notice tells: of the same kind, on the object that it names."""
    kinds = _CHARGES | {OperationKind.CAPTURE} if notice.operation == OperationKind.CAPTURE else {notice.operation}
    if notice.operation in _CHARGES:
        kinds = _CHARGES
    objects = [notice.object_id] if notice.object_id else []
    if notice.operation != OperationKind.REFUND and payment.id not in objects:
        objects.append(payment.id)
    for object_id in objects:
        matching = [o for o in await tx.load(OPERATIONS.list_by("by_object", object_id)) if o.kind in kinds]
        if matching:
            return max(matching, key=lambda operation: operation.id)
    return None


async def _evidence(
    deps: Deps, tx: Tx, payment: Payment, operation: Operation, notice: Notice, outcome: Outcome
) -> bool:
    if outcome.kind == OutcomeKind.ABSENT:
        await resume(deps, tx, payment, operation)
        return True
    if operation.kind == OperationKind.AUTHORIZE and outcome.kind == OutcomeKind.CAPTURED:
        return True
    evidence = Evidence(outcome, f"{WEBHOOK}{notice.event_id}", tx.now)
    await settle(deps, tx, operation.id, payment.id, evidence)
    return True


async def _made_elsewhere(deps: Deps, tx: Tx, payment: Payment, notice: Notice, outcome: Outcome) -> bool:
    """A refund or reversal that somebody made at the provider becomes an object of ours."""
    if any(refund.reference == notice.reference for refund in await tx.load(REFUNDS.list_by("by_payment", payment.id))):
        return True
    captures = await tx.load(CAPTURES.list_by("by_payment", payment.id))
    match = [capture for capture in captures if capture.reference == notice.parent_reference]
    if not match or outcome.amount is None:
        return False
    capture = await tx.load(CAPTURES.lock(match[0].id))
    operations = await tx.load(OPERATIONS.list_by("by_object", payment.id))
    if capture is None or not operations or outcome.amount > min(capture.refundable, payment.refundable):
        return False
    case = Case(deps, tx, operations[-1], payment, Evidence(outcome, f"{WEBHOOK}{notice.event_id}", tx.now))
    await record_foreign(
        case, capture, outcome.amount, notice.reference, f"provider/{notice.reference}", "Given back at the provider."
    )
    tx.after_commit(payment.id)
    return True
