"""What providers tell us by themselves: kept first, acknowledged then, confirmed at the provider, acted upon last.

A signature alone moves nothing here: a delivery is a reason to look, and what the provider's own API says about
the object that it names is the evidence.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence

from comptoir_server.app.deps import Deps
from comptoir_server.app.events import tell
from comptoir_server.app.evidence import Case, Evidence
from comptoir_server.app.ports import Notice, NoticeKind, OperationKind, Outcome, OutcomeKind, ProviderUnavailable
from comptoir_server.app.refunding import give_back, let_go, record_foreign
from comptoir_server.app.resuming import resume
from comptoir_server.app.settlement import FINAL, SUCCESSES, WEBHOOK, settle
from comptoir_server.app.wallet_links import wallet_revoked
from comptoir_server.domain.inbox import DELIVERY_TRANSITIONS, FOREIGN_SECONDS, Delivery, DeliveryCommand, DeliveryState
from comptoir_server.domain.operations import Operation, OperationState, delay_seconds
from comptoir_server.domain.payments import CaptureState, Payment, PaymentCommand, PaymentState, Refund, RefundState
from comptoir_server.domain.records import replace
from comptoir_server.domain.transitions import move
from comptoir_server.domain.wallets import LINK_SECONDS
from comptoir_server.runtime import MICROSECONDS, fault
from comptoir_server.store import snapshots
from comptoir_server.store.tables import CAPTURES, INBOX, OPERATIONS, PAYMENTS, REFUNDS
from comptoir_server.store.tx import Tx


async def receive(deps: Deps, provider: str, notice: Notice) -> None:
    """Stores a verified delivery, once an event id, and acts on it in a task; returns when it is committed."""

    async def keep(tx: Tx) -> bool:
        if await tx.load(INBOX.lock((provider, notice.event_id))) is not None:
            return False
        text = snapshots.dump(_sealed(deps, notice))
        delivery = Delivery(provider, notice.event_id, notice.event_type, DeliveryState.STORED, text, 0, tx.now, tx.now)
        tx.put(delivery)
        return True

    fresh = await deps.store.write(keep)
    fault("webhook.stored")
    if fresh:
        deps.runtime.spawn(process(deps, provider, notice.event_id), f"webhook {notice.event_id}")


def _sealed(deps: Deps, notice: Notice) -> Notice:
    """The notice as it is kept: a wallet's token in it is sealed, bound to the delivery."""
    if not notice.wallet_token:
        return notice
    sealed = deps.vault.seal_token(notice.event_id, notice.wallet_token)
    return replace(notice, wallet_token=base64.b64encode(sealed).decode())


def _opened(deps: Deps, text: str) -> Notice:
    notice = snapshots.load(Notice, text)
    if not notice.wallet_token:
        return notice
    return replace(notice, wallet_token=deps.vault.open_token(notice.event_id, base64.b64decode(notice.wallet_token)))


async def process(deps: Deps, provider: str, event_id: str) -> None:
    """Confirms a stored delivery at its provider and acts on what the API says.

    What is not confirmed, or speaks of something that is not known yet, waits and is tried again; once nothing has
    claimed it for a week it is listed as foreign, unless its payment has work of ours under way. A provider that cannot
    be asked is asked again until it can.
    """
    delivery = await deps.store.write(lambda tx: _take(tx, provider, event_id))
    if delivery is None:
        return
    try:
        confirmed = await deps.providers[provider].confirm(_opened(deps, delivery.notice))
    except ProviderUnavailable:
        return

    async def work(tx: Tx) -> None:
        current = await tx.load(INBOX.lock((provider, event_id)))
        if current is None or current.state == DeliveryState.PROCESSED:
            return
        if confirmed is not None and await _act(deps, tx, provider, confirmed, current.create_time):
            tx.put(_moved(_without_token(current), DeliveryCommand.PROCESS))
        elif (
            tx.now >= current.create_time + FOREIGN_SECONDS * MICROSECONDS
            and current.state == DeliveryState.STORED
            and not await _may_be_claimed(tx, provider, confirmed)
        ):
            tx.put(_moved(current, DeliveryCommand.DISOWN))

    await deps.store.write(work)
    fault("webhook.processed")


