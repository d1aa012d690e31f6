"""The awaited client against a real server on a loopback port."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest

from comptoir import AsyncClient, AsyncEventStream, ComptoirError
from comptoir._runtime import Runtime
from comptoir.errors import CredentialInvalid, FieldInvalid
from comptoir.v1 import Event, Message, SendMessageRequest
from tests.support.scripted_comptoir import ScriptedServer, event, refusal_details

SAY = SendMessageRequest(session_id="ses_a")


class Waits:
    """Where the client would wait: kept instead."""

    def __init__(self) -> None:
        self.slept: list[float] = []
        self.runtime = Runtime(sleep_async=self._sleep, uniform=lambda low, high: high)

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(round(seconds, 6))
        await asyncio.sleep(0)


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    async with ScriptedServer() as server:
        yield server


@pytest.fixture
def waits() -> Waits:
    return Waits()


@pytest.fixture
async def client(server: ScriptedServer, waits: Waits) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(server.target, "cmp_test_key", runtime=waits.runtime) as client:
        yield client


async def test_a_call_without_an_answer_is_sent_again_with_the_same_request_id(
    server: ScriptedServer, client: AsyncClient, waits: Waits
) -> None:
    server.refuse("SendMessage", grpc.StatusCode.UNAVAILABLE)
    server.refuse("SendMessage", grpc.StatusCode.ABORTED, refusal_details("REQUEST_IN_PROGRESS", retry_after_seconds=2))

    said = await client.sessions.send_message(SAY)

    ids = [request.request_id for _, request, _, _ in server.calls if isinstance(request, SendMessageRequest)]
    assert len(ids) == 3
    assert len(set(ids)) == 1
    assert said.message.message_id == f"msg_{ids[0]}"
    assert waits.slept == [0.1, 2.2]


async def test_a_call_that_is_not_answered_in_time_is_asked_again_within_the_caller_s_time(
    server: ScriptedServer, client: AsyncClient
) -> None:
    server.silent["SendMessage"] = 1
    impatient = AsyncClient(server.target, "cmp_test_key", timeout_seconds=0.2)

    async with impatient:
        with pytest.raises(ComptoirError, match="whether it was done is unknown") as raised:
            await impatient.sessions.send_message(SAY)
        request_id = raised.value.metadata["request_id"]
        said = await impatient.sessions.send_message(SendMessageRequest(request_id=request_id, session_id="ses_a"))

    assert said.message.message_id == f"msg_{request_id}"
    assert list(server.said) == [request_id]


async def test_a_refusal_is_raised_as_the_class_of_its_reason(
    server: ScriptedServer, client: AsyncClient, waits: Waits
) -> None:
    details = refusal_details("FIELD_INVALID", metadata={"field": "content"}, violations=(("content", "is missing"),))
    server.refuse("SendMessage", grpc.StatusCode.INVALID_ARGUMENT, details)

    with pytest.raises(FieldInvalid) as raised:
        await client.sessions.send_message(SAY)

    assert raised.value.violations == [("content", "is missing")]
    assert waits.slept == []
    assert server.said == {}


async def test_every_call_carries_the_credential_and_a_channel_s_the_user(
    server: ScriptedServer, client: AsyncClient
) -> None:
    await client.sessions.send_message(SAY)
    await client.for_user("usr_1").sessions.send_message(SAY)

    (_, _, plain, _), (_, _, for_user, _) = server.calls
    assert (plain["authorization"], plain.get("comptoir-user")) == ("Bearer cmp_test_key", None)
    assert (for_user["authorization"], for_user["comptoir-user"]) == ("Bearer cmp_test_key", "usr_1")
    assert plain["user-agent"].startswith("comptoir-python/")


async def test_an_event_is_acknowledged_when_the_next_one_is_asked_for(
    server: ScriptedServer, client: AsyncClient
) -> None:
    await server.happen(event(1), event(2))

    async with client.events.stream(consumer="books") as events:
        first = await anext(events)
        history_before_the_second = list(server.ack_history)
        second = await anext(events)
        await server.until_acked("000001", "books")

    assert [first, second] == [event(1), event(2)]
    assert history_before_the_second == []
    assert server.acked["books"] == "000001", "the second was never finished: it comes again"


async def test_a_broken_event_stream_goes_on_without_gap_or_repetition(
    server: ScriptedServer, client: AsyncClient, waits: Waits
) -> None:
    await server.happen(event(1), event(2))
    async with client.events.stream(consumer="books", auto_ack=False) as events:
        seen = [await anext(events), await anext(events)]
        following = asyncio.ensure_future(anext(events))
        await server.break_streams()
        await server.happen(event(3))
        seen.append(await following)

    assert seen == [event(1), event(2), event(3)]
    assert server.ack_history == []
    assert server.subscriptions == ["", "000002"]
    assert waits.slept == [0.1]


async def test_a_stream_starts_where_the_caller_says(server: ScriptedServer, client: AsyncClient) -> None:
    await server.happen(event(1), event(2), event(3))

    async with client.events.stream(consumer="books", cursor="000002") as events:
        assert (await anext(events)).event_id == "evt_3"


async def test_a_stream_that_cannot_go_on_raises(server: ScriptedServer, client: AsyncClient, waits: Waits) -> None:
    server.refuse("StreamEvents", grpc.StatusCode.UNAUTHENTICATED, refusal_details("CREDENTIAL_INVALID"))

    with pytest.raises(CredentialInvalid):
        await anext(client.events.stream(consumer="books"))

    assert waits.slept == []


async def test_a_stream_that_is_closed_while_it_is_awaited_ends(server: ScriptedServer, client: AsyncClient) -> None:
    events = client.events.stream(consumer="books")
    collected = asyncio.create_task(_all(events))
    await server.happen(event(1))
    await server.until_subscribed()
    events.close()

    assert [each.event_id for each in await collected] in ([], ["evt_1"])


async def test_a_task_that_is_cancelled_while_it_awaits_an_event_is_cancelled(
    server: ScriptedServer, client: AsyncClient
) -> None:
    events = client.events.stream(consumer="books")
    waiting = asyncio.create_task(_all(events))
    await server.until_subscribed()
    waiting.cancel()

    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_a_broken_message_stream_goes_on_behind_the_last_message(
    server: ScriptedServer, client: AsyncClient, waits: Waits
) -> None:
    server.messages = [Message(session_id="ses_a", sequence=sequence) for sequence in range(1, 6)]
    server.break_messages_after = {2, 4}

    sequences = [each.sequence async for each in client.sessions.stream_messages("ses_a")]

    assert sequences == [1, 2, 3, 4, 5]
    assert waits.slept == [0.1, 0.1]


async def _all(events: AsyncEventStream) -> list[Event]:
    return [each async for each in events]
