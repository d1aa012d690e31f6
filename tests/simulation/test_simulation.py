"""The real server in simulated worlds: whatever a seed lets go wrong, nothing is lost, doubled or told twice.

It begins with servers that are wrong on purpose: the simulator must find each of them. A seed that fails is repeated by
`python -m tests.simulation SEED --shrink`.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from comptoir_server.app import (
    access,
    charges,
    credentials,
    event_log,
    event_reading,
    event_streams,
    evidence,
    once,
    operations,
    payments,
    refunding,
    settlement,
    webhooks,
)
from comptoir_server.app.ports import OperationKind, Outcome, OutcomeKind
from comptoir_server.providers.paypal import PaypalProvider, provider, requests
from comptoir_server.providers.paypal.capabilities import paypal_capabilities
from comptoir_server.runtime import MICROSECONDS
from comptoir_server.store.reads import due
from comptoir_server.store.tables import OPERATIONS
from tests.simulation.batch import Batch, run_seeds
from tests.simulation.plan import plan_of
from tests.simulation.run import collect, run_plan
from tests.simulation.shrink import kind_of, shrink

WORLDS = int(os.environ.get("SIMULATED_WORLDS", "1000"))
CHUNK = 50
CHUNKS = range(WORLDS // CHUNK)

FOUND_WITHIN = 300
"""So many seeds must be enough to find a planted defect. Most are found in the first ten; that what was lost counts as
never sent shows in one world of sixty, where nothing that came later mended it."""

REPEATED = (3, 9, 14, 33)
HITS_MIN = 50
"""How often each fault point must be reached in a thousand worlds."""

POINTS = {
    "begin.committed", "charge.unsent", "charge.sent", "charge.answered", "capture.unsent", "capture.sent",
    "capture.answered", "void.unsent", "void.sent", "void.answered", "refund.unsent", "refund.sent", "refund.answered",
    "settle.committed", "answer.unsent", "link.exchanged", "webhook.stored", "webhook.processed", "events.flushed",
    "batch.flushed", "batch.committed",
}  # fmt: skip

REPOSITORY = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
"""A killed process awaits nothing."""


@pytest.fixture(scope="module", autouse=True)
def _cleared_away() -> Iterator[None]:
    """What killed processes left behind is cleared away here, not at the end of all tests."""
    yield
    collect()


# --- Servers that are wrong on purpose ---------------------------------------------------------------


def another_key_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every send has a key of its own."""
    sends = Counter[str]()
    made = requests.request_id

    def request_id(key: str, step: str) -> str:
        sends[key] += 1
        return made(key, f"{step}.{sends[key]}")

    monkeypatch.setattr(requests, "request_id", request_id)


def doubt_is_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was lost on its way counts as never sent."""
    execute = PaypalProvider.execute

    async def sure(self: PaypalProvider, instruction: Any) -> Outcome:
        outcome = await execute(self, instruction)
        return replace(outcome, kind=OutcomeKind.NOT_SENT) if outcome.kind is OutcomeKind.IN_DOUBT else outcome

    monkeypatch.setattr(PaypalProvider, "execute", sure)


def the_end_is_not_guarded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Evidence about what has ended is acted upon again."""
    monkeypatch.setattr(settlement, "LATE", {**settlement.LATE, OperationKind.CHARGE: charges.succeeded})

    async def again(case: Any, kind: OperationKind) -> None:
        if (kind, case.outcome.kind) in settlement.FINAL:
            await settlement.FINAL[kind, case.outcome.kind](case)

    monkeypatch.setattr(settlement, "_after_the_end", again)


def answers_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """The final answer of what was waited for is not stored."""

    async def nothing(*_arguments: Any) -> None:
        pass

    monkeypatch.setattr(evidence, "answer_waiting", nothing)


def owners_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A payment is everybody's."""

    def anybody(_call: Any, found: Any) -> Any:
        return found if found is not None else access.owned(_call, found)

    monkeypatch.setattr(payments, "owned", anybody)


def events_are_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page of events now and then says that it reaches further than it does."""
    find = event_reading.find

    async def further(deps: Any, call: Any, wanted: Any) -> Any:
        found = await find(deps, call, wanted)
        return replace(found, until=found.until + 1) if len(found.events) == wanted.limit else found

    monkeypatch.setattr(event_log, "find", further)
    monkeypatch.setattr(event_streams, "find", further)


def leases_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any server drives any operation at any time."""
    due_operations, claim = due.operations, operations._claim

    async def early(tx: Any, now: int, limit: int) -> Any:
        return await due_operations(tx, now + 3600 * MICROSECONDS, limit)

    async def taken(deps: Any, tx: Any, operation_id: str) -> Any:
        found = await tx.load(OPERATIONS.lock(operation_id))
        if found is not None:
            tx.put(replace(found, lease_until=0))
        return await claim(deps, tx, operation_id)

    monkeypatch.setattr(due, "operations", early)
    monkeypatch.setattr(operations, "_claim", taken)