async def _take(tx: Tx, provider: str, event_id: str) -> Delivery | None:
    """The delivery when it is due, its next try settled first: whatever goes wrong in this one, that one comes."""
    delivery = await tx.load(INBOX.lock((provider, event_id)))
    if delivery is None or delivery.state == DeliveryState.PROCESSED or tx.now < delivery.next_time:
        return None
    wait = delay_seconds(delivery.tries) * MICROSECONDS
    taken = replace(delivery, tries=delivery.tries + 1, next_time=tx.now + wait)
    tx.put(taken)
    return taken


def _without_token(delivery: Delivery) -> Delivery:
    """The delivery once nobody is asked about it any more: a wallet's token must not outlive its deletion here."""
    notice = snapshots.load(Notice, delivery.notice)
    return (
        replace(delivery, notice=snapshots.dump(replace(notice, wallet_token=""))) if notice.wallet_token else delivery
    )


def _moved(delivery: Delivery, command: DeliveryCommand) -> Delivery:
    return replace(delivery, state=move("delivery", DELIVERY_TRANSITIONS, delivery.state, command))


async def _act(deps: Deps, tx: Tx, provider: str, notice: Notice, since: int) -> bool:
    """True when the notice was acted upon, or needs no action; False while its object is unknown.

    A token that no wallet has may be that of a link: it becomes a wallet in the time that a link has, or never.
    """
    if notice.kind == NoticeKind.WALLET_REVOKED:
        known = await wallet_revoked(tx, provider, deps.vault.hash("provider token", notice.wallet_token))
        return known or tx.now >= since + LINK_SECONDS * MICROSECONDS
    if notice.kind == NoticeKind.OTHER or notice.outcome is None or notice.operation is None:
        return True
    payment = await _payment(tx, provider, notice)
    if payment is None:
        return False
    evidence = Evidence(notice.outcome, f"{WEBHOOK}{notice.event_id}", tx.now)
    operation = await _operation(tx, payment, notice, notice.outcome)
    if operation is None:
        return await _elsewhere(deps, tx, payment, notice, evidence)
    if evidence.outcome.kind == OutcomeKind.APPROVED:
        await resume(deps, tx, payment, operation)
        tx.after_commit(payment.id)
    else:
        await settle(deps, tx, operation.id, payment.id, evidence)
    return True


async def _payment(tx: Tx, provider: str, notice: Notice) -> Payment | None:
    """The payment that a notice speaks of: by our own id where it carries one, else by the provider's order."""
    payment_id = notice.object_id
    if payment_id.startswith("cap_"):
        capture = await tx.load(CAPTURES.get(payment_id))
        payment_id = capture.payment_id if capture else ""
    elif payment_id.startswith("rfd_"):
        refund = await tx.load(REFUNDS.get(payment_id))
        payment_id = refund.payment_id if refund else ""
    payment = await tx.load(PAYMENTS.lock(payment_id)) if payment_id.startswith("pay_") else None
    if payment is None and notice.order_reference:
        found = await tx.load(PAYMENTS.list_by("by_order", provider, notice.order_reference))
        payment = await tx.load(PAYMENTS.lock(found[0].id)) if found else None
    return payment if payment is not None and payment.provider == provider else None


async def _may_be_claimed(tx: Tx, provider: str, notice: Notice | None) -> bool:
    """Whether its payment has work of ours under way, for which it waits: a week passes quickly for who was down."""
    payment = await _payment(tx, provider, notice) if notice is not None else None
    return payment is not None and bool(payment.pending_operation_id or payment.refunding)


_TAKING = frozenset({OperationKind.CHARGE, OperationKind.CAPTURE})
"""What takes money: a provider may tell of it without saying whether there was a hold before."""


async def _operation(tx: Tx, payment: Payment, notice: Notice, outcome: Outcome) -> Operation | None:
    """The operation whose outcome the notice can tell: of the same kind, on the object that it names.

    Of several it is the one that is under way; else one that its person did not have asked again; else the latest.
    Their ids alone do not tell: a clock may have been put back between them. A hold may be released by anybody: to a
    void that has ended already its release says nothing.
    """
    kinds = _TAKING if notice.operation in _TAKING else {notice.operation}
    objects = [notice.object_id] if notice.object_id else []
    if notice.operation != OperationKind.REFUND and payment.id not in objects:
        objects.append(payment.id)
    for object_id in objects:
        matching = [
            operation
            for operation in await tx.load(OPERATIONS.list_by("by_object", object_id))
            if operation.kind in kinds
            and _can_end(OperationKind(operation.kind), outcome)
            and (operation.kind != OperationKind.VOID or operation.state != OperationState.DONE)
        ]
        if matching:
            return max(matching, key=lambda one: (one.state != OperationState.DONE, not _asked_again(one), one.id))
    return None


