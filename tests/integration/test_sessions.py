"""Conversations: one open at a time, numbered without gaps, readable by their own two sides. On both databases."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from comptoir_server.app import sessions
from comptoir_server.app.call import CallContext
from comptoir_server.app.messages import MessageView
from comptoir_server.app.users import UserView
from comptoir_server.domain.cards import (
    BoardingPassCard,
    Button,
    Content,
    ItineraryCard,
    NoticeCard,
    NoticeKind,
    Passenger,
    Postback,
    SeatAssignment,
    Segment,
    Stop,
    TextContent,
    WalletLinkCard,
)
from comptoir_server.domain.errors import Reason, Refused
from comptoir_server.domain.events import LogEntry
from comptoir_server.domain.money import Money
from comptoir_server.domain.partners import Bot, BotState, Channel, Partner, PartnerState
from comptoir_server.domain.sessions import Referral, ReferralSource, Sender, Session, SessionState
from comptoir_server.domain.users import UserState
from comptoir_server.store.reads.events import events_between
from comptoir_server.store.reads.pages import read, records
from comptoir_server.store.tables import BOT_USERS, BOTS, PARTNERS, SESSIONS, USERS
from comptoir_server.store.tx import Tx
from tests.support.databases import database_url
from tests.support.town import Town, open_town

__all__ = ["database_url"]

CARD_NUMBER = "4111 1111 1111 1111"
STOP = Stop("SFO", "", "", "", 0, "")
SEGMENT = Segment("s1", "CM 417", STOP, STOP, "")
ADA = Passenger("p1", "Ada", "")
TRIP = ItineraryCard("", "ABC123", (ADA,), (SEGMENT,), (SeatAssignment("p1", "s1", "12A"),), Money(100, "USD"))
PASS = BoardingPassCard(ADA, SEGMENT, "ABC123", "12A", "", 0, "M1ADA")


@dataclass
class Talk:
    """A person and a bot with a session between them."""

    town: Town
    partner: Partner
    bot: Bot
    channel: Channel
    user: UserView
    session: Session

    def by_bot(self, method: str = "SendMessage", **more: Any) -> CallContext:
        return self.town.partner(self.partner, method, bot=self.bot, **more)

    def by_person(self, method: str = "SendMessage", **more: Any) -> CallContext:
        return self.town.person(self.user, method, **more)

    async def events(self, log_id: str) -> list[LogEntry]:
        """What stands in a log, oldest first."""
        return await self.town.deps.store.read(
            lambda tx: events_between(tx, log_id, 0, 1_000, bot_id="", event_type="", session_id="", limit=1_000)
        )

    async def said(self, call: CallContext | None = None, after: int = 0, page_size: int = 0) -> list[MessageView]:
        """What was said, as somebody reads it."""
        answer = await sessions.list_messages(
            self.town.deps,
            call or self.by_person("ListMessages"),
            session_id=self.session.id,
            after_sequence=after,
            page_size=page_size,
        )
        return list(answer["messages"])


@pytest.fixture
async def town(database_url: str) -> AsyncIterator[Town]:
    async with open_town(database_url) as made:
        yield made


@pytest.fixture
async def talk(town: Town) -> Talk:
    partner, channel = await town.new_partner(), await town.new_channel()
    bot, user = await town.new_bot(partner), await town.new_user(channel)
    return Talk(town, partner, bot, channel, user, await town.open_session(user, bot))


async def refused(call: Any) -> Refused:
    """The refusal that an awaitable ends in."""
    with pytest.raises(Refused) as refusal:
        await call
    return refusal.value


async def change(town: Town, relation: Any, key: str, **fields: Any) -> None:
    """Sets fields of a row, as an operator's tool would."""

    async def work(tx: Tx) -> None:
        record = await tx.load(relation.lock(key))
        tx.put(replace(record, **fields))

    await town.deps.store.write(work)


async def close(talk: Talk, call: CallContext | None = None) -> Session:
    call = call or talk.by_person("CloseSession")
    answer = await sessions.close_session(talk.town.deps, call, session_id=talk.session.id)
    session: Session = answer["session"]
    return session