def absence_is_proof_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a look-up does not find counts as never sent, though it may still be on its way."""
    capabilities = paypal_capabilities

    def hasty(call_limit_seconds: float, _settle_seconds: int) -> Any:
        return capabilities(call_limit_seconds, -1_000)

    monkeypatch.setattr(provider, "paypal_capabilities", hasty)


def webhooks_are_acknowledged_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """A webhook is stored after it was acknowledged."""
    receive = webhooks.receive

    async def later(deps: Any, name: str, notice: Any) -> None:
        deps.runtime.spawn(receive(deps, name, notice), "webhook")

    monkeypatch.setattr(webhooks, "receive", later)


def revoked_keys_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that was ended still opens."""
    monkeypatch.setattr(credentials, "_require_working", lambda key, _now: key)


def refunds_are_not_reserved(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refund that is under way does not count against what can be given back."""
    reserve = refunding.reserve

    def unreserved(deps: Any, tx: Any, payment: Any, capture: Any, *rest: Any, **more: Any) -> Any:
        made = reserve(deps, tx, payment, capture, *rest, **more)
        tx.put(payment)
        tx.put(capture)
        return made

    monkeypatch.setattr(payments, "reserve", unreserved)


def requests_are_not_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    """A repeated request is a new one."""
    new_request = once.new_request
    numbers = Counter[str]()

    def renamed(tx: Any, call: Any, object_id: str, answer: Any) -> Any:
        numbers[call.request_key] += 1
        made = new_request(tx, call, object_id, answer)
        return replace(made, key=f"{made.key}~{numbers[call.request_key]}")

    monkeypatch.setattr(once, "new_request", renamed)


DEFECTS: list[Callable[[pytest.MonkeyPatch], None]] = [
    another_key_each_time,
    doubt_is_failure,
    the_end_is_not_guarded,
    answers_are_forgotten,
    owners_are_not_asked,
    events_are_passed_over,
    requests_are_not_joined,
    leases_are_ignored,
    absence_is_proof_at_once,
    webhooks_are_acknowledged_first,
    revoked_keys_work,
    refunds_are_not_reserved,
]


def first_failure(seeds: range) -> tuple[int, list[str]] | None:
    """The first seed whose world is wrong, and how."""
    for seed in seeds:
        violations = run_plan(plan_of(seed)).violations
        if violations:
            return seed, violations
    return None


@pytest.mark.timeout(300)
@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.__name__)
def test_a_server_that_is_wrong_on_purpose_is_found(
    monkeypatch: pytest.MonkeyPatch, defect: Callable[[pytest.MonkeyPatch], None]
) -> None:
    defect(monkeypatch)

    found = first_failure(range(FOUND_WITHIN))

    assert found is not None, f"{defect.__doc__} was not found in {FOUND_WITHIN} worlds"
    print(f"{defect.__name__}: found at seed {found[0]}: {found[1][0]}")


# --- Worlds ------------------------------------------------------------------------------------------


@functools.cache
def chunk(number: int) -> Batch:
    """A part of the worlds, run once."""
    return run_seeds(range(number * CHUNK, (number + 1) * CHUNK))


@pytest.mark.timeout(600)
@pytest.mark.parametrize("number", CHUNKS)
def test_whatever_goes_wrong_nothing_is_lost_doubled_or_contradicted(number: int) -> None:
    assert chunk(number).violations == []


@pytest.mark.timeout(1800)
def test_every_fault_point_was_reached_and_struck_often_enough() -> None:
    total = Batch()
    for number in CHUNKS:
        total.hits += chunk(number).hits
        total.crashes += chunk(number).crashes
    wanted = HITS_MIN * WORLDS // 1_000
    print(f"{WORLDS} worlds, {total.crashes.total()} crashes: {dict(sorted(total.crashes.items()))}")
    print(f"fault points: {dict(sorted(total.hits.items()))}")
    assert {point for point in POINTS if total.hits[point] < wanted} == set()
    assert total.crashes.total() >= 5 * WORLDS


# --- The same seed -----------------------------------------------------------------------------------


def traces(*seeds: int) -> list[str]:
    """The trace of each seed's world."""
    return [run_plan(plan_of(seed)).trace for seed in seeds]


def test_the_same_seed_is_the_same_world_also_in_a_process_with_other_hashes() -> None:
    here = traces(*REPEATED)
    script = f"from tests.simulation.test_simulation import traces; print(traces{REPEATED})"
    said = subprocess.run(
        [sys.executable, "-c", script],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONHASHSEED": "4711"},
        capture_output=True,
        text=True,
        check=True,
    )

    assert traces(*REPEATED) == here
    assert said.stdout.strip() == repr(here)
    assert len(set(here)) == len(REPEATED)


@pytest.mark.timeout(300)
def test_a_failing_world_is_made_smaller_and_fails_in_the_same_way(monkeypatch: pytest.MonkeyPatch) -> None:
    answers_are_forgotten(monkeypatch)
    found = first_failure(range(FOUND_WITHIN))
    assert found is not None
    seed, violations = found
    plan, kind = plan_of(seed), kind_of(violations[0])

    dropped = shrink(plan, kind, lambda smaller: run_plan(smaller).violations, runs_max=40)

    smaller = plan.without(dropped)
    assert len(smaller.parts) < len(plan.parts)
    assert kind in {kind_of(violation) for violation in run_plan(smaller).violations}
