"""The waiting client over grpc's own testing channel: what it sends again, what it raises, how its streams go on."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import Any, cast

import grpc
import grpc_testing
import pytest
from google.protobuf.message import Message as AnyMessage

from comptoir import Client, ComptoirError
from comptoir._runtime import Runtime
from comptoir.errors import CredentialExpired, FieldInvalid, NotFound, RateLimited, VersionStale
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

    def call(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Future[Any]:
        """Calls in a thread that does not outlive a failed test."""
        answer: Future[Any] = Future()

        def run() -> None:
            try:
                answer.set_result(function(*arguments, **options))
            except Exception as error:  # noqa: BLE001 - handed to the test
                answer.set_exception(error)

        Thread(target=run, daemon=True).start()
        return answer

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
def wire() -> Wire:
    return Wire()


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
    ("code", "reason"),
    [(grpc.StatusCode.ABORTED, "VERSION_STALE"), (grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID")],
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
    refuse(wire.take()[2], grpc.StatusCode.ABORTED, refusal_details("REQUEST_IN_PROGRESS", retry_after_seconds=1.5))
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
    for _ in range(5):
        refuse(wire.take()[2], grpc.StatusCode.UNAVAILABLE, details="nobody there")

    error = said.exception()

    assert type(error) is ComptoirError
    assert (error.reason, error.message) == ("UNAVAILABLE", "nobody there")
    assert error.metadata["request_id"] == "req_1", "so that the caller can ask again without doing it twice"
    assert wire.slept == [0.1, 0.2, 0.4, 0.8]


def test_a_decline_is_an_answer_and_not_an_exception(wire: Wire) -> None:
    confirmed = wire.call(
        wire.client.checkouts.confirm_checkout, ConfirmCheckoutRequest(checkout_id="chk_1", version=1)
    )
    declined = ConfirmCheckoutResponse(payment=Payment(state=Payment.STATE_DECLINED))
    answer(wire.take("ConfirmCheckout", CHECKOUTS)[2], declined)

    assert confirmed.result().payment.state == Payment.STATE_DECLINED


class Unanswering:
    """A channel on which every attempt uses its deadline up."""

    def __init__(self) -> None:
        self.now = 0.0
        self.deadlines: list[float] = []

    def unary_unary(self, *_: object) -> Callable[..., object]:
        return self._call

    def _call(self, request: object, timeout: float, metadata: object) -> object:
        self.deadlines.append(timeout)
        self.now += timeout
        raise Unanswered


class Unanswered(grpc.RpcError):
    def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.DEADLINE_EXCEEDED

    def details(self) -> str:
        return "Deadline Exceeded"

    def trailing_metadata(self) -> Any:
        return ()


@pytest.mark.parametrize(
    ("client_seconds", "call_seconds", "sends_money", "deadlines"),
    [
        (10.0, None, False, [10.0]),
        (4.0, None, False, [4.0]),
        (10.0, 25.0, False, [10.0, 10.0, 5.0]),
        (10.0, None, True, [30.0]),
        (10.0, 70.0, True, [30.0, 30.0, 10.0]),
        (10.0, 3.0, True, [3.0]),
    ],
    ids=["default", "the client's", "the call's", "a method that waits", "a longer wait", "a shorter wait"],
)
def test_an_unknown_outcome_is_asked_for_again_only_within_the_caller_s_time(
    client_seconds: float, call_seconds: float | None, sends_money: bool, deadlines: list[float]
) -> None:
    channel = Unanswering()
    runtime = Runtime(monotonic=lambda: channel.now, sleep=lambda _: None, uniform=lambda low, high: 0.0)
    client = Client(
        "localhost:1", "key", timeout_seconds=client_seconds, channel=cast(grpc.Channel, channel), runtime=runtime
    )

    def call() -> object:
        if sends_money:
            request = ConfirmCheckoutRequest(request_id="mine")
            return client.checkouts.confirm_checkout(request, timeout_seconds=call_seconds)
        return client.sessions.get_session(GetSessionRequest(), timeout_seconds=call_seconds)

    with pytest.raises(ComptoirError) as raised:
        call()

    assert channel.deadlines == deadlines
    assert raised.value.reason == "DEADLINE_EXCEEDED"
    assert raised.value.metadata == ({"request_id": "mine"} if sends_money else {})


def test_a_broken_event_stream_goes_on_behind_the_last_event_and_repeats_the_acknowledgement(wire: Wire) -> None:
    stream = wire.client.events.stream(consumer="books", max_outstanding=7)
    first = wire.call(next, stream)
    metadata, rpc = wire.channel.take_stream_stream(EVENTS.methods_by_name["StreamEvents"])
    subscribe = rpc.take_request().subscribe
    rpc.send_response(StreamEventsResponse(event=event(1)))
    assert first.result() == event(1)
    second = wire.call(next, stream)
    ack_of_first = rpc.take_request().ack.cursor
    rpc.send_response(StreamEventsResponse(event=event(2)))
    assert second.result() == event(2)
    rpc.terminate((), grpc.StatusCode.UNAVAILABLE, "the connection was lost")
    third = wire.call(next, stream)
    _, rpc = wire.channel.take_stream_stream(EVENTS.methods_by_name["StreamEvents"])
    again, ack_of_second = rpc.take_request().subscribe, rpc.take_request().ack.cursor
    rpc.send_response(StreamEventsResponse(event=event(2)))
    rpc.send_response(StreamEventsResponse(event=event(3)))

    assert third.result() == event(3), "the second came twice and was given once"
    assert (subscribe.consumer, subscribe.cursor, subscribe.max_outstanding) == ("books", "", 7)
    assert (again.consumer, again.cursor) == ("books", "000002")
    assert (ack_of_first, ack_of_second) == ("000001", "000002")
    assert dict(metadata)["authorization"] == "Bearer cmp_test_key"
    assert wire.slept == [0.1]
    stream.close()


def test_without_automatic_acknowledgement_only_the_caller_acknowledges(wire: Wire) -> None:
    stream = wire.client.events.stream(consumer="books", auto_ack=False)
    first = wire.call(next, stream)
    _, rpc = wire.channel.take_stream_stream(EVENTS.methods_by_name["StreamEvents"])
    rpc.take_request()
    rpc.send_response(StreamEventsResponse(event=event(1)))
    rpc.send_response(StreamEventsResponse(event=event(2)))
    first.result()
    stream.ack(wire.call(next, stream).result())

    assert rpc.take_request().ack.cursor == "000002"
    stream.close()


def test_a_stream_that_cannot_go_on_raises_and_a_closed_one_ends(wire: Wire) -> None:
    stream = wire.client.events.stream(consumer="books")
    first = wire.call(next, stream)
    _, rpc = wire.channel.take_stream_stream(EVENTS.methods_by_name["StreamEvents"])
    rpc.terminate(refusal_details("CREDENTIAL_EXPIRED"), grpc.StatusCode.UNAUTHENTICATED, "expired")

    assert type(first.exception()) is CredentialExpired
    stream.close()
    assert list(stream) == []
    assert wire.slept == []


def test_a_broken_message_stream_goes_on_behind_the_last_message(wire: Wire) -> None:
    messages = wire.client.sessions.stream_messages("ses_a", 4)
    asked: list[tuple[str, int]] = []
    seen: list[int] = []
    for sent, code in (([5], "UNAVAILABLE"), ([5, 6], "INTERNAL"), ([7], "OK")):
        following = wire.call(next, messages)
        _, request, rpc = wire.channel.take_unary_stream(SESSIONS.methods_by_name["StreamMessages"])
        asked.append((request.session_id, request.after_sequence))
        for sequence in sent:
            rpc.send_response(StreamMessagesResponse(message=Message(sequence=sequence)))
        seen.append(following.result().sequence)
        rpc.terminate((), grpc.StatusCode[code], "")

    assert wire.call(next, messages, None).result() is None, "the session was closed"
    assert seen == [5, 6, 7], "what came twice is given once"
    assert asked == [("ses_a", 4), ("ses_a", 5), ("ses_a", 6)]
    assert wire.slept == [0.1, 0.1], "a stream that brought something starts with the shortest delay again"


def test_the_messages_of_a_foreign_session_are_refused(wire: Wire) -> None:
    messages = wire.call(lambda: list(wire.client.sessions.stream_messages("ses_b")))
    _, _, rpc = wire.channel.take_unary_stream(SESSIONS.methods_by_name["StreamMessages"])
    rpc.terminate(refusal_details("NOT_FOUND"), grpc.StatusCode.NOT_FOUND, "no such session")

    assert type(messages.exception()) is NotFound
    assert wire.slept == []