async def test_a_bot_that_is_not_live_cannot_be_talked_to(town: Town) -> None:
    partner, channel = await town.new_partner(), await town.new_channel()
    draft, user = await town.new_bot(partner, live=False), await town.new_user(channel)
    call = town.person(user, "OpenSession")

    not_live = await refused(sessions.open_session(town.deps, call, bot_id=draft.id, referral=None))
    absent = await refused(sessions.open_session(town.deps, call, bot_id=town.runtime.new_id("bot"), referral=None))

    assert (not_live.reason, not_live.message) == (absent.reason, absent.message)
    assert not_live.reason == Reason.NOT_FOUND
    assert await town.deps.store.read(lambda tx: read(tx, SESSIONS, records(SESSIONS))) == []
    assert await town.deps.store.read(lambda tx: read(tx, BOT_USERS, records(BOT_USERS))) == []


async def test_whoever_is_suspended_opens_nothing_and_is_not_reached(talk: Talk) -> None:
    await close(talk)
    town, reasons = talk.town, []
    for relation, key, stopped, back in (
        (BOTS, talk.bot.id, BotState.SUSPENDED, BotState.LIVE),
        (PARTNERS, talk.partner.id, PartnerState.SUSPENDED, PartnerState.ACTIVE),
        (USERS, talk.user.user.id, UserState.SUSPENDED, UserState.ACTIVE),
    ):
        await change(town, relation, key, state=stopped)
        call = talk.by_person("OpenSession")
        reasons.append(
            (await refused(sessions.open_session(town.deps, call, bot_id=talk.bot.id, referral=None))).reason
        )
        await change(town, relation, key, state=back)

    assert reasons == [Reason.PARTNER_SUSPENDED] * 3


async def test_a_channel_names_whom_it_opens_a_session_for(talk: Talk) -> None:
    call = talk.town.channel(talk.channel, "OpenSession")

    refusal = await refused(sessions.open_session(talk.town.deps, call, bot_id=talk.bot.id, referral=None))

    assert (refusal.reason, refusal.metadata) == (Reason.FIELD_INVALID, {"field": "comptoir-user"})


async def test_a_new_session_is_open_and_tells_both_sides(talk: Talk) -> None:
    session = talk.session

    assert (session.state, session.message_count, session.previous_session_id) == (SessionState.OPEN, 0, "")
    assert (session.bot_id, session.partner_id) == (talk.bot.id, talk.partner.id)
    assert (session.user_id, session.channel_id) == (talk.user.user.id, talk.channel.id)
    assert session.bot_user_id.startswith("bsu_")
    assert (session.locale, session.referral) == ("en-US", Referral())
    for log_id in (talk.partner.id, talk.channel.id):
        assert [(event.type, event.session_sequence) for event in await talk.events(log_id)] == [("session.opened", 1)]


async def test_opening_again_answers_the_open_session_and_a_new_referral_is_told(talk: Talk) -> None:
    clicked = Referral(ReferralSource.AD, "ad-1", "summer")

    same = await talk.town.open_session(talk.user, talk.bot)
    unknown = await talk.town.open_session(talk.user, talk.bot, Referral())
    referred = await talk.town.open_session(talk.user, talk.bot, clicked)

    assert same == unknown == talk.session
    assert referred == replace(talk.session, referral=clicked)
    assert [event.type for event in await talk.events(talk.partner.id)] == ["session.opened", "session.referred"]


async def test_sessions_opened_at_once_are_one_session(talk: Talk) -> None:
    other = await talk.town.new_user(talk.channel, "psid-2")

    opened = await asyncio.gather(*(talk.town.open_session(other, talk.bot) for _ in range(8)))

    assert len({session.id for session in opened}) == 1


async def test_a_closed_session_is_followed_by_a_new_one_that_names_it_and_knows_the_same_person(talk: Talk) -> None:
    closed = await close(talk)
    again = await close(talk, talk.by_bot("CloseSession"))

    following = await talk.town.open_session(talk.user, talk.bot)

    assert closed == again == replace(talk.session, state=SessionState.CLOSED)
    assert following.id != closed.id
    assert (following.previous_session_id, following.bot_user_id) == (closed.id, closed.bot_user_id)
    assert [event.type for event in await talk.events(talk.channel.id)] == [
        "session.opened",
        "session.closed",
        "session.opened",
    ]


