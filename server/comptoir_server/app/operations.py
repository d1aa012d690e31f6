"""Asking a provider: between two transactions, by one process at a time, deciding doubt by evidence only."""

from __future__ import annotations

from dataclasses import dataclass, replace

from comptoir_server.app.deps import Deps
from comptoir_server.app.evidence import Evidence
from comptoir_server.app.instructions import CHARGES, instruction_of
from comptoir_server.app.ports import (
    Instruction,
    OperationKind,
    Outcome,
    OutcomeKind,
    PrepareRefused,
    Provider,
    ProviderUnavailable,
)
from comptoir_server.app.resuming import resume
from comptoir_server.app.settlement import settle
from comptoir_server.domain.operations import Operation, OperationState, delay_seconds
from comptoir_server.domain.payments import Payment
from comptoir_server.runtime import MICROSECONDS, fault
from comptoir_server.store.tables import CHECKOUTS, OPERATIONS, PAYMENTS
from comptoir_server.store.tx import Tx

_RESEND_SHARE = 0.8
"""A repetition with the same key is safe for this share of the time that the provider remembers the key."""

_THROTTLE_SECONDS = 1.0


async def drive(deps: Deps, operation: Operation) -> None:
    """Carries out an operation that this process has just stored and leased, and settles it by what came of it.

    Runs in a task of the server: no caller's deadline or hang-up reaches it. Whatever goes wrong leaves the
    operation to the reconciler, once the lease has run out.
    """
    fault("begin.committed")
    provider = deps.providers[operation.provider]
    instruction = await instruction_of(deps, operation)
    outcome: Outcome | None = None
    if provider.capabilities.prepares and operation.kind in CHARGES and not operation.order_reference:
        instruction, outcome = await _prepare(deps, provider, operation, instruction)
    if outcome is None:
        outcome = await _send(deps, provider, operation, instruction)
    await _settle(deps, operation, outcome, "reply")


async def _prepare(
    deps: Deps, provider: Provider, operation: Operation, instruction: Instruction
) -> tuple[Instruction, Outcome | None]:
    """Makes the provider's order and stores its id: only then may money move, so that a look-up can decide doubt."""
    try:
        reference = await provider.prepare(instruction)
    except PrepareRefused as refusal:
        return instruction, refusal.outcome
    except ProviderUnavailable:
        return instruction, Outcome(OutcomeKind.NOT_SENT, provider_code="no order could be made")

    async def remember(tx: Tx) -> bool:
        current, payment = await tx.load(OPERATIONS.lock(operation.id), PAYMENTS.lock(operation.payment_id))
        if current is None or payment is None or current.state != OperationState.PROCESSING:
            return False
        tx.put(replace(current, order_reference=reference))
        tx.put(replace(payment, order_reference=reference))
        return True

    if not await deps.store.write(remember):
        return instruction, Outcome(OutcomeKind.NOT_SENT, provider_code="settled before it was sent")
    return replace(instruction, order_reference=reference), None


async def _send(deps: Deps, provider: Provider, operation: Operation, instruction: Instruction) -> Outcome:
    """Sends it once; again with the same key while the provider says that it did not process it and time is left."""
    noun = "charge" if instruction.kind in CHARGES else instruction.kind.lower()
    fault(f"{noun}.unsent")
    while True:
        if deps.runtime.now() >= operation.send_before:
            return Outcome(OutcomeKind.NOT_SENT, provider_code="too late to send")
        outcome = await provider.execute(instruction)
        fault(f"{noun}.answered")
        if outcome.kind != OutcomeKind.THROTTLED:
            return outcome
        await deps.runtime.sleep(_THROTTLE_SECONDS)


async def _settle(deps: Deps, operation: Operation, outcome: Outcome, source: str) -> None:
    evidence = Evidence(outcome, source, deps.runtime.now())
    await deps.store.write(lambda tx: settle(deps, tx, operation.id, operation.payment_id, evidence))
    fault("settle.committed")


async def _resume(deps: Deps, tx: Tx, operation: Operation) -> None:
    payment = await tx.load(PAYMENTS.lock(operation.payment_id))
    if payment is not None:
        await resume(deps, tx, payment, operation)
        tx.after_commit(payment.id)


@dataclass(frozen=True, slots=True)
class _Claim:
    """An operation that this process may drive now. `wanted`: it may be sent again with the same key."""

    operation: Operation
    fresh: bool
    wanted: bool


