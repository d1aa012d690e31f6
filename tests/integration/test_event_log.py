"""The log of what happened: in order, at least once, resumable, no faster than its reader. On both databases."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from comptoir_server.app import event_log, event_reading, event_streams, sessions
from comptoir_server.app.call import CallContext
from comptoir_server.app.event_log import Ack, EventView, Subscribe
from comptoir_server.app.event_reading import Wanted
from comptoir_server.app.messages import MessageView
from comptoir_server.domain.errors import Reason, Refused
from comptoir_server.domain.partners import Bot, Channel, Partner
from comptoir_server.domain.sessions import Session
from comptoir_server.store.errors import StorageUnavailable
from tests.support.databases import database_url
from tests.support.town import Town, open_town

__all__ = ["database_url"]

PATIENCE = 30.0
"""Seconds after which a stream that says nothing is given up."""


class Client:
    """What a client says on a stream, whenever it wants; None hangs up."""

    def __init__(self, *first: Subscribe | Ack) -> None:
        self._said: asyncio.Queue[Subscribe | Ack | None] = asyncio.Queue()
        for request in first:
            self.say(request)

    def say(self, request: Subscribe | Ack | None) -> None:
        self._said.put_nowait(request)

    def __aiter__(self) -> AsyncIterator[Subscribe | Ack]:
        return self

    async def __anext__(self) -> Subscribe | Ack:
        request = await self._said.get()
        if request is None:
            raise StopAsyncIteration
        return request


@dataclass
class Listener:
    """A stream from the side of its client."""

    answers: AsyncIterator[dict[str, Any]]
    client: Client
    heard: list[EventView] = field(default_factory=list)
    acked: list[str] = field(default_factory=list)

    async def hear(self, events: int) -> list[EventView]:
        """The next events; acknowledgements that come between are noted."""
        before = len(self.heard)
        while len(self.heard) < before + events:
            await self._next()
        return self.heard[before:]

    async def hear_acked(self) -> str:
        """The next confirmation; events that come between are noted."""
        before = len(self.acked)
        while len(self.acked) == before:
            await self._next()
        return self.acked[-1]

    async def _next(self) -> None:
        answer = await asyncio.wait_for(anext(self.answers), PATIENCE)
        if "event" in answer:
            self.heard.append(answer["event"])
        elif "acked" in answer:
            self.acked.append(answer["acked"]["cursor"])


@dataclass
class Log:
    """A partner with two bots, and a person who talks to both."""

    town: Town
    partner: Partner
    channel: Channel
    bots: tuple[Bot, Bot]
    sessions: tuple[Session, Session]
    person: CallContext

    def call(self, method: str = "ListEvents", bot: Bot | None = None) -> CallContext:
        return self.town.partner(self.partner, method, bot=bot)

    async def say(self, *words: str, session: int = 0) -> None:
        """The person says something, one after another."""
        for text in words:
            call = replace(self.person, method="SendMessage", request_id=self.town.runtime.new_id("msg"))
            await self.town.say(call, self.sessions[session], text)

    async def list(self, call: CallContext | None = None, cursor: str = "", **filters: Any) -> dict[str, Any]:
        asked: dict[str, Any] = {"type": "", "session_id": "", "page_size": 0} | filters
        return await event_log.list_events(self.town.deps, call or self.call(), cursor=cursor, **asked)

    @asynccontextmanager
    async def listen(
        self, consumer: str = "main", cursor: str = "", max_outstanding: int = 0, bot: Bot | None = None
    ) -> AsyncIterator[Listener]:
        """An open stream."""
        client = Client(Subscribe(consumer, cursor, max_outstanding))
        stream = event_log.stream_events(self.town.deps, self.call("StreamEvents", bot), client)
        assert isinstance(stream, AsyncGenerator)
        async with aclosing(stream) as answers:
            yield Listener(answers, client)


@pytest.fixture
async def log(database_url: str) -> AsyncIterator[Log]:
    async with open_town(database_url) as town:
        partner, channel = await town.new_partner(), await town.new_channel()
        bots = await town.new_bot(partner, "First"), await town.new_bot(partner, "Second")
        user = await town.new_user(channel)
        opened = await town.open_session(user, bots[0]), await town.open_session(user, bots[1])
        yield Log(town, partner, channel, bots, opened, town.person(user))


async def refused(call: Any) -> Refused:
    """The refusal that an awaitable ends in."""
    with pytest.raises(Refused) as refusal:
        await call
    return refusal.value


def words(events: Any) -> list[str]:
    """What was said in events; the type of those that are of something else."""
    return [view.payload.plain_text if isinstance(view.payload, MessageView) else view.event.type for view in events]


@pytest.mark.parametrize("cursor", ["AAAA", "é", "a", "~~", "MTB-YWJj"])
async def test_a_cursor_that_the_log_did_not_give_is_refused(log: Log, cursor: str) -> None:
    listed = await refused(log.list(cursor=cursor))
    call = log.call("AckEvents")
    acked = await refused(event_log.ack_events(log.town.deps, call, consumer="main", cursor=cursor))

    assert (
        (listed.reason, listed.metadata)
        == (acked.reason, acked.metadata)
        == (
            Reason.FIELD_INVALID,
            {"field": "cursor"},
        )
    )


async def test_a_cursor_of_another_log_is_refused(log: Log) -> None:
    theirs = (await log.list(log.town.channel(log.channel)))["next_cursor"]

    assert (await refused(log.list(cursor=theirs))).metadata == {"field": "cursor"}


async def test_a_log_is_read_oldest_first_and_from_any_of_its_cursors(log: Log) -> None:
    await log.say("one", "two", "three")

    everything = await log.list()
    cursors = [view.cursor for view in everything["events"]]

    assert words(everything["events"]) == ["session.opened", "session.opened", "one", "two", "three"]
    assert everything["next_cursor"] == cursors[-1]
    for place, cursor in enumerate(cursors):
        rest = await log.list(cursor=cursor)
        assert rest["events"] == everything["events"][place + 1 :]
        assert rest["next_cursor"] == cursors[-1]


async def test_what_one_reader_found_is_found_for_all_who_stand_at_its_place_until_something_happens(
    log: Log, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    finds: list[Wanted] = []
    find = event_reading._find

    async def counted(deps: Any, call: CallContext, wanted: Wanted) -> Any:
        finds.append(wanted)
        return await find(deps, call, wanted)

    monkeypatch.setattr(event_reading, "_find", counted)
    monkeypatch.setattr(log.town.runtime, "monotonic", lambda: 1.0)
    shared = 1 if database_url.startswith("sqlite") else 2
    await log.say("one")

    first = await log.list()
    assert await log.list() == first
    assert len(finds) == shared
    bots = await log.list(log.call(bot=log.bots[1]))
    assert words(bots["events"]) == ["session.opened"]
    channels = await log.list(log.town.channel(log.channel, "ListEvents"))
    assert len(finds) == shared + 2
    assert channels["events"] != first["events"]

    await log.say("two")
    assert words((await log.list())["events"]) == [*words(first["events"]), "two"]
    assert len(finds) == shared + 3


async def test_an_empty_log_has_a_cursor_to_go_on_from(log: Log) -> None:
    silent = await log.town.new_partner("Silent")
    call = log.town.partner(silent, "ListEvents")

    first = await log.list(call)
    again = await log.list(call, cursor=first["next_cursor"])

    assert first["events"] == again["events"] == ()
    assert first["next_cursor"] == again["next_cursor"] != ""


async def test_pages_follow_each_other_without_gap_or_overlap(log: Log) -> None:
    await log.say(*"abcdefg")

    heard: list[str] = []
    cursor = ""
    for _ in range(4):
        page = await log.list(cursor=cursor, page_size=3)
        assert len(page["events"]) <= 3
        heard += words(page["events"])
        cursor = page["next_cursor"]

    assert heard == ["session.opened", "session.opened", *"abcdefg"]
    assert (await refused(log.list(page_size=1001))).metadata == {"field": "page_size"}


async def test_filters_narrow_and_the_cursor_still_moves_over_what_was_left_out(log: Log) -> None:
    await log.say("first", session=0)
    await log.say("second", session=1)
    everything = await log.list()

    by_type = await log.list(type="message.received")
    by_session = await log.list(session_id=log.sessions[1].id)
    nothing = await log.list(type="payment.captured")

    assert words(by_type["events"]) == ["first", "second"]
    assert words(by_session["events"]) == ["session.opened", "second"]
    assert nothing["events"] == ()
    assert nothing["next_cursor"] == by_type["next_cursor"] == everything["next_cursor"]
    assert (await refused(log.list(type="payment.capturd"))).metadata == {"field": "type"}


async def test_sequences_have_no_gap_within_a_session_and_ids_are_stable(log: Log) -> None:
    await asyncio.gather(*(log.say(f"{number}", session=number % 2) for number in range(20)))

    first, again = await log.list(), await log.list()

    assert first == again
    for session in log.sessions:
        events = [view.event for view in first["events"] if view.event.session_id == session.id]
        assert [event.session_sequence for event in events] == list(range(1, 12))
    assert len({view.event.id for view in first["events"]}) == 22


async def test_a_key_of_one_bot_reads_that_bots_events_only(log: Log) -> None:
    await log.say("to the first", session=0)
    await log.say("to the second", session=1)

    seen = await log.list(log.call(bot=log.bots[1]))

    assert words(seen["events"]) == ["session.opened", "to the second"]


async def test_the_channel_reads_what_the_bot_said_and_the_partner_does_not(log: Log) -> None:
    await log.town.say(log.town.partner(log.partner, "SendMessage"), log.sessions[0], "Where to?")

    channel = await log.list(log.town.channel(log.channel))
    partner = await log.list()

    assert words(channel["events"])[-1] == "Where to?"
    assert words(partner["events"]) == ["session.opened", "session.opened"]


async def test_what_concerns_both_has_one_id_and_a_place_of_its_own_in_each_log(log: Log) -> None:
    bot = log.town.partner(log.partner, "SendMessage")
    await log.say("To Paris", "tomorrow")
    await log.town.say(bot, log.sessions[0], "Window or aisle?")
    closing = replace(log.person, method="CloseSession", request_id="close")
    await sessions.close_session(log.town.deps, closing, session_id=log.sessions[0].id)

    here: dict[str, Any] = {"session_id": log.sessions[0].id}
    partner = (await log.list(**here))["events"]
    channel = (await log.list(log.town.channel(log.channel), **here))["events"]

    assert words(partner) == ["session.opened", "To Paris", "tomorrow", "session.closed"]
    assert words(channel) == ["session.opened", "Window or aisle?", "session.closed"]
    for events, places in ((partner, [1, 3, 4, 5]), (channel, [1, 3, 4])):
        assert [view.event.position for view in events] == places
        assert [view.event.session_sequence for view in events] == list(range(1, len(events) + 1))
    assert [partner[i].event.id for i in (0, -1)] == [channel[i].event.id for i in (0, -1)]
    assert {view.cursor for view in partner}.isdisjoint(view.cursor for view in channel)


async def test_a_session_is_read_page_by_page_by_either_side(log: Log) -> None:
    for number in range(4):
        await log.say(f"asked {number}")
        await log.say("elsewhere", session=1)
        await log.town.say(log.town.partner(log.partner, "SendMessage"), log.sessions[0], f"answered {number}")

    for call, said in ((log.call(), "asked"), (log.town.channel(log.channel), "answered")):
        heard, cursor = [], ""
        for _ in range(3):
            page = await log.list(call, cursor=cursor, session_id=log.sessions[0].id, page_size=2)
            heard += words(page["events"])
            cursor = page["next_cursor"]
        assert heard == ["session.opened", *(f"{said} {number}" for number in range(4))]


async def test_a_session_of_others_has_no_events_whoever_asks_for_it(log: Log) -> None:
    await log.say("between us")
    town, partner, channel = log.town, await log.town.new_partner("Others"), await log.town.new_channel()
    user = await town.new_user(channel)
    theirs = await town.open_session(user, await town.new_bot(partner, "Theirs"))
    for number in range(6):
        speaks = town.person(user) if number % 2 else town.partner(partner, "SendMessage")
        call = replace(speaks, method="SendMessage", request_id=f"said {number}")
        await town.say(call, theirs, "among others")

    for call in (town.partner(partner, "ListEvents"), town.channel(channel)):
        assert len((await log.list(call))["events"]) == len((await log.list())["events"]) + 1
        assert (await log.list(call, session_id=log.sessions[0].id))["events"] == ()


async def test_an_acknowledgement_moves_forward_and_never_back(log: Log) -> None:
    await log.say("one", "two")
    cursors = [view.cursor for view in (await log.list())["events"]]

    async def ack(cursor: str, consumer: str = "main", bot: Bot | None = None) -> str:
        call = log.call("AckEvents", bot)
        answer = await event_log.ack_events(log.town.deps, call, consumer=consumer, cursor=cursor)
        stored: str = answer["cursor"]
        return stored

    assert await ack(cursors[2]) == cursors[2]
    assert await ack(cursors[0]) == cursors[2]
    assert await ack(cursors[3]) == cursors[3]
    assert await ack(cursors[0], consumer="other") == cursors[0]
    assert await ack(cursors[1], bot=log.bots[0]) == cursors[1]
    assert await ack(cursors[0]) == cursors[3]


@pytest.mark.parametrize(
    ("requests", "field"),
    [
        ((), "kind"),
        ((Ack("x"),), "kind"),
        ((Subscribe("main", "x", 0),), "subscribe.cursor"),
        ((Subscribe("main", "", -1),), "subscribe.max_outstanding"),
        ((Subscribe("main", "", 1001),), "subscribe.max_outstanding"),
    ],
)
async def test_a_stream_that_begins_wrongly_is_refused(
    log: Log, requests: tuple[Subscribe | Ack, ...], field: str
) -> None:
    client = Client(*requests)
    client.say(None)

    refusal = await refused(anext(event_log.stream_events(log.town.deps, log.call("StreamEvents"), client)))

    assert (refusal.reason, refusal.metadata) == (Reason.FIELD_INVALID, {"field": field})


@pytest.mark.parametrize(("request_", "field"), [(Ack("x"), "ack.cursor"), (Subscribe("main", "", 0), "kind")])
async def test_a_stream_in_which_something_wrong_is_said_is_refused_and_that_is_no_failure_of_the_server(
    log: Log, request_: Subscribe | Ack, field: str
) -> None:
    with capture_logs() as lines:
        async with log.listen() as listener:
            events = await listener.hear(2)
            listener.client.say(Ack(events[0].cursor))
            listener.client.say(request_)
            confirmed = await listener.hear_acked()
            refusal = await refused(listener.hear(1))
        await log.town.runtime.drain(PATIENCE)

    assert confirmed == events[0].cursor
    assert (refusal.reason, refusal.metadata) == (Reason.FIELD_INVALID, {"field": field})
    assert lines == []


async def test_a_stream_brings_what_was_and_then_what_happens(log: Log) -> None:
    await log.say("before")

    async with log.listen() as listener:
        first = await listener.hear(3)
        await log.say("now")
        second = await listener.hear(1)

    assert words(first + second) == ["session.opened", "session.opened", "before", "now"]
    assert first + second == list((await log.list())["events"])


async def test_an_acknowledgement_on_the_stream_is_stored_confirmed_and_resumed_from(log: Log) -> None:
    await log.say("one", "two", "three")
    async with log.listen() as listener:
        events = await listener.hear(5)
        listener.client.say(Ack(events[2].cursor))
        confirmed = await listener.hear_acked()

    async with log.listen() as again:
        resumed = await again.hear(2)
    async with log.listen("other") as other:
        all_of_it = await other.hear(5)
    async with log.listen(cursor=events[0].cursor) as earlier:
        replayed = await earlier.hear(4)

    assert confirmed == events[2].cursor
    assert resumed == events[3:]
    assert all_of_it == events
    assert replayed == events[1:]


class SlowKeeping:
    """Stores acknowledgements only when it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.go_on = asyncio.Event()
        self.begun: list[int] = []
        self._acknowledge = event_reading.acknowledge
        monkeypatch.setattr(event_streams, "acknowledge", self._slowly)

    async def _slowly(self, deps: Any, call: CallContext, consumer: str, position: int) -> int:
        self.begun.append(position)
        await self.go_on.wait()
        return await self._acknowledge(deps, call, consumer, position)