async def test_what_is_said_is_numbered_without_gaps_and_told_to_the_other_side(talk: Talk) -> None:
    first = await talk.town.say(talk.by_person(), talk.session, "To Panama, please")
    second = await talk.town.say(talk.by_bot(), talk.session, TextContent("When?", (Button("Today", "day:0"),)))
    third = await talk.town.say(
        talk.town.channel(talk.channel, "SendMessage", user=talk.user), talk.session, Postback("Today", "day:0")
    )

    answers = [first["message"], second["message"], third["message"]]
    assert [(view.message.sequence, view.message.sender) for view in answers] == [
        (1, Sender.USER),
        (2, Sender.BOT),
        (3, Sender.USER),
    ]
    assert [view.plain_text for view in answers] == ["To Panama, please", "When?\n[Today]", "Today"]
    assert await talk.said() == await talk.said(talk.by_bot("ListMessages")) == answers
    assert [event.type for event in await talk.events(talk.partner.id)][1:] == ["message.received", "postback.received"]
    assert [event.type for event in await talk.events(talk.channel.id)][1:] == ["message.received"]
    current = await sessions.get_session(talk.town.deps, talk.by_bot("GetSession"), session_id=talk.session.id)
    assert current["session"].message_count == 3


async def test_the_same_message_twice_is_said_once(talk: Talk) -> None:
    first = await talk.town.say(talk.by_person(request_id="m-1"), talk.session, "Hello")
    again = await talk.town.say(talk.by_person(request_id="m-1"), talk.session, "Hello")

    assert first == again
    assert await talk.said() == [first["message"]]


async def test_words_never_stand_readable_in_the_database(talk: Talk) -> None:
    await talk.town.say(talk.by_person(request_id="m-1"), talk.session, "Nobody may read this")

    [view] = await talk.said()

    assert b"Nobody" not in view.message.sealed
    assert all("Nobody" not in event.payload for event in await talk.events(talk.partner.id))


async def test_card_numbers_in_free_text_are_masked_before_they_are_kept(talk: Talk) -> None:
    answer = await talk.town.say(talk.by_person(), talk.session, f"My card is {CARD_NUMBER}, thanks")

    assert answer["message"].content == TextContent("My card is •••• •••• •••• 1111, thanks")
    assert [view.content for view in await talk.said()] == [answer["message"].content]


WRONG_OF_PEOPLE: list[tuple[Content, str]] = [
    (TextContent(" \n"), "content.text.text"),
    (TextContent("Hi", (Button("Go", "go"),)), "content.text.buttons"),
    (Postback("Pay", "comptoir:pay:1:wal_1:mark"), "content.postback.payload"),
    (Postback("Pay", " Comptoir:pay"), "content.postback.payload"),
    (TRIP, "content.kind"),
    (NoticeCard(NoticeKind.DECLINED, "", "Paid", ""), "content.kind"),
]


@pytest.mark.parametrize(("content", "field"), WRONG_OF_PEOPLE)
async def test_what_people_may_not_say_is_refused_and_not_kept(talk: Talk, content: Content, field: str) -> None:
    refusal = await refused(talk.town.say(talk.by_person(), talk.session, content))

    assert (refusal.reason, refusal.metadata) == (Reason.FIELD_INVALID, {"field": field})
    assert await talk.said() == []
    assert len(await talk.events(talk.partner.id)) == 1


