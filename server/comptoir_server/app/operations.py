"""Asking a provider: between two transactions, by one process at a time, deciding doubt by evidence only."""

from __future__ import annotations

from dataclasses import dataclass

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
from comptoir_server.app.settlement import FINAL, settle
from comptoir_server.domain.operations import Operation, OperationState, delay_seconds
from comptoir_server.domain.records import replace
from comptoir_server.runtime import MICROSECONDS, fault
from comptoir_server.store.tables import CHECKOUTS, OPERATIONS, PAYMENTS
from comptoir_server.store.tx import Tx

_RESEND_SHARE = 0.8
"""A repetition with the same key is safe for this share of the time that the provider remembers the key."""

_SENDS_MAX = 24
"""After so many sends that came to nothing no more are tried, and absence decides."""

_THROTTLE_SECONDS = 1.0

_UNDONE = frozenset({OutcomeKind.ABSENT, OutcomeKind.APPROVED})
"""What a look-up finds where nothing was executed so far."""


async def drive(deps: Deps, operation: Operation) -> None:
    """Carries out an operation that this process has just stored and leased, and settles it by what came of it.

    Runs in a task of the server: no caller's deadline or hang-up reaches it. Whatever goes wrong leaves the
    operation to the reconciler, once the lease has run out.
    """
    fault("begin.committed")
    with deps.lines.taken(operation.provider):
        outcome = await _carry_out(deps, operation)
    await _settle(deps, operation, outcome, "reply")


async def _carry_out(deps: Deps, operation: Operation) -> Outcome:
    provider = deps.providers[operation.provider]
    instruction = await instruction_of(deps, operation)
    outcome: Outcome | None = None
    if provider.capabilities.prepares and operation.kind in CHARGES and not operation.order_reference:
        instruction, outcome = await _prepare(deps, provider, operation, instruction)
    outcome = outcome or await _send(deps, provider, operation, instruction)
    if outcome.kind == OutcomeKind.IN_DOUBT:
        deps.sightings.over(operation.id, operation.sends, deps.runtime.monotonic())
    return outcome


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
    fault(f"{_noun(instruction)}.unsent")
    while True:
        if deps.runtime.now() >= operation.send_before:
            return Outcome(OutcomeKind.NOT_SENT, provider_code="too late to send")
        outcome = await _ask(provider, instruction)
        if outcome.kind != OutcomeKind.THROTTLED:
            return outcome
        await deps.runtime.sleep(_THROTTLE_SECONDS)


async def _ask(provider: Provider, instruction: Instruction) -> Outcome:
    outcome = await provider.execute(instruction)
    fault(f"{_noun(instruction)}.answered")
    return outcome


def _noun(instruction: Instruction) -> str:
    """What the fault points of an operation are named for."""
    return "charge" if instruction.kind in CHARGES else instruction.kind.lower()


async def _settle(deps: Deps, operation: Operation, outcome: Outcome, source: str) -> None:
    evidence = Evidence(outcome, source, deps.runtime.now())
    await deps.store.write(lambda tx: settle(deps, tx, operation.id, operation.payment_id, evidence))
    fault("settle.committed")


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
        await _start(deps, operation)
        return
    provider = deps.providers[operation.provider]
    if provider.capabilities.prepares and operation.kind in CHARGES and not operation.order_reference:
        await _settle(deps, operation, Outcome(OutcomeKind.NOT_SENT, provider_code="no order was made"), "store")
        return
    instruction = await instruction_of(deps, operation)
    over = _over(deps, operation)
    quiet_in = _quiet_in(deps, operation, over)
    outcome = await provider.look_up(instruction)
    waiting = operation.state == OperationState.WAITING
    if waiting and outcome.kind == OutcomeKind.APPROVED:
        await deps.store.write(lambda tx: _resume(deps, tx, operation))
    elif not waiting and outcome.kind in _UNDONE:
        await _undone(deps, provider, operation, instruction, over, quiet_in)
    else:
        await _settle(deps, operation, outcome, "look-up")


@dataclass(frozen=True, slots=True)
class _Claim:
    """An operation that this process may drive now; `fresh` when it was left to the workers from the start."""

    operation: Operation
    fresh: bool


