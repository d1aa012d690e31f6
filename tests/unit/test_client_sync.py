"""The waiting client over grpc's own testing channel: what it sends again, what it raises, how its streams go on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, cast

import grpc
import grpc_testing
import pytest
from google.protobuf.message import Message as AnyMessage

from comptoir import Client, ComptoirError
from comptoir._method import method_at
from comptoir._runtime import Runtime
from comptoir.errors import FieldInvalid, RateLimited, RequestInProgress, VersionStale
from comptoir.v1 import (
    ConfirmCheckoutRequest,
    ConfirmCheckoutResponse,
    GetSessionRequest,
    GetSessionResponse,
    Message,
    Payment,
    SendMessageRequest,
    SendMessageResponse,
    Session,
    StreamEventsResponse,
    StreamMessagesResponse,
    checkout_pb2,
    event_pb2,
    session_pb2,
)
from tests.support.scripted_comptoir import Trailing, event, refusal_details

SESSIONS = session_pb2.DESCRIPTOR.services_by_name["SessionService"]
CHECKOUTS = checkout_pb2.DESCRIPTOR.services_by_name["CheckoutService"]
EVENTS = event_pb2.DESCRIPTOR.services_by_name["EventService"]

SAY = SendMessageRequest(session_id="ses_a")
SAID = SendMessageResponse(message=Message(message_id="msg_1"))


class Wire:
    """A client whose calls a test takes off the wire and answers; time passes only by sleeping."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []
        self.drawn = 0
        self.channel = grpc_testing.channel([SESSIONS, CHECKOUTS, EVENTS], grpc_testing.strict_real_time())
        self.runtime = Runtime(
            monotonic=lambda: self.now, sleep=self._sleep, uniform=lambda low, high: high, new_request_id=self._draw
        )
        self.client = Client("localhost:1", "cmp_test_key", channel=self.channel, runtime=self.runtime)
        self.threads = ThreadPoolExecutor(1)

    def call(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Future[Any]:
        return self.threads.submit(function, *arguments, **options)

    def take(self, method: str = "SendMessage", service: Any = SESSIONS) -> tuple[dict[str, str], Any, Any]:
        """The next call: what it says about its caller, its request, and the means to answer it."""
        metadata, request, rpc = self.channel.take_unary_unary(service.methods_by_name[method])
        return dict(metadata), request, rpc

    def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def _draw(self) -> str:
        self.drawn += 1
        return f"req_{self.drawn}"


def answer(rpc: Any, response: AnyMessage) -> None:
    rpc.terminate(response, (), grpc.StatusCode.OK, "")


def refuse(rpc: Any, code: grpc.StatusCode, trailing: Trailing = (), details: str = "no") -> None:
    rpc.terminate(None, trailing, code, details)


@pytest.fixture
def wire() -> Iterator[Wire]:
    wire = Wire()
    yield wire
    wire.threads.shutdown(wait=False, cancel_futures=True)


def test_a_call_without_an_answer_is_sent_again_with_the_same_request_id(wire: Wire) -> None:
    said = wire.call(wire.client.sessions.send_message, SAY)
    ids = []
    for code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
        _, request, rpc = wire.take()
        ids.append(request.request_id)
        refuse(rpc, code)
    _, request, rpc = wire.take()
    answer(rpc, SAID)

    assert said.result() == SAID
    assert [*ids, request.request_id] == ["req_1", "req_1", "req_1"]
    assert wire.slept == [0.1, 0.2]


def test_a_request_that_is_used_again_is_another_intent(wire: Wire) -> None:
    ids = []
    for _ in range(2):
        said = wire.call(wire.client.sessions.send_message, SAY)
        _, request, rpc = wire.take()
        ids.append(request.request_id)
        answer(rpc, SAID)
        said.result()

    assert ids == ["req_1", "req_2"]
    assert SAY.request_id == "", "the caller's message is not touched"


def test_a_request_id_of_the_caller_is_kept(wire: Wire) -> None:
    said = wire.call(wire.client.sessions.send_message, SendMessageRequest(request_id="mine", session_id="ses_a"))
    _, request, rpc = wire.take()
    answer(rpc, SAID)

    assert said.result() == SAID
    assert request.request_id == "mine"
    assert wire.drawn == 0


def test_request_ids_can_follow_from_what_causes_the_calls(wire: Wire) -> None:
    services = wire.client.with_request_ids(lambda method: f"mid.7 {method}")
    said = wire.call(services.sessions.send_message, SAY)
    _, request, rpc = wire.take()
    answer(rpc, SAID)

    assert said.result() == SAID
    assert request.request_id == "mid.7 SendMessage"


def test_a_read_needs_no_request_id_to_be_sent_again(wire: Wire) -> None:
    found = wire.call(wire.client.sessions.get_session, GetSessionRequest(session_id="ses_a"))
    refuse(wire.take("GetSession")[2], grpc.StatusCode.UNAVAILABLE)
    answer(wire.take("GetSession")[2], GetSessionResponse(session=Session(session_id="ses_a")))

    assert found.result().session.session_id == "ses_a"


def test_every_call_carries_the_credential_and_a_channel_s_the_user(wire: Wire) -> None:
    for services, user in ((wire.client, None), (wire.client.for_user("usr_1"), "usr_1")):
        said = wire.call(services.sessions.send_message, SAY)
        metadata, _, rpc = wire.take()
        answer(rpc, SAID)
        said.result()

        assert metadata["authorization"] == "Bearer cmp_test_key"
        assert metadata.get("comptoir-user") == user


@pytest.mark.parametrize(
    ("code", "reason"), [(grpc.StatusCode.ABORTED, "VERSION_STALE"), (grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID")]
)
def test_a_refusal_for_good_is_raised_at_once(wire: Wire, code: grpc.StatusCode, reason: str) -> None:
    said = wire.call(wire.client.sessions.send_message, SAY)
    refuse(wire.take()[2], code, refusal_details(reason, metadata={"version": "1"}, violations=(("a.b", "too long"),)))

    error = said.exception()

    assert type(error) is (VersionStale if reason == "VERSION_STALE" else FieldInvalid)
    assert isinstance(error, ComptoirError)
    assert (error.code, error.reason, dict(error.metadata)) == (code, reason, {"version": "1"})
    assert error.violations == [("a.b", "too long")]
    assert str(error) == f"{reason}: no"
    assert wire.slept == []


def test_a_request_that_runs_already_is_sent_again_after_the_delay_that_the_server_names(wire: Wire) -> None:
    said = wire.call(wire.client.sessions.send_message, SAY)
    refuse(
        wire.take()[2], grpc.StatusCode.ABORTED, refusal_details("REQUEST_IN_PROGRESS", retry_after_seconds=1.5)
    )
    answer(wire.take()[2], SAID)

    assert said.result() == SAID
    assert wire.slept == [1.6], "as long as the server asked for, and a jitter on top"


def test_a_delay_that_does_not_fit_into_the_caller_s_time_is_not_waited_for(wire: Wire) -> None:
    said = wire.call(wire.client.sessions.send_message, SAY, timeout_seconds=3)
    refuse(
        wire.take()[2],
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        refusal_details("RATE_LIMITED", retry_after_seconds=3),
    )

    error = said.exception()

    assert type(error) is RateLimited
    assert error.retry_after_seconds == 3
    assert wire.slept == []


def test_a_server_that_stays_away_is_given_up_when_the_caller_s_time_is_up(wire: Wire) -> None:
    said = wire.call(wire.client.sessions.send_message, SAY, timeout_seconds=3)
    calls = 0
    while not said.done():
        try:
            _, _, rpc = wire.channel._state.take_rpc_state, None, None  # type: ignore[attr-defined]
        finally:
            break
    for _ in range(5):
        calls += 1
        refuse(wire.take()[2], grpc.StatusCode.UNAVAILABLE, details="nobody there")

    error = said.exception()

    assert type(error) is ComptoirError
    assert (error.reason, error.message) == ("UNAVAILABLE", "nobody there")
    assert error.metadata["request_id"] == "req_1", "so that the caller can ask again without doing it twice"
    assert wire.slept == [0.1, 0.2, 0.4, 0.8]
    assert calls == 5