def _asked_again(operation: Operation) -> bool:
    """Whether it was answered by asking for the person, and another operation followed once they had acted."""
    return operation.outcome == OutcomeKind.REQUIRES_ACTION


def _can_end(kind: OperationKind, outcome: Outcome) -> bool:
    """A success speaks only of what it would be the success of: a capture of a hold says nothing of the hold."""
    return outcome.kind not in SUCCESSES or (kind, outcome.kind) in FINAL


async def _elsewhere(deps: Deps, tx: Tx, payment: Payment, notice: Notice, evidence: Evidence) -> bool:
    """What none of our operations asked for: somebody did it at the provider's own pages, or the provider itself."""
    match evidence.outcome.kind:
        case OutcomeKind.DECLINED:
            return True
        case OutcomeKind.REFUNDED:
            return await _given_back(deps, tx, payment, notice, evidence)
        case OutcomeKind.VOIDED:
            return _released(tx, payment, notice)
        case _:
            captures = await tx.load(CAPTURES.list_by("by_payment", payment.id))
            return any(capture.reference == notice.reference for capture in captures)


async def _given_back(deps: Deps, tx: Tx, payment: Payment, notice: Notice, evidence: Evidence) -> bool:
    """A refund or reversal that somebody made at the provider becomes an object of ours.

    While a refund of ours may be on its way it waits: it may be that very one, told without our id. One that was not
    sent yet is for what is left after this.
    """
    refunds = await tx.load(REFUNDS.list_by("by_payment", payment.id))
    if any(refund.reference == notice.reference for refund in refunds):
        return True
    captures = await tx.load(CAPTURES.list_by("by_payment", payment.id))
    match = [
        capture
        for capture in captures
        if capture.state == CaptureState.SUCCEEDED and capture.reference == notice.parent_reference
    ]
    operations = await tx.load(OPERATIONS.list_by("by_object", payment.id))
    amount = evidence.outcome.amount
    if not match or not operations or amount is None or evidence.outcome.currency_code != payment.currency_code:
        return False
    unsent = await _unsent(tx, refunds)
    capture = await tx.load(CAPTURES.lock(match[0].id))
    if unsent is None or capture is None:
        return False
    owed = [(refund, operation) for refund, operation in unsent if refund.capture_id == capture.id]
    if not 0 < amount <= capture.refundable + sum(refund.amount for refund, _ in owed):
        return False
    case = Case(deps, tx, operations[-1], payment, evidence)
    for refund, operation in owed:
        capture = await let_go(case, refund, capture, operation)
    capture = await record_foreign(
        case, capture, amount, notice.reference, f"provider/{notice.reference}", "Given back at the provider."
    )
    if owed and capture.refundable:
        await give_back(case, capture, owed[0][0].reason, owed[0][0])
    tx.after_commit(payment.id)
    return True


async def _unsent(tx: Tx, refunds: Sequence[Refund]) -> list[tuple[Refund, Operation]] | None:
    """The refunds under way of which nothing was sent, with their operations; None where another may be on its way."""
    found = []
    for refund in refunds:
        if refund.state not in (RefundState.PROCESSING, RefundState.IN_DOUBT):
            continue
        under_way = [
            one for one in await tx.load(OPERATIONS.list_by("by_object", refund.id)) if one.state != OperationState.DONE
        ]
        for one in under_way:
            locked, operation = await tx.load(REFUNDS.lock(refund.id), OPERATIONS.lock(one.id))
            if locked is None or operation is None or operation.state != OperationState.PROCESSING or operation.sends:
                return None
            found.append((locked, operation))
    return found


_HELD = frozenset({PaymentState.AUTHORIZED, PaymentState.PARTIALLY_CAPTURED})


def _released(tx: Tx, payment: Payment, notice: Notice) -> bool:
    """A hold that ended by its time or was released at the provider: nothing more can be taken of it.

    While an operation of ours is under way it waits: that one's outcome says what was taken before.
    """
    if payment.pending_operation_id:
        return False
    if payment.state not in _HELD or payment.reference != notice.reference:
        return True
    in_time = payment.state == PaymentState.AUTHORIZED and not 0 < payment.authorization_expire_time <= tx.now
    ended = payment.move(PaymentCommand.VOID if in_time else PaymentCommand.EXPIRE, tx.now)
    tx.put(ended)
    tell(tx, "payment", ended)
    tx.after_commit(payment.id)
    return True