async def _claim(deps: Deps, tx: Tx, operation_id: str) -> _Claim | None:
    """Takes the lease where nobody holds it; a lease that ran out on something sent is doubt, and is told as such."""
    found = await tx.load(OPERATIONS.lock(operation_id))
    if found is None or found.state == OperationState.DONE or tx.now < found.lease_until:
        return None
    limit = _limit(deps, found)
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
    return _Claim(operation, fresh)


def _limit(deps: Deps, operation: Operation) -> int:
    """The longest that one call to the operation's provider takes, in microseconds."""
    return int(deps.providers[operation.provider].capabilities.call_limit_seconds * MICROSECONDS)


async def _start(deps: Deps, operation: Operation) -> None:
    """Carries out what was left to the workers. Nobody but they would ask again for what we owe on our own account
    (a hold released, a capture given back), so that is tried until it has been sent.

    It may be refused because an earlier operation for it was executed late, which a look-up finds.
    """
    outcome, source = await _carry_out(deps, operation), "reply"
    if outcome.kind == OutcomeKind.NOT_SENT and operation.kind not in CHARGES:
        await deps.store.write(lambda tx: _put_back(deps, tx, operation.id))
        return
    if outcome.kind == OutcomeKind.DECLINED and operation.kind not in CHARGES:
        found = await deps.providers[operation.provider].look_up(await instruction_of(deps, operation))
        if (operation.kind, found.kind) in FINAL or found.kind == OutcomeKind.PENDING:
            outcome, source = found, "look-up"
    await _settle(deps, operation, outcome, source)


async def _put_back(deps: Deps, tx: Tx, operation_id: str) -> None:
    operation = await tx.load(OPERATIONS.lock(operation_id))
    if operation is None or not _held(deps, operation, OperationState.PROCESSING):
        return
    wait = delay_seconds(operation.tries) * MICROSECONDS
    operation = replace(operation, sends=0, tries=operation.tries + 1, lease_owner="", lease_until=0)
    tx.put(replace(operation, next_time=tx.now + wait, update_time=tx.now))


def _held(deps: Deps, operation: Operation, state: OperationState) -> bool:
    """Whether it is still in `state` and this process's to drive."""
    return operation.state == state and operation.lease_owner == deps.settings.worker_name


async def _resume(deps: Deps, tx: Tx, operation: Operation) -> None:
    payment = await tx.load(PAYMENTS.lock(operation.payment_id))
    if payment is not None:
        await resume(deps, tx, payment, operation)
        tx.after_commit(payment.id)


async def _undone(
    deps: Deps, provider: Provider, operation: Operation, instruction: Instruction, over: float, quiet_in: float
) -> None:
    """Nothing was executed so far: it is sent again where that is still wanted, else absence becomes proof in time.

    `quiet_in` is of the moment before it was looked for: what arrives while a provider is slow to answer is not seen.
    """
    again = await deps.store.write(lambda tx: _another_send(deps, tx, operation.id))
    if again is not None:
        await _send_again(deps, provider, operation, again, instruction, over, settled=quiet_in <= 0)
    elif quiet_in <= 0:
        evidence = Evidence(Outcome(OutcomeKind.NOT_SENT), "look-up: absent", deps.runtime.now())
        await deps.store.write(lambda tx: _end(deps, tx, operation, evidence))
        fault("settle.committed")
    else:
        absent = Outcome(OutcomeKind.IN_DOUBT, provider_code="absent so far")
        await _look_again(deps, operation, over, Evidence(absent, "look-up", deps.runtime.now(), quiet_in))


async def _send_again(
    deps: Deps,
    provider: Provider,
    before: Operation,
    again: Operation,
    instruction: Instruction,
    over: float,
    *,
    settled: bool,
) -> None:
    """Sends it again. A refusal of that proves nothing of the sends before, once the provider forgot the key.

    It stands when reading finds nothing executed, and nothing of the earlier sends can be on its way any more.
    """
    outcome, source = await _ask(provider, instruction), "reply"
    deps.sightings.over(again.id, again.sends, deps.runtime.monotonic())
    if outcome.kind == OutcomeKind.DECLINED:
        found = await provider.look_up(instruction)
        if found.kind not in _UNDONE:
            outcome, source = found, "look-up"
        elif not settled:
            refused = replace(outcome, kind=OutcomeKind.IN_DOUBT)
            more = _takes(deps, before) / MICROSECONDS
            await _look_again(deps, before, over, Evidence(refused, "reply", deps.runtime.now(), more))
            return
    await _settle(deps, before, outcome, source)


