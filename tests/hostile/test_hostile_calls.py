"""No call, however wrong, gets anything but an answer or a documented refusal, and none that is refused moves anything.

Begins with handlers that are wrong on purpose: each must be noticed, shrunk and shown with what repeats it.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from google.rpc import error_details_pb2, status_pb2

from comptoir_server import log
from comptoir_server.app.deps import Deps
from comptoir_server.domain.errors import Reason, Refused, invalid_field
from comptoir_server.store.tx import Tx
from comptoir_server.transport.failures import Failed, _packed
from tests.hostile import corpus, judge, wire
from tests.hostile.campaign import Campaign, attempt, before, replay, shrunk
from tests.hostile.inputs import Input, valid
from tests.hostile.judge import Outcome, complaints
from tests.hostile.place import SEED, Place, open_place
from tests.support.door import METHODS

CALLS = 1_000
"""How many hostile calls each method gets."""

GIVEN = Input("GetCheckout", [], (b"",))

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(autouse=True)
def quiet() -> None:
    """A log line a refused call would be tens of thousands."""
    log.set_up(level="critical", stream=sys.stderr)  # without a cache: others in this process log anew


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    async with open_place(tmp_path, SEED) as opened:
        yield opened


async def found(place: Place, method: str, wrong: Callable[[Callable[..., Any]], Callable[..., Any]]) -> list[str]:
    """What a hundred hostile calls of a spoiled method bring to light."""
    campaign = Campaign(place, SEED)
    await campaign.settle_in()
    place.spoil(method, wrong)
    return sorted({finding.entry.why for finding in await campaign.method(method, 100)})


# Known to be wrong.


async def test_a_use_case_that_raises_is_noticed_and_shown_as_small_as_it_can_be(place: Place) -> None:
    def raising(function: Callable[..., Any]) -> Callable[..., Any]:
        async def fail_for_some(deps: Deps, call: Any, **arguments: Any) -> Any:
            if not arguments["display_name"].replace(" ", "").isalnum():
                raise KeyError(arguments["display_name"])
            return await function(deps, call, **arguments)

        return fail_for_some

    campaign = Campaign(place, SEED)
    await campaign.settle_in()
    place.spoil("CreatePartner", raising)
    findings = await campaign.method("CreatePartner", 1_000)
    entry = await shrunk(place, findings[0])

    assert {finding.entry.why for finding in findings} == {"the reason is INTERNAL"}
    assert findings[0].command in str(findings[0])
    assert entry is not None
    [smallest] = entry.given.requests
    fields = wire.parse(smallest)
    assert fields is not None
    assert [(field.number, len(field.payload.decode())) for field in fields] == [(1, 1), (2, 1)]
    assert await replay(place, entry) == ["the reason is INTERNAL"]


async def test_a_refusal_after_something_was_written_is_noticed(place: Place) -> None:
    def writing(function: Callable[..., Any]) -> Callable[..., Any]:
        async def write_and_refuse(deps: Deps, call: Any, **arguments: Any) -> Any:
            await function(deps, call, **arguments)
            raise Refused(Reason.INVALID_STATE, "It was done all the same.")

        return write_and_refuse

    assert await found(place, "CreateBot", writing) == ["INVALID_STATE, and yet something was committed"]


async def test_a_read_that_writes_is_noticed(place: Place) -> None:
    def writing(function: Callable[..., Any]) -> Callable[..., Any]:
        async def write(deps: Deps, call: Any, **arguments: Any) -> Any:
            async def work(tx: Tx) -> None:
                tx.put(replace(place.world.channel, id=tx.new_id("chn")))

            await deps.store.write(work)
            return await function(deps, call, **arguments)

        return write

    place.spoil("GetBot", writing)
    step = await before(place, "GetBot")

    assert complaints(valid(step, place), await attempt(place, valid(step, place))) == [
        "it only reads, and something was committed"
    ]


async def test_a_call_that_computes_for_ever_is_interrupted_and_noticed(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def computing(_function: Callable[..., Any]) -> Callable[..., Any]:
        async def compute(deps: Deps, call: Any, **arguments: Any) -> Any:
            while True:
                sum(range(1_000))

        return compute

    place.spoil("GetBotProfile", computing)
    step = await before(place, "GetBotProfile")
    monkeypatch.setattr(judge, "CPU_SECONDS", 0.1)
    outcome = await attempt(place, valid(step, place))

    assert complaints(GIVEN, outcome)[0] == f"it computed for {outcome.cpu_seconds:.1f} s"
    assert outcome.name == "_TooMuchWork"


async def test_a_call_that_never_ends_is_noticed(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def hanging(_function: Callable[..., Any]) -> Callable[..., Any]:
        async def hang(deps: Deps, call: Any, **arguments: Any) -> Any:
            await asyncio.Event().wait()

        return hang

    place.spoil("GetBotProfile", hanging)
    step = await before(place, "GetBotProfile")
    monkeypatch.setattr(judge, "CALL_SECONDS", 0.5)

    assert complaints(GIVEN, await attempt(place, valid(step, place))) == ["it did not end within 0.5 s"]


def refused(refusal: Refused, code: int = 3, **changes: Any) -> Failed:
    """A failure as the door makes it, with something about it changed."""
    info = error_details_pb2.ErrorInfo(reason=refusal.reason.value, domain="comptoir.dev", metadata=refusal.metadata)
    fields = [
        error_details_pb2.BadRequest.FieldViolation(field=each.field, description=each.description)
        for each in refusal.violations
    ]
    packed = [_packed(info), *([_packed(error_details_pb2.BadRequest(field_violations=fields))] if fields else [])]
    status = status_pb2.Status(code=code, message=refusal.message, details=packed)
    return Failed(code, changes.get("message", refusal.message), refusal.reason, status.SerializeToString())


@pytest.mark.parametrize(
    ("error", "complaint"),
    [
        (ValueError("secret-dsn"), "ValueError came out of the door: secret-dsn"),
        (Failed(2, "boom"), "the reason UNIMPLEMENTED is not documented"),
        (refused(invalid_field("checkout_id", "is wrong."), code=9), "FIELD_INVALID came with the code 9 or 9, not 3"),
        (refused(invalid_field("checkout", "is wrong.")), "a violation names 'checkout', which is no field"),
        (refused(Refused(Reason.NOT_FOUND, "x" * 9_000), code=5), "would be lost on its way"),
        (refused(Refused(Reason.NOT_FOUND, "No.", id="7"), code=5), "NOT_FOUND has undocumented metadata: ['id']"),
        (refused(Refused(Reason.OVERLOADED, "No."), code=8), "OVERLOADED does not say how long to wait"),
        (refused(Refused(Reason.NOT_FOUND, "cmp_test_1 is no key"), code=5), "the refusal repeats a credential"),
        (refused(Refused(Reason.NOT_FOUND, "No."), code=5, message="Yes."), "the two messages differ"),
    ],
)
def test_whatever_is_wrong_with_a_refusal_is_noticed(error: BaseException, complaint: str) -> None:
    [found] = complaints(GIVEN, Outcome(error=error), frozenset({"cmp_test_1"}))

    assert complaint in found


async def test_a_session_that_what_was_refused_has_disturbed_is_noticed(place: Place) -> None:
    def forgetful(function: Callable[..., Any]) -> Callable[..., Any]:
        async def refuse_from_the_second_on(deps: Deps, call: Any, **arguments: Any) -> Any:
            seen.append(arguments["bot_id"])
            if len(seen) > 1:
                raise Refused(Reason.NOT_FOUND, "There is no such object.")
            return await function(deps, call, **arguments)

        return refuse_from_the_second_on

    seen: list[str] = []
    complaint = "the session was disturbed by what was refused: NOT_FOUND"

    assert complaint in await found(place, "GetBot", forgetful)


# What is sent.


async def test_a_session_takes_a_step_for_every_method_of_the_contract(place: Place) -> None:
    campaign = Campaign(place, SEED)

    await campaign.settle_in()

    assert campaign.taken == METHODS.keys()


@pytest.mark.parametrize("path", corpus.entries(), ids=lambda path: path.stem)
async def test_what_was_wrong_once_is_right(place: Place, path: Path) -> None:
    campaign = Campaign(place, SEED)
    await campaign.settle_in()

    assert await replay(place, corpus.read(path)) == []


@pytest.mark.parametrize("service", sorted({method.service for method in METHODS.values()}))
async def test_hostile_calls_of_every_method_are_answered_or_refused_as_documented(place: Place, service: str) -> None:
    campaign = Campaign(place, SEED)
    await campaign.settle_in()
    for method in METHODS.values():
        if method.service == service:
            await campaign.method(method.name, CALLS)

    tally = campaign.tally
    assert [str(finding) for finding in tally.findings] == []
    assert place.problems() == []
    assert all(tally.of(name) >= CALLS for name in tally.outcomes)
    assert all(len(outcomes) > 2 and "OK" in outcomes for outcomes in tally.outcomes.values()), tally.outcomes