async def resolve(deps: Deps, operation_id: str) -> None:
    """Seeks evidence on an operation whose lease has run out, and settles it by what is found.

    It looks first; what is absent is sent again with the same key while it is still wanted and the provider
    remembers the key; absence is proof only once nothing can be on its way any more.
    """
    claim = await deps.store.write(lambda tx: _claim(deps, tx, operation_id))
    if claim is None:
        return
    operation = claim.operation
    if claim.fresh:
        await drive(deps, operation)
        return
    provider = deps.providers[operation.provider]
    if provider.capabilities.prepares and operation.kind in CHARGES and not operation.order_reference:
        await _settle(deps, operation, Outcome(OutcomeKind.NOT_SENT, provider_code="no order was made"), "store")
        return
    instruction = await instruction_of(deps, operation)
    outcome = await provider.look_up(instruction)
    if outcome.kind == OutcomeKind.ABSENT and operation.state == OperationState.WAITING:
        await deps.store.write(lambda tx: _resume(deps, tx, operation))
        return
    if outcome.kind == OutcomeKind.ABSENT:
        if claim.wanted and await deps.store.write(lambda tx: _allow_another_send(deps, tx, operation_id)):
            await _settle(deps, operation, await provider.execute(instruction), "reply")
            return
        settled_time = operation.last_send_time + provider.capabilities.settle_seconds * MICROSECONDS
        if deps.runtime.now() >= settled_time:
            await _settle(deps, operation, replace(outcome, kind=OutcomeKind.NOT_SENT), "look-up: absent")
            return
        outcome = replace(outcome, kind=OutcomeKind.IN_DOUBT)
    await _settle(deps, operation, outcome, "look-up")


async def _claim(deps: Deps, tx: Tx, operation_id: str) -> _Claim | None:
    """Takes the lease where nobody holds it; a lease that ran out on something sent is doubt, and is told as such."""
    found = await tx.load(OPERATIONS.lock(operation_id))
    if found is None or found.state == OperationState.DONE or tx.now < found.lease_until:
        return None
    payment = await tx.load(PAYMENTS.lock(found.payment_id))
    if payment is None:
        raise AssertionError(f"operation {operation_id} has no payment")
    capabilities = deps.providers[found.provider].capabilities
    limit = int(capabilities.call_limit_seconds * MICROSECONDS)
    fresh = found.state == OperationState.PROCESSING and found.sends == 0
    if found.state == OperationState.PROCESSING and not fresh:
        evidence = Evidence(Outcome(OutcomeKind.IN_DOUBT, provider_code="the server stopped"), "lease", tx.now)
        await settle(deps, tx, operation_id, found.payment_id, evidence)
        found = await tx.load(OPERATIONS.lock(operation_id)) or found
    operation = replace(
        found,
        lease_owner=deps.settings.worker_name,
        lease_until=tx.now + 3 * limit,
        next_time=tx.now + max(3 * limit, delay_seconds(found.tries) * MICROSECONDS),
        tries=found.tries + (0 if fresh else 1),
        sends=1 if fresh else found.sends,
        send_before=tx.now + limit if fresh else found.send_before,
        last_send_time=tx.now + limit if fresh else found.last_send_time,
    )
    tx.put(operation)
    return _Claim(operation, fresh, await _wanted(deps, tx, operation, payment))


async def _wanted(deps: Deps, tx: Tx, operation: Operation, payment: Payment) -> bool:
    """Repeated: a charge while its person may still be waiting, anything else while the key is remembered."""
    kind = OperationKind(operation.kind)
    if kind in CHARGES:
        checkout = await tx.load(CHECKOUTS.get(payment.checkout_id))
        return checkout is not None and not checkout.cancel_requested and tx.now < operation.send_before
    key_seconds = deps.providers[operation.provider].capabilities.key_ttl_seconds[kind]
    return tx.now < operation.create_time + int(_RESEND_SHARE * key_seconds * MICROSECONDS)


async def _allow_another_send(deps: Deps, tx: Tx, operation_id: str) -> bool:
    """Counts the send before it may start; nothing is sent for an operation that was settled meanwhile."""
    operation = await tx.load(OPERATIONS.lock(operation_id))
    if (
        operation is None
        or operation.state == OperationState.DONE
        or operation.lease_owner != deps.settings.worker_name
    ):
        return False
    tx.put(replace(operation, sends=operation.sends + 1, last_send_time=operation.lease_until, update_time=tx.now))
    return True
