"""The PayPal connector when the wire fails: lost requests and answers, wrong ones, forgotten keys, tokens, throttling.

Whatever happens, the money moves once, the connector never says more than it knows, and a look-up decides.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import pytest_asyncio

from comptoir_server.app.ports import (
    OperationKind,
    OutcomeKind,
)
from comptoir_server.standins.paypal import make_signer
from comptoir_server.standins.paypal.signing import Signer
from tests.support.paypal_world import (
    CAPTURE,
    CHARGE,
    DONE,
    EFFECT,
    EXECUTING,
    MINUTE,
    NOW,
    REFUND,
    VOID,
    World,
    open_world,
)


@pytest.fixture(scope="module")
def signer() -> Signer:
    return make_signer(NOW)


@pytest_asyncio.fixture
async def world(signer: Signer) -> AsyncIterator[World]:
    async for made in open_world(signer):
        yield made


@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        (kind, fault)
        for kind in OperationKind
        for fault in ("lost_answer", "error_after", "garbage", "half_body", "wrong_amount", "wrong_currency")
        if kind is not VOID or not fault.startswith("wrong")  # a void moves no amount
    ],
)
async def test_an_answer_that_is_lost_or_wrong_leaves_doubt_and_a_look_up_finds_it_done(
    world: World, kind: OperationKind, fault: str
) -> None:
    instruction = await world.prepared(kind)
    before = await world.effects()
    await world.fault(EXECUTING[kind], fault)
    assert (await world.provider.execute(instruction)).kind is OutcomeKind.IN_DOUBT
    await world.control("POST", "forget", what="keys")
    outcome = await world.provider.look_up(instruction)
    assert outcome.kind is DONE[kind]
    assert outcome.amount == (None if kind is VOID else 1250)
    assert await world.effects() == [*before, (EFFECT[kind], 1250)]


@pytest.mark.parametrize("kind", list(OperationKind))
@pytest.mark.parametrize("fault", ["lost_request", "error_before"])
async def test_a_request_that_is_lost_leaves_doubt_and_a_look_up_finds_it_absent(
    world: World, kind: OperationKind, fault: str
) -> None:
    instruction = await world.prepared(kind)
    before = await world.effects()
    await world.fault(EXECUTING[kind], fault)
    assert (await world.provider.execute(instruction)).kind is OutcomeKind.IN_DOUBT
    assert (await world.provider.look_up(instruction)).kind is OutcomeKind.ABSENT
    assert await world.effects() == before
    assert (await world.provider.execute(instruction)).kind is DONE[kind]
    assert await world.effects() == [*before, (EFFECT[kind], 1250)]


@pytest.mark.parametrize("kind", list(OperationKind))
async def test_the_same_call_after_a_lost_answer_is_done_once(world: World, kind: OperationKind) -> None:
    instruction = await world.prepared(kind)
    before = await world.effects()
    await world.fault(EXECUTING[kind], "lost_answer")
    assert (await world.provider.execute(instruction)).kind is OutcomeKind.IN_DOUBT
    assert (await world.provider.execute(instruction)).kind is DONE[kind]
    assert await world.effects() == [*before, (EFFECT[kind], 1250)]


@pytest.mark.parametrize("kind", list(OperationKind))
async def test_the_same_call_after_paypal_forgot_the_key_is_decided_by_reading_and_done_once(
    world: World, kind: OperationKind
) -> None:
    instruction = await world.prepared(kind)
    before = await world.effects()
    await world.fault(EXECUTING[kind], "lost_answer")
    assert (await world.provider.execute(instruction)).kind is OutcomeKind.IN_DOUBT
    await world.control("POST", "forget", what="keys")
    outcome = await world.provider.execute(instruction)
    assert outcome.kind is DONE[kind]
    assert outcome.provider_code in {
        "ORDER_ALREADY_CAPTURED",
        "ORDER_ALREADY_AUTHORIZED",
        "AUTHORIZATION_ALREADY_CAPTURED",
        "PREVIOUSLY_VOIDED",
        "CAPTURE_FULLY_REFUNDED",
    }
    assert await world.effects() == [*before, (EFFECT[kind], 1250)]


async def test_a_partial_refund_after_paypal_forgot_the_key_is_done_once(world: World) -> None:
    instruction = await world.prepared(REFUND, amount=500)
    await world.fault("captures.refund", "lost_answer")
    assert (await world.provider.execute(instruction)).kind is OutcomeKind.IN_DOUBT
    await world.control("POST", "forget", what="keys")
    outcome = await world.provider.execute(instruction)
    assert (outcome.kind, outcome.provider_code) == (OutcomeKind.REFUNDED, "DUPLICATE_INVOICE_ID")
    assert await world.effects() == [("capture", 1250), ("refund", 500)]


@pytest.mark.parametrize("kind", [CAPTURE, REFUND])
async def test_a_look_up_without_the_order_finds_it_through_what_was_acted_upon(
    world: World, kind: OperationKind
) -> None:
    instruction = await world.prepared(kind, order_reference="")
    assert (await world.provider.look_up(instruction)).kind is OutcomeKind.ABSENT
    assert (await world.provider.execute(instruction)).kind is DONE[kind]
    assert (await world.provider.look_up(instruction)).kind is DONE[kind]


async def test_an_order_that_paypal_forgot_proves_nothing(world: World) -> None:
    instruction = await world.prepared(CHARGE)
    world.at(NOW + 4 * 60 * MINUTE)
    outcome = await world.provider.look_up(instruction)
    assert (outcome.kind, outcome.provider_code) == (OutcomeKind.IN_DOUBT, "LOOK_UP_404")


async def test_a_call_while_the_first_still_runs_leaves_doubt(world: World) -> None:
    instruction = await world.prepared(REFUND)
    world.clock.sleep = _no_sleep  # type: ignore[method-assign]
    await world.fault("captures.refund", "latency", seconds=30)
    assert (await world.provider.execute(instruction)).kind is OutcomeKind.REFUNDED
    outcome = await world.provider.execute(replace(instruction, key="key_3", object_id="ref_2"))
    assert (outcome.kind, outcome.provider_code) == (OutcomeKind.IN_DOUBT, "PREVIOUS_REQUEST_IN_PROGRESS")
    assert await world.effects() == [("capture", 1250), ("refund", 1250)]


async def _no_sleep(seconds: float) -> None:
    """The stand-in answers at once, and its clock stands still."""


@pytest.mark.parametrize("kind", list(OperationKind))
async def test_an_access_token_that_expired_is_renewed_and_the_call_made_once(
    world: World, kind: OperationKind
) -> None:
    instruction = await world.prepared(kind)
    before = await world.effects()
    await world.control("POST", "forget", what="access_tokens")
    assert (await world.provider.execute(instruction)).kind is DONE[kind]
    assert await world.effects() == [*before, (EFFECT[kind], 1250)]


async def test_a_token_that_is_always_refused_means_that_nothing_was_executed(world: World) -> None:
    instruction = await world.prepared(CHARGE)
    await world.fault("orders.capture", "expired_token", times=0)
    assert (await world.provider.execute(instruction)).kind is OutcomeKind.NOT_SENT
    assert await world.effects() == []


@pytest.mark.parametrize("operation", ["orders.capture", "oauth2.token"])
async def test_too_many_requests_are_not_processed_and_may_be_made_again(world: World, operation: str) -> None:
    instruction = await world.prepared(CHARGE)
    await world.control("POST", "forget", what="access_tokens")
    await world.fault(operation, "throttled")
    assert (await world.provider.execute(instruction)).kind is OutcomeKind.THROTTLED
    assert await world.effects() == []
    assert (await world.provider.execute(instruction)).kind is OutcomeKind.CAPTURED
    assert await world.effects() == [("capture", 1250)]


async def test_an_answer_that_never_comes_leaves_doubt(signer: Signer) -> None:
    async for world in open_world(signer, call_limit_seconds=0.5):
        instruction = await world.prepared(CHARGE)
        await world.fault("orders.capture", "hung")
        assert (await world.provider.execute(instruction)).kind is OutcomeKind.IN_DOUBT
        assert (await world.provider.look_up(instruction)).kind is OutcomeKind.CAPTURED
        assert await world.effects() == [("capture", 1250)]
