"""A sample of the hostile calls over gRPC itself: what the door says reaches the caller whole, and nothing else."""

from __future__ import annotations

import asyncio
import itertools
import random
import re
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from comptoir_server import log
from comptoir_server.domain.errors import Reason
from comptoir_server.transport.failures import Failed
from comptoir_server.transport.server import MESSAGE_BYTES_MAX, STATUS_DETAILS, Server
from tests.hostile import judge
from tests.hostile.campaign import before
from tests.hostile.inputs import Input, Metadata, hostile, valid
from tests.hostile.judge import Outcome, complaints
from tests.hostile.place import ANSWERS_MAX, SEED, Place, open_place
from tests.support.door import METHODS

CALLS = 20
"""How many hostile calls each method gets over the wire."""

DEADLINE_SECONDS = 10.0
STREAM_SECONDS = 0.5
_KEY = re.compile(r"[a-z0-9_.-]+")

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    log.set_up(level="critical", stream=sys.stderr)  # without a cache: others in this process log anew
    async with open_place(tmp_path, SEED) as opened:
        yield opened


def sendable(metadata: Metadata) -> Metadata:
    """What a gRPC client lets anybody send, and a server of ours reads; the rest is for those who write frames."""
    fine: Metadata = []
    for key, value in metadata[-8:]:
        binary = key.endswith("-bin")
        text = isinstance(value, str) and value.isascii() and value.isprintable()
        if _KEY.fullmatch(key) and not key.startswith("grpc-") and (isinstance(value, bytes) if binary else text):
            fine.append((key, value[:500]))
    return [pair for pair in fine if pair[0] != "content-type"]


async def attempt(place: Place, channel: grpc.Channel, given: Input) -> Outcome:
    """Makes one call over a channel, and judges what arrives as if it had come out of the door."""
    moved = place.digest()
    answers: list[bytes] = []
    error: BaseException | None = None
    try:
        answers = await asyncio.to_thread(_send, channel, given)
    except grpc.RpcError as caught:
        error = _failed(caught)
    ended = await place.idle()
    return Outcome(tuple(answers), error, 0.0, place.digest() != moved, ended)


def _send(channel: grpc.Channel, given: Input) -> list[bytes]:
    """Calls as a thread does. The client of grpc.aio would say INTERNAL where a stream ends while it still writes."""
    method = METHODS[given.method]
    options: dict[str, Any] = {"metadata": sendable(given.metadata), "timeout": _deadline(given)}
    if not method.gives_stream:
        unary: Any = channel.unary_unary(method.path)
        return [unary(given.requests[0], **options)]
    requests: Any = iter(given.requests) if method.takes_stream else given.requests[0]
    follow: Any = channel.stream_stream if method.takes_stream else channel.unary_stream
    stream = follow(method.path)(requests, **{**options, "timeout": STREAM_SECONDS})
    answers: list[bytes] = []
    try:
        answers += itertools.islice(stream, ANSWERS_MAX)
        stream.cancel()
    except grpc.RpcError as error:
        if error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED:  # the usual end of a stream that only follows
            raise
    return answers


def _deadline(given: Input) -> float:
    if given.time_left is None:
        return DEADLINE_SECONDS
    return min(max(given.time_left, 0.05), DEADLINE_SECONDS)


def _failed(error: Any) -> BaseException | None:
    """The refusal that arrived; nothing where the caller's own deadline came first."""
    if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        return None
    status = dict(error.trailing_metadata() or ()).get(STATUS_DETAILS, b"")
    if not status:
        return RuntimeError(f"{error.code().name} without details: {error.details()}")
    info = error_details_pb2.ErrorInfo()
    assert status_pb2.Status.FromString(status).details[0].Unpack(info)
    return Failed(error.code().value[0], error.details(), Reason[info.reason], status)


async def test_what_arrives_without_details_is_noticed() -> None:
    bare = grpc.aio.AioRpcError(grpc.StatusCode.UNKNOWN, grpc.aio.Metadata(), grpc.aio.Metadata(), "boom")
    given = Input("GetCheckout", [], (b"",))

    [found] = complaints(given, Outcome(error=_failed(bare)))

    assert "UNKNOWN without details: boom" in found


async def test_a_sample_of_hostile_calls_over_grpc_is_answered_or_refused_as_documented(place: Place) -> None:
    server = Server(place.boundary)
    port = await server.start("127.0.0.1:0")
    found: list[str] = []
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        place.leave()
        for method in METHODS:
            step = await before(place, method)
            for number in range(CALLS):
                given = hostile(random.Random(f"{SEED}/wire/{method}/{number}"), step, place)
                if max(map(len, given.requests), default=0) > MESSAGE_BYTES_MAX:
                    continue  # gRPC hangs up on it
                wrong = complaints(given, await attempt(place, channel, given))
                found += [f"{method} ({given.layer}, {number}): {each}" for each in wrong]
            outcome = await attempt(place, channel, replace(valid(step, place), time_left=None))
            assert not isinstance(outcome.error, RuntimeError), (method, outcome.error)
        await server.stop(judge.CALL_SECONDS)

    assert found == []
    assert place.problems() == []