async def test_events_do_not_wait_for_an_acknowledgement_to_be_stored(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeping = SlowKeeping(monkeypatch)
    async with log.listen() as listener:
        first = await listener.hear(2)
        listener.client.say(Ack(first[0].cursor))
        await log.say("now")
        second = await listener.hear(1)
        unconfirmed = listener.acked == []
        keeping.go_on.set()
        confirmed = await listener.hear_acked()

    assert words(second) == ["now"]
    assert unconfirmed
    assert confirmed == first[0].cursor


async def test_acknowledgements_that_come_while_one_is_stored_are_stored_as_one_and_none_is_lost_at_the_end(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    await log.say("one", "two", "three")
    keeping = SlowKeeping(monkeypatch)
    async with log.listen() as listener:
        events = await listener.hear(5)
        listener.client.say(Ack(events[0].cursor))
        waiting = asyncio.ensure_future(listener.hear_acked())
        while not keeping.begun:
            await asyncio.sleep(0)
        for event in events[1:]:
            listener.client.say(Ack(event.cursor))
        listener.client.say(None)
        await asyncio.wait([waiting], timeout=0.1)
        keeping.go_on.set()
        confirmed = [await waiting, await listener.hear_acked()]
        with pytest.raises(StopAsyncIteration):
            await listener.hear(1)

    assert confirmed == [events[0].cursor, events[4].cursor]
    assert keeping.begun == [events[0].event.position, events[4].event.position]


async def test_a_stream_whose_acknowledgement_cannot_be_stored_ends_with_the_reason(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any) -> int:
        raise StorageUnavailable("the disk is full")

    monkeypatch.setattr(event_streams, "acknowledge", broken)
    async with log.listen() as listener:
        [first, _] = await listener.hear(2)
        listener.client.say(Ack(first.cursor))
        with pytest.raises(StorageUnavailable, match="the disk is full"):
            await listener.hear_acked()


async def test_only_what_happens_makes_a_stream_look_at_the_log_not_what_its_client_says(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[Wanted] = []
    find = event_reading.find

    async def counted(deps: Any, call: CallContext, wanted: Wanted) -> Any:
        looks.append(wanted)
        return await find(deps, call, wanted)

    monkeypatch.setattr(event_streams, "find", counted)
    await log.say("one")
    async with log.listen() as listener:
        events = await listener.hear(3)
        for event in events:
            listener.client.say(Ack(event.cursor))
            await listener.hear_acked()
        assert len(looks) == 1
        await log.say("two")
        assert words(await listener.hear(1)) == ["two"]

    assert len(looks) <= 3
    assert {wanted.after for wanted in looks[1:]} <= {events[2].event.position, events[2].event.position + 1}


async def test_no_more_events_are_on_their_way_than_the_client_takes(log: Log) -> None:
    await log.say(*"abcdefgh")
    async with log.listen(max_outstanding=3) as listener:
        first = await listener.hear(3)
        waiting = asyncio.ensure_future(listener.hear(1))
        await asyncio.wait([waiting], timeout=0.2)
        assert not waiting.done()

        listener.client.say(Ack(first[1].cursor))
        fourth = await waiting
        fifth = await listener.hear(1)
        listener.client.say(Ack(fifth[0].cursor))
        rest = await listener.hear(3)

    assert words(first) == ["session.opened", "session.opened", "a"]
    assert words(fourth + fifth + rest) == [*"bcdef"]


async def test_a_consumer_that_reads_nothing_delays_nobody(log: Log) -> None:
    async with log.listen("dead", max_outstanding=1) as dead, log.listen("alive") as alive:
        await dead.hear(1)
        await alive.hear(2)
        await log.say(*"abc")
        heard = await alive.hear(3)

    assert words(heard) == [*"abc"]


async def test_a_stream_of_one_bots_key_brings_its_events_and_has_its_own_consumers(log: Log) -> None:
    await log.say("to the first", session=0)
    await log.say("to the second", session=1)

    async with log.listen(bot=log.bots[0]) as first:
        heard = await first.hear(2)
        first.client.say(Ack(heard[-1].cursor))
        await first.hear_acked()
    async with log.listen(bot=log.bots[1]) as second:
        others = await second.hear(2)

    assert words(heard) == ["session.opened", "to the first"]
    assert words(others) == ["session.opened", "to the second"]


async def test_a_client_that_ends_gets_its_last_acknowledgement_stored_and_the_stream_ends(log: Log) -> None:
    async with log.listen() as listener:
        events = await listener.hear(2)
        listener.client.say(Ack(events[1].cursor))
        listener.client.say(None)
        confirmed = await listener.hear_acked()
        with pytest.raises(StopAsyncIteration):
            await listener.hear(1)

    assert confirmed == events[1].cursor


async def test_a_stream_that_is_left_leaves_nothing_behind(log: Log) -> None:
    async with log.listen() as listener:
        await listener.hear(2)

    assert await log.town.runtime.drain(PATIENCE) == 0
    assert log.town.deps.settled._bells == {}


async def test_a_silent_stream_says_that_it_is_there(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_streams, "PING_SECONDS", 0.05)
    async with log.listen() as listener:
        await listener.hear(2)
        answer = await asyncio.wait_for(anext(listener.answers), PATIENCE)

    assert answer == {"ping": {}}


async def test_nothing_is_lost_or_repeated_while_many_write_and_one_acknowledges_each(log: Log) -> None:
    async def chatter(session: int) -> None:
        for number in range(25):
            await log.say(f"{session}:{number}", session=session)

    heard: list[str] = []
    async with log.listen(max_outstanding=1) as listener:
        writing = asyncio.gather(chatter(0), chatter(1))
        for _ in range(52):
            [view] = await listener.hear(1)
            heard += words([view])
            listener.client.say(Ack(view.cursor))
        await writing

    for session in (0, 1):
        assert [text for text in heard if text.startswith(f"{session}:")] == [f"{session}:{n}" for n in range(25)]
    assert heard == words((await log.list())["events"])


async def test_a_closed_session_is_told_as_it_was(log: Log) -> None:
    session = log.sessions[0]
    await log.say("Goodbye")
    call = log.town.partner(log.partner, "CloseSession")
    closed = (await sessions.close_session(log.town.deps, call, session_id=session.id))["session"]

    events = (await log.list(session_id=session.id))["events"]

    assert [view.event.type for view in events] == ["session.opened", "message.received", "session.closed"]
    assert (events[0].payload, events[2].payload) == (session, closed)