SEAT = SeatAssignment("p1", "s1", "12A")
TWINS = (ADA, replace(ADA, display_name="Bob"))
SOMEWHERE = replace(SEGMENT, arrival=replace(STOP, time_zone="Mars/Olympus"))
SOME_DAY = replace(SEGMENT, departure=replace(STOP, time=253_400_000_000_000_000))
WRONG_OF_BOTS: list[tuple[Content, str]] = [
    (TextContent("Pay", (Button("Pay", "comptoir:pay"),)), "content.text.buttons[0].payload"),
    (TextContent("Pay", (Button("No", "no"), Button("Pay", "\tCOMPTOIR:pay"))), "content.text.buttons[1].payload"),
    (TextContent("Go", (Button(" ", "go"),)), "content.text.buttons[0].title"),
    (Postback("Go", "go"), "content.kind"),
    (WalletLinkCard("wlk_1", "paypal", "https://evil.example", 0), "content.kind"),
    (replace(TRIP, passengers=()), "content.itinerary.passengers"),
    (replace(TRIP, segments=()), "content.itinerary.segments"),
    (replace(TRIP, passengers=TWINS), "content.itinerary.passengers[1].passenger_ref"),
    (replace(TRIP, segments=(SEGMENT, SEGMENT)), "content.itinerary.segments[1].segment_ref"),
    (replace(TRIP, seats=(replace(SEAT, passenger_ref="p2"),)), "content.itinerary.seats[0].passenger_ref"),
    (replace(TRIP, seats=(replace(SEAT, segment_ref="s2"),)), "content.itinerary.seats[0].segment_ref"),
    (replace(TRIP, seats=(SEAT, replace(SEAT, seat="12B"))), "content.itinerary.seats[1]"),
    (replace(TRIP, segments=(SOMEWHERE,)), "content.itinerary.segments[0].arrival.time_zone"),
    (replace(TRIP, segments=(SOME_DAY,)), "content.itinerary.segments[0].departure.time"),
    (replace(TRIP, total=Money(100, "ABC")), "content.itinerary.total.currency_code"),
    (replace(PASS, segment=SOMEWHERE), "content.boarding_pass.segment.arrival.time_zone"),
    (replace(PASS, boarding_time=253_400_000_000_000_000), "content.boarding_pass.boarding_time"),
]


@pytest.mark.parametrize(("content", "field"), WRONG_OF_BOTS)
async def test_what_bots_may_not_say_is_refused_and_not_kept(talk: Talk, content: Content, field: str) -> None:
    refusal = await refused(talk.town.say(talk.by_bot(), talk.session, content))

    assert (refusal.reason, refusal.metadata) == (Reason.FIELD_INVALID, {"field": field})
    assert await talk.said() == []
    assert len(await talk.events(talk.channel.id)) == 1


async def test_bots_send_itineraries_and_boarding_passes(talk: Talk) -> None:
    await talk.town.say(talk.by_bot(), talk.session, TRIP)
    await talk.town.say(talk.by_bot(), talk.session, PASS)

    assert [view.content for view in await talk.said()] == [TRIP, PASS]


async def test_nothing_is_said_in_a_closed_session(talk: Talk) -> None:
    await close(talk)

    refusal = await refused(talk.town.say(talk.by_person(), talk.session, "Are you there?"))

    assert (refusal.reason, refusal.metadata) == (Reason.INVALID_STATE, {"state": "CLOSED", "allowed": "OPEN"})
    assert await talk.said() == []


async def test_a_session_is_absent_for_everybody_but_its_two_sides(talk: Talk) -> None:
    town = talk.town
    web, rival = await town.new_channel("Web"), await town.new_partner("Rival")
    other = await town.new_user(talk.channel, "psid-2")
    sibling = await town.new_bot(talk.partner, "Sibling")
    await town.say(talk.by_person(), talk.session, "Between us")
    strangers = [
        town.channel(web, user=None),
        town.channel(talk.channel, user=other),
        town.person(other),
        town.partner(rival),
        town.partner(talk.partner, bot=sibling),
    ]
    session_id, refusals = talk.session.id, set()

    for call in strangers:
        stream = sessions.stream_messages(town.deps, call, session_id=session_id, after_sequence=0)
        for attempt in (
            sessions.get_session(town.deps, call, session_id=session_id),
            sessions.close_session(town.deps, call, session_id=session_id),
            sessions.list_messages(town.deps, call, session_id=session_id, after_sequence=0, page_size=0),
            anext(stream),
        ):
            refusals.add((await refused(attempt)).reason)
        if call.user_id or call.partner_id:
            refusals.add((await refused(town.say(call, talk.session, "Hello"))).reason)

    assert refusals == {Reason.NOT_FOUND}
    assert len(await talk.said()) == 1
    current = await sessions.get_session(town.deps, talk.by_bot("GetSession"), session_id=session_id)
    assert current["session"].state == SessionState.OPEN


