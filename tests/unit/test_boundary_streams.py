"""Streams end with their credential, with the server, or with what they say: always with a failure of the contract."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from google.rpc import error_details_pb2

from comptoir.v1 import event_pb2, session_pb2
from comptoir_server.app import credentials
from comptoir_server.domain.errors import not_found
from comptoir_server.domain.partners import KeyState
from comptoir_server.transport import boundary
from comptoir_server.transport.capacity import Limits
from comptoir_server.transport.failures import UNIMPLEMENTED
from comptoir_server.transport.feed import BUFFERED
from tests.support.door import (
    METHODS,
    Ack,
    Subscribe,
    World,
    absent_id,
    detail,
    failure_of,
    metadata_of,
    open_world,
    reason_of,
)

EVENTS = METHODS["StreamEvents"].path
MESSAGES = METHODS["StreamMessages"].path
FOLLOW = session_pb2.StreamMessagesRequest(session_id=absent_id("ses")).SerializeToString()
SUBSCRIBE = event_pb2.StreamEventsRequest(subscribe=event_pb2.Subscribe(consumer="bot")).SerializeToString()
ACK = event_pb2.StreamEventsRequest(ack=event_pb2.Ack(cursor="c1")).SerializeToString()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    opened = await open_world(tmp_path)
    yield opened
    await opened.clock.drain(5)
    await opened.deps.store.close()


async def requests(*raws: bytes) -> AsyncIterator[bytes]:
    for raw in raws:
        yield raw


async def silent(deps: object, call: object, *given: object, **arguments: object) -> AsyncIterator[dict[str, Any]]:
    """A stream that never says anything."""
    await asyncio.Event().wait()
    yield {}


async def echo(deps: object, call: object, given: AsyncIterator[Any]) -> AsyncIterator[dict[str, Any]]:
    """A stream that acknowledges what it hears."""
    async for request in given:
        yield {"acked": {"cursor": request.consumer if isinstance(request, Subscribe) else request.cursor}}


def failing(error: Exception) -> Any:
    async def script(deps: object, call: object, **arguments: object) -> AsyncIterator[dict[str, Any]]:
        yield {}
        raise error

    return script


def follow(world: World, secret: str) -> AsyncGenerator[bytes, None]:
    return world.boundary.stream(MESSAGES, metadata_of(secret), FOLLOW, None)


async def collected(stream: AsyncIterator[bytes], into: list[bytes]) -> None:
    async for raw in stream:
        into.append(raw)  # noqa: PERF401 - what came before a failure is kept


async def failure(stream: AsyncIterator[bytes]) -> Any:
    return await failure_of(collected(stream, []))


async def test_malformed_and_wrong_requests_never_open_a_stream(world: World) -> None:
    for raw in (b"\x0a\xff", b"\x0a\x02\xff\xfe", b"\xff" * 9):
        failed = await failure(world.boundary.stream(MESSAGES, metadata_of(world.partner_secret), raw, None))
        assert (failed.code, reason_of(failed)) == (3, "FIELD_INVALID")
    failed = await failure(world.boundary.stream(MESSAGES, metadata_of(world.partner_secret), b"", None))
    assert detail(failed, error_details_pb2.ErrorInfo).metadata["field"] == "session_id"


async def test_a_stream_needs_a_credential_that_may_open_it(world: World) -> None:
    assert reason_of(await failure(world.boundary.stream(MESSAGES, [], FOLLOW, None))) == "CREDENTIAL_INVALID"
    assert reason_of(await failure(follow(world, world.operator_secret))) == "SCOPE_MISSING"


async def test_a_unary_method_is_no_stream(world: World) -> None:
    failed = await failure(world.boundary.stream(METHODS["GetCheckout"].path, [], b"", None))

    assert failed.code == UNIMPLEMENTED


async def test_what_a_client_says_on_a_stream_reaches_the_use_case_checked(world: World) -> None:
    heard: list[Any] = []

    async def listen(deps: object, call: object, given: AsyncIterator[Any]) -> AsyncIterator[dict[str, Any]]:
        async for request in given:
            heard.append(request)
            yield {"ping": {}}

    world.scripts["StreamEvents"] = listen
    answers: list[bytes] = []

    stream = world.boundary.stream(EVENTS, metadata_of(world.partner_secret), requests(SUBSCRIBE, ACK), None)
    await collected(stream, answers)

    assert heard == [Subscribe("bot", "", 0), Ack("c1")]
    assert [event_pb2.StreamEventsResponse.FromString(raw).WhichOneof("kind") for raw in answers] == ["ping", "ping"]


@pytest.mark.parametrize(
    "wrong", [b"\x0a\xff", b"", event_pb2.StreamEventsRequest(ack=event_pb2.Ack()).SerializeToString()]
)
async def test_a_wrong_request_ends_the_stream_after_what_was_right(world: World, wrong: bytes) -> None:
    world.scripts["StreamEvents"] = echo
    answers: list[bytes] = []

    stream = world.boundary.stream(EVENTS, metadata_of(world.partner_secret), requests(SUBSCRIBE, wrong, ACK), None)
    failed = await failure_of(collected(stream, answers))

    assert (len(answers), failed.code, reason_of(failed)) == (1, 3, "FIELD_INVALID")


async def test_a_stream_that_is_refused_on_its_way_ends_with_the_refusal(world: World) -> None:
    world.scripts["StreamMessages"] = failing(not_found())
    answers: list[bytes] = []

    failed = await failure_of(collected(follow(world, world.partner_secret), answers))

    assert (len(answers), reason_of(failed)) == (1, "NOT_FOUND")


async def test_what_nobody_foresaw_in_a_stream_stays_inside(world: World) -> None:
    world.scripts["StreamMessages"] = failing(RuntimeError("hunter2"))

    failed = await failure(follow(world, world.partner_secret))

    assert (failed.code, reason_of(failed)) == (13, "INTERNAL")
    assert b"hunter2" not in failed.status


async def test_revoking_a_key_ends_its_open_streams_within_five_seconds(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert boundary.RECHECK_SECONDS < 5
    monkeypatch.setattr(boundary, "RECHECK_SECONDS", 0.05)
    world.scripts["StreamMessages"] = silent
    secret, key = await world.new_key(world.partner.id)
    stream = asyncio.create_task(failure(follow(world, secret)))
    await asyncio.sleep(0.12)
    assert not stream.done()

    await world.put(replace(key, state=KeyState.REVOKED))

    assert reason_of(await asyncio.wait_for(stream, 10)) == "CREDENTIAL_INVALID"


async def test_nothing_is_kept_of_whose_streams_are_over(world: World) -> None:
    async def brief(deps: object, call: object, **arguments: object) -> AsyncIterator[dict[str, Any]]:
        for nothing in list[dict[str, Any]]():
            yield nothing

    world.scripts["StreamMessages"] = brief
    for _ in range(2):
        async for _ in follow(world, world.partner_secret):
            pass

    assert not world.boundary._streams
    assert not world.boundary._feeds


async def test_a_busy_stream_is_looked_at_too_before_it_says_more(world: World) -> None:
    async def chatty(deps: object, call: object, **arguments: object) -> AsyncIterator[dict[str, Any]]:
        while True:
            yield {}

    world.scripts["StreamMessages"] = chatty
    secret, key = await world.new_key(world.partner.id)
    stream = follow(world, secret)
    assert await anext(stream) == b""

    await world.put(replace(key, state=KeyState.REVOKED))
    world.clock.ahead_seconds = 5

    assert reason_of(await failure_of(anext(stream))) == "CREDENTIAL_INVALID"


async def test_a_stream_ends_when_its_token_does(world: World) -> None:
    world.scripts["StreamMessages"] = silent
    token, _ = credentials.issue_token(world.deps, world.user)
    stream = asyncio.create_task(failure(follow(world, token)))
    await asyncio.sleep(0.01)
    assert not stream.done()
    stream.cancel()

    world.clock.ahead_seconds = 901

    assert reason_of(await failure(follow(world, token))) == "CREDENTIAL_EXPIRED"


async def test_draining_ends_streams_after_what_they_have_said(world: World) -> None:
    async def two(deps: object, call: object, **arguments: object) -> AsyncIterator[dict[str, Any]]:
        yield {}
        yield {}
        await asyncio.Event().wait()

    world.scripts["StreamMessages"] = two
    answers: list[bytes] = []
    stream = asyncio.create_task(failure_of(collected(follow(world, world.partner_secret), answers)))
    while len(answers) < 2:
        await asyncio.sleep(0.001)

    assert await world.boundary.drain(10) == 0

    failed = await asyncio.wait_for(stream, 10)
    assert (failed.code, reason_of(failed)) == (14, "DRAINING")
    assert reason_of(await failure(follow(world, world.partner_secret))) == "DRAINING"


async def test_a_stream_that_its_reader_leaves_stops_its_use_case(world: World) -> None:
    stopped = asyncio.Event()

    async def watched(deps: object, call: object, **arguments: object) -> AsyncIterator[dict[str, Any]]:
        try:
            yield {}
            await asyncio.Event().wait()
        finally:
            stopped.set()

    world.scripts["StreamMessages"] = watched
    stream = follow(world, world.partner_secret)
    await anext(stream)

    await stream.aclose()

    assert stopped.is_set()


async def test_a_slow_reader_holds_its_own_use_case_up_and_nobody_elses(world: World) -> None:
    made = 0

    async def eager(deps: object, call: object, **arguments: object) -> AsyncIterator[dict[str, Any]]:
        nonlocal made
        while True:
            made += 1
            yield {}

    world.scripts["StreamMessages"] = eager
    stream = follow(world, world.partner_secret)
    await anext(stream)
    for _ in range(100):
        await asyncio.sleep(0)

    assert made <= BUFFERED + 2
    await stream.aclose()


async def test_one_caller_has_a_bounded_number_of_streams_and_others_are_not_held_up(world: World) -> None:
    world.rebuild(Limits(streams_of_one_caller=2))
    world.scripts["StreamMessages"] = silent
    token, _ = credentials.issue_token(world.deps, world.user)
    opened = [asyncio.create_task(failure(follow(world, world.partner_secret))) for _ in range(2)]
    opened.append(asyncio.create_task(failure(follow(world, token))))
    await asyncio.sleep(0.05)

    failed = await failure(follow(world, world.partner_secret))

    assert (failed.code, reason_of(failed)) == (8, "RATE_LIMITED")
    assert detail(failed, error_details_pb2.RetryInfo).retry_delay.seconds == 5
    assert not any(task.done() for task in opened)
    for task in opened:
        task.cancel()
    await asyncio.gather(*opened, return_exceptions=True)
    world.scripts["StreamMessages"] = failing(not_found())
    assert reason_of(await failure(follow(world, world.partner_secret))) == "NOT_FOUND"


async def test_the_server_has_a_bounded_number_of_streams(world: World) -> None:
    world.rebuild(Limits(streams=1))
    world.scripts["StreamMessages"] = silent
    opened = asyncio.create_task(failure(follow(world, world.partner_secret)))
    await asyncio.sleep(0.05)
    token, _ = credentials.issue_token(world.deps, world.user)

    assert reason_of(await failure(follow(world, token))) == "OVERLOADED"
    opened.cancel()
    await asyncio.gather(opened, return_exceptions=True)