def _over(deps: Deps, operation: Operation) -> float:
    """When what was sent of it was over at the latest, on our monotonic clock and as far as that was watched.

    This process may have watched, or one before it that read the same clock and wrote down since when.
    """
    latest = deps.runtime.monotonic() + _limit(deps, operation) / MICROSECONDS
    over = deps.sightings.over(operation.id, operation.sends, latest)
    if operation.watch_clock == deps.runtime.monotonic_clock:
        over = min(over, operation.watch_start / MICROSECONDS)
    return over


def _quiet_in(deps: Deps, operation: Operation, over: float) -> float:
    """In how many seconds nothing of it can be on its way any more: by the times written down, and by what was watched.

    Either may be wrong alone: what is written is the wall clock's of some server, what was watched ends with a machine.
    """
    takes = _takes(deps, operation)
    written = (operation.last_send_time + takes - deps.runtime.now()) / MICROSECONDS
    return max(written, over + takes / MICROSECONDS - deps.runtime.monotonic())


def _takes(deps: Deps, operation: Operation) -> int:
    """How long, from its beginning, a call can take until its effect can be read, in microseconds."""
    capabilities = deps.providers[operation.provider].capabilities
    return _limit(deps, operation) + capabilities.settle_seconds * MICROSECONDS


async def _look_again(deps: Deps, operation: Operation, over: float, evidence: Evidence) -> None:
    """Nothing is there that could not be on its way still: doubt, and another look in so many seconds at the latest.

    What `operation` sent, as it was before it was sent again with a refusal, is watched from `over` on: that is kept
    for processes after this one.
    """
    clock, start = operation.watch_clock, operation.watch_start
    if not clock:
        clock, start = deps.runtime.monotonic_clock, int(over * MICROSECONDS)

    async def work(tx: Tx) -> None:
        current = await tx.load(OPERATIONS.lock(operation.id))
        if current is not None and _held(deps, current, OperationState.IN_DOUBT):
            tx.put(replace(current, watch_clock=clock, watch_start=start))
        await settle(deps, tx, operation.id, operation.payment_id, evidence)

    await deps.store.write(work)
    fault("settle.committed")


async def _end(deps: Deps, tx: Tx, operation: Operation, evidence: Evidence) -> None:
    """Settles by absence, unless others have brought better evidence since it was looked for."""
    current = await tx.load(OPERATIONS.lock(operation.id))
    if current is not None and _held(deps, current, OperationState.IN_DOUBT):
        await settle(deps, tx, operation.id, operation.payment_id, evidence)


async def _another_send(deps: Deps, tx: Tx, operation_id: str) -> Operation | None:
    """Counts the send before it may start; None for what was settled, or called off, meanwhile."""
    operation = await tx.load(OPERATIONS.lock(operation_id))
    if operation is None or not _held(deps, operation, OperationState.IN_DOUBT) or operation.sends >= _SENDS_MAX:
        return None
    in_time = tx.now + 2 * _limit(deps, operation) <= operation.lease_until
    if not in_time or not await _wanted(deps, tx, operation):
        return None
    again = replace(
        operation,
        sends=operation.sends + 1,
        last_send_time=operation.lease_until,
        watch_clock="",
        watch_start=0,
        update_time=tx.now,
    )
    tx.put(again)
    return again


async def _wanted(deps: Deps, tx: Tx, operation: Operation) -> bool:
    """Repeated: a charge while its person may still be waiting, anything else while the key is remembered."""
    kind = OperationKind(operation.kind)
    if kind in CHARGES:
        payment = await tx.load(PAYMENTS.get(operation.payment_id))
        checkout = await tx.load(CHECKOUTS.get(payment.checkout_id)) if payment else None
        return checkout is not None and not checkout.cancel_requested and tx.now < operation.send_before
    key_seconds = deps.providers[operation.provider].capabilities.key_ttl_seconds[kind]
    return tx.now < operation.create_time + int(_RESEND_SHARE * key_seconds * MICROSECONDS)