async def test_everybody_lists_their_own_sessions_newest_first(talk: Talk) -> None:
    town, partner = talk.town, talk.partner
    second_bot, rival = await town.new_bot(partner, "Second"), await town.new_partner("Rival")
    other_user = await town.new_user(talk.channel, "psid-2")
    second = await town.open_session(talk.user, second_bot)
    third = await town.open_session(other_user, talk.bot)

    async def listed(call: CallContext, bot_id: str = "") -> list[str]:
        answer = await sessions.list_sessions(town.deps, call, bot_id=bot_id, page_size=0, page_token="")
        assert answer["next_page_token"] == ""
        return [session.id for session in answer["sessions"]]

    def newest_first(*found: Session) -> list[str]:
        return sorted((session.id for session in found), reverse=True)

    assert await listed(town.person(talk.user)) == newest_first(talk.session, second)
    assert await listed(town.person(talk.user), second_bot.id) == [second.id]
    assert await listed(town.partner(partner)) == newest_first(talk.session, second, third)
    assert await listed(town.partner(partner, bot=talk.bot)) == newest_first(talk.session, third)
    assert await listed(town.partner(partner, bot=talk.bot), second_bot.id) == []
    assert await listed(town.channel(talk.channel)) == newest_first(talk.session, second, third)
    assert await listed(town.channel(talk.channel, user=other_user)) == [third.id]
    assert await listed(town.partner(rival)) == []


async def test_sessions_come_page_by_page_and_a_foreign_token_is_refused(talk: Talk) -> None:
    town = talk.town
    for number in range(4):
        await town.open_session(await town.new_user(talk.channel, f"more-{number}"), talk.bot)
    rival = await town.new_partner("Rival")
    call = town.partner(talk.partner, "ListSessions")

    first = await sessions.list_sessions(town.deps, call, bot_id="", page_size=3, page_token="")
    token = first["next_page_token"]
    second = await sessions.list_sessions(town.deps, call, bot_id="", page_size=3, page_token=token)

    seen = [session.id for session in (*first["sessions"], *second["sessions"])]
    assert seen == sorted(seen, reverse=True)
    assert (len(set(seen)), second["next_page_token"]) == (5, "")
    for foreign in (town.partner(rival, "ListSessions"), town.partner(talk.partner, "ListOrders")):
        refusal = await refused(sessions.list_sessions(town.deps, foreign, bot_id="", page_size=3, page_token=token))
        assert refusal.metadata == {"field": "page_token"}


async def test_messages_are_listed_behind_a_sequence(talk: Talk) -> None:
    for number in range(5):
        await talk.town.say(talk.by_person(), talk.session, f"{number + 1}")

    assert [view.message.sequence for view in await talk.said(after=1, page_size=3)] == [2, 3, 4]
    assert [view.plain_text for view in await talk.said(after=4)] == ["5"]
    assert await talk.said(after=5) == []
    assert (await refused(talk.said(after=-1))).metadata == {"field": "after_sequence"}
    assert (await refused(talk.said(page_size=101))).metadata == {"field": "page_size"}


async def test_a_stream_brings_what_was_said_then_what_is_said_and_ends_with_the_session(talk: Talk) -> None:
    await talk.town.say(talk.by_person(), talk.session, "one")
    await talk.town.say(talk.by_person(), talk.session, "two")
    stream = sessions.stream_messages(
        talk.town.deps, talk.by_bot("StreamMessages"), session_id=talk.session.id, after_sequence=1
    )
    heard: list[str] = []

    async def follow() -> None:
        async for answer in stream:
            heard.append(answer["message"].plain_text)
            if answer["message"].plain_text == "two":
                await talk.town.say(talk.by_person(), talk.session, "three")
            elif answer["message"].plain_text == "three":
                await close(talk)

    await asyncio.wait_for(follow(), 30)

    assert heard == ["two", "three"]


async def test_a_stream_brings_more_than_a_page(talk: Talk) -> None:
    await asyncio.gather(*(talk.town.say(talk.by_person(), talk.session, "again") for _ in range(230)))
    await close(talk)

    stream = sessions.stream_messages(
        talk.town.deps, talk.by_bot("StreamMessages"), session_id=talk.session.id, after_sequence=0
    )

    assert [answer["message"].message.sequence async for answer in stream] == list(range(1, 231))


async def test_a_message_of_an_erased_person_is_there_and_empty(talk: Talk) -> None:
    await talk.town.say(talk.by_person(), talk.session, "Forget me")
    await change(talk.town, USERS, talk.user.user.id, wrapped_key=b"")

    [view] = await talk.said(talk.by_bot("ListMessages"))

    assert (view.message.sequence, view.content, view.plain_text) == (1, None, "")
