"""Evidence: sought by one process at a time, by repetition while a key lives, and ignored after the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from comptoir_server.app import operations, settlement
from comptoir_server.app.evidence import Evidence
from comptoir_server.app.ports import DeclineCode, OperationKind, Outcome, OutcomeKind
from comptoir_server.domain.errors import Reason, Refused
from comptoir_server.domain.operations import Operation
from comptoir_server.domain.payments import PaymentState, RefundState
from comptoir_server.store.reads import due
from comptoir_server.store.tables import OPERATIONS, REFUNDS
from tests.support.databases import database_url
from tests.support.providers import LOST_REPLY, LOST_REQUEST
from tests.support.tally import refund_states, require_same_books, sends
from tests.support.world import World, another_server, open_world

__all__ = ["database_url"]


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with open_world(database_url) as made:
        yield made


async def operation_of(world: World, object_id: str) -> Operation:
    """The one operation on an object of ours."""
    [found] = await world.deps.store.read(lambda tx: tx.load(OPERATIONS.list_by("by_object", object_id)))
    return found


async def paid(world: World) -> str:
    """A payment of 240.00 that was taken."""
    payment_id: str = (await world.confirm(await world.checkout()))["payment"].id
    return payment_id


@pytest.mark.parametrize(
    "kind", [OutcomeKind.DECLINED, OutcomeKind.NOT_SENT, OutcomeKind.IN_DOUBT, OutcomeKind.PENDING]
)
async def test_evidence_against_what_has_ended_changes_nothing(world: World, kind: OutcomeKind) -> None:
    payment_id = await paid(world)
    operation, payment = await operation_of(world, payment_id), await world.now_payment(payment_id)
    late = Outcome(kind, decline_code=DeclineCode.INSUFFICIENT_FUNDS if kind == OutcomeKind.DECLINED else None)

    for source in ("reply", "look-up", "webhook:WH-1"):
        evidence = Evidence(late, source, world.runtime.now())
        await world.deps.store.write(
            lambda tx, evidence=evidence: settlement.settle(world.deps, tx, operation.id, payment_id, evidence)  # type: ignore[misc]
        )
        assert await operation_of(world, payment_id) == operation
        assert await world.now_payment(payment_id) == payment

    assert payment.state == PaymentState.CAPTURED
    await require_same_books(world, 24_000)


async def test_what_one_process_drives_nobody_else_asks_about(postgresql_url: str) -> None:
    async with open_world(postgresql_url) as world:
        other = await another_server(world, postgresql_url)
        gate = world.provider.hold("execute")
        confirming = asyncio.create_task(world.confirm(await world.checkout()))
        while not any(method == "execute" for method, _ in world.provider.calls):
            await asyncio.sleep(0.01)
        driven = await world.deps.store.read(lambda tx: due.operations(tx, world.runtime.now() + 60_000_000, 10))

        for deps in (other, world.deps):
            for operation_id in driven:
                await operations.resolve(deps, operation_id)
        asked = [method for method, _ in world.provider.calls]
        gate.set()
        answer = await confirming
        await other.store.close()

        assert len(driven) == 1
        assert asked == ["prepare", "execute"]
        assert answer["payment"].state == PaymentState.CAPTURED
        await require_same_books(world, 24_000)


async def test_nothing_is_repeated_once_the_provider_may_have_forgotten_the_key(world: World) -> None:
    payment_id = await paid(world)
    world.provider.replies.append(LOST_REQUEST)
    world.provider.unseen = 99
    refund_id = (await world.refund(payment_id, 8_000, seconds=0.3))["refund"].id
    seconds = world.provider.capabilities.key_ttl_seconds[OperationKind.REFUND]

    await world.work(0.85 * seconds)

    found = await world.deps.store.read(lambda tx: tx.load(REFUNDS.get(refund_id)))
    assert found is not None
    assert found.state == RefundState.FAILED
    assert await sends(world, refund_id) == [("REFUND", "NOT_SENT", 1)]
    await require_same_books(world, 24_000)


async def test_what_is_in_doubt_is_not_free_to_be_given_back_again(world: World) -> None:
    payment_id = await paid(world)
    world.provider.replies.append(LOST_REPLY)
    await world.refund(payment_id, 20_000, seconds=0.3)

    refusal = await refused(world, payment_id, 4_001)
    await world.refund(payment_id, 4_000)
    await world.work(6)

    assert refusal.reason == Reason.REFUND_EXCEEDS_CAPTURE
    assert refusal.metadata == {"available": "4000", "given": "4001"}
    assert await refund_states(world, payment_id) == [("PARTNER", "SUCCEEDED", 20_000), ("PARTNER", "SUCCEEDED", 4_000)]
    await require_same_books(world, 0)


@pytest.mark.parametrize("minor_units", [0, -1, -24_000])
async def test_a_refund_of_nothing_or_less_is_refused_and_nothing_moves(world: World, minor_units: int) -> None:
    payment_id = await paid(world)
    payment = await world.now_payment(payment_id)

    refusal = await refused(world, payment_id, minor_units)

    assert refusal.reason == Reason.FIELD_INVALID
    assert [violation.field for violation in refusal.violations] == ["amount.minor_units"]
    assert await world.now_payment(payment_id) == payment
    await require_same_books(world, 24_000)


async def test_a_refund_of_more_than_is_left_is_refused_and_nothing_moves(world: World) -> None:
    payment_id = await paid(world)
    await world.refund(payment_id, 10_000)
    payment = await world.now_payment(payment_id)

    refusal = await refused(world, payment_id, 14_001)

    assert refusal.metadata == {"available": "14000", "given": "14001"}
    assert await world.now_payment(payment_id) == payment
    assert replace(payment, refunded=10_000, refunding=0) == payment
    await require_same_books(world, 14_000)


async def refused(world: World, payment_id: str, minor_units: int) -> Refused:
    """Why money is not given back."""
    with pytest.raises(Refused) as refusal:
        await world.refund(payment_id, minor_units)
    return refusal.value
