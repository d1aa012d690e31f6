"""Conversations: opening and ending them, speaking in them, and following what is said."""

from __future__ import annotations

from collections.abc import AsyncIterator

from comptoir_server.app import content as contents
from comptoir_server.app import messages, paging
from comptoir_server.app.access import owned
from comptoir_server.app.call import CallContext, Caller
from comptoir_server.app.deps import Deps
from comptoir_server.app.events import tell
from comptoir_server.app.once import Answer, once
from comptoir_server.domain.cards import Content
from comptoir_server.domain.errors import Reason, Refused, invalid_field, not_found
from comptoir_server.domain.partners import Bot, BotState, PartnerState
from comptoir_server.domain.records import replace
from comptoir_server.domain.sessions import (
    SESSION_TRANSITIONS,
    Message,
    Referral,
    Sender,
    Session,
    SessionCommand,
    SessionState,
)
from comptoir_server.domain.transitions import move
from comptoir_server.domain.users import BotUser, User, UserState
from comptoir_server.store.reads.sessions import messages_after, page_of_sessions
from comptoir_server.store.tables import BOT_USERS, BOTS, PARTNERS, SESSIONS, USERS
from comptoir_server.store.tx import Tx

LOOK_SECONDS = 5.0
"""How often a stream looks for itself. It hears every wake-up; this is for what another process's database lost."""


async def open_session(deps: Deps, call: CallContext, *, bot_id: str, referral: Referral | None) -> Answer:
    """Opens a conversation, or answers the open one. Raises NOT_FOUND, PARTNER_SUSPENDED."""
    user_id = call.require_user()

    async def work(tx: Tx) -> Answer:
        bot_user, bot, user = await tx.load(
            BOT_USERS.lock_by("by_bot_and_user", bot_id, user_id), BOTS.get(bot_id), USERS.get(user_id)
        )
        bot, user = await _require_reachable(tx, bot, user)
        last = await tx.load(SESSIONS.lock(bot_user.session_id)) if bot_user is not None else None
        if last is not None and last.state == SessionState.OPEN:
            return {"session": _referred(tx, last, referral)}
        session = _new_session(tx, bot, user, bot_user, referral)
        tx.put(session)
        tell(tx, "session", session)
        return {"session": session}

    return await once(deps, call, work)


async def get_session(deps: Deps, call: CallContext, *, session_id: str) -> Answer:
    """Reads a session. Raises NOT_FOUND."""
    return {"session": owned(call, await deps.store.get(SESSIONS.get(session_id)))}


async def list_sessions(deps: Deps, call: CallContext, *, bot_id: str, page_size: int, page_token: str) -> Answer:
    """Lists the caller's sessions, newest first. Raises FIELD_INVALID."""
    wanted = paging.size(page_size)
    before_id = paging.position(deps, call, page_token)
    sessions = await deps.store.read(
        lambda tx: page_of_sessions(tx, call, bot_id=bot_id, page_size=wanted + 1, before_id=before_id)
    )
    return paging.page(deps, call, "sessions", sessions, wanted)


async def close_session(deps: Deps, call: CallContext, *, session_id: str) -> Answer:
    """Ends a conversation; ending it again changes nothing. Raises NOT_FOUND."""

    async def work(tx: Tx) -> Answer:
        session = owned(call, await tx.load(SESSIONS.lock(session_id)))
        closed = replace(session, state=move("session", SESSION_TRANSITIONS, session.state, SessionCommand.CLOSE))
        if closed != session:
            tx.put(closed)
            tell(tx, "session", closed)
            tx.after_commit(closed.id)
        return {"session": closed}

    return await once(deps, call, work)


async def send_message(deps: Deps, call: CallContext, *, session_id: str, content: Content) -> Answer:
    """Says something in a session. Raises NOT_FOUND, FIELD_INVALID, INVALID_STATE."""
    if call.caller == Caller.CHANNEL:
        call.require_user()
    sender = Sender.BOT if call.caller == Caller.PARTNER else Sender.USER
    _, user = await deps.store.read(lambda tx: _conversation(tx, call, session_id))
    said = contents.admitted(sender, content)

    async def work(tx: Tx) -> Answer:
        session = owned(call, await tx.load(SESSIONS.lock(session_id)))
        _, message = messages.say(deps, tx, session, user, sender, said)
        return {"message": message}

    answer = await once(deps, call, work)
    return {"message": messages.view(deps, answer["message"], user)}


async def list_messages(
    deps: Deps, call: CallContext, *, session_id: str, after_sequence: int, page_size: int
) -> Answer:
    """Lists what was said behind a sequence, oldest first. Raises NOT_FOUND, FIELD_INVALID."""
    wanted = paging.size(page_size)
    _, user, found = await deps.store.read(
        lambda tx: _conversation_after(tx, call, session_id, _sequence(after_sequence), wanted)
    )
    return {"messages": tuple(messages.view(deps, message, user) for message in found)}


async def stream_messages(
    deps: Deps, call: CallContext, *, session_id: str, after_sequence: int
) -> AsyncIterator[Answer]:
    """Follows what is said behind a sequence until the session is closed. Raises NOT_FOUND, FIELD_INVALID."""
    after = _sequence(after_sequence)

    async def look(tx: Tx) -> tuple[Session, User, list[Message]]:
        return await _conversation_after(tx, call, session_id, after, paging.PAGE_SIZE_MAX)

    with deps.settled.listen(session_id) as bell:
        while True:
            session, user, found = await deps.store.read(look)
            for message in found:
                after = message.sequence
                yield {"message": messages.view(deps, message, user)}
            if after < session.message_count and found:
                continue
            if session.state == SessionState.CLOSED:
                return
            await bell.rung(LOOK_SECONDS)


async def _require_reachable(tx: Tx, bot: Bot | None, user: User | None) -> tuple[Bot, User]:
    """A live bot of an active partner, and an active person.

    They are read without a lock, as they are for every call: a suspension acts from the next call on, and one that
    comes between makes the conversation a moment older than itself.
    """
    if bot is None or user is None or bot.state in (BotState.DRAFT, BotState.IN_REVIEW):
        raise not_found()
    partner = await tx.load(PARTNERS.get(bot.partner_id))
    if bot.state != BotState.LIVE or partner is None or partner.state != PartnerState.ACTIVE:
        raise Refused(Reason.PARTNER_SUSPENDED, "This bot cannot be talked to at the moment: it is suspended.")
    if user.state != UserState.ACTIVE:
        raise Refused(Reason.PARTNER_SUSPENDED, "The user is suspended. Contact the operator.")
    return bot, user


def _referred(tx: Tx, session: Session, referral: Referral | None) -> Session:
    """The open session with what brought the person this time, if anything did; the bot is told."""
    if referral is None or referral == Referral():
        return session
    session = replace(session, referral=referral)
    tx.put(session)
    tell(tx, "session", session, "session.referred")
    return session


def _new_session(tx: Tx, bot: Bot, user: User, bot_user: BotUser | None, referral: Referral | None) -> Session:
    """An open session that names the one before it; the bot keeps knowing the person by the same id."""
    session_id = tx.new_id("ses")
    bot_user_id = bot_user.id if bot_user is not None else tx.new_id("bsu")
    create_time = bot_user.create_time if bot_user is not None else tx.now
    tx.put(BotUser(bot_user_id, bot.id, user.id, session_id, create_time))
    return Session(
        id=session_id,
        bot_id=bot.id,
        partner_id=bot.partner_id,
        user_id=user.id,
        bot_user_id=bot_user_id,
        channel_id=user.channel_id,
        state=SessionState.OPEN,
        referral=referral or Referral(),
        previous_session_id=bot_user.session_id if bot_user is not None else "",
        message_count=0,
        locale=user.locale,
        create_time=tx.now,
    )


async def _conversation(tx: Tx, call: CallContext, session_id: str) -> tuple[Session, User]:
    """The session where it is the caller's, and its person. Raises NOT_FOUND."""
    session = owned(call, await tx.load(SESSIONS.get(session_id)))
    user = await tx.load(USERS.get(session.user_id))
    if user is None:
        raise AssertionError(f"the session {session.id} has lost its person")
    return session, user


async def _conversation_after(
    tx: Tx, call: CallContext, session_id: str, sequence: int, limit: int
) -> tuple[Session, User, list[Message]]:
    """As `_conversation`, with what was said behind a sequence; nothing is looked for where nothing was."""
    session, user = await _conversation(tx, call, session_id)
    said = session.message_count > sequence
    return session, user, await messages_after(tx, session.id, sequence, limit) if said else []


def _sequence(after_sequence: int) -> int:
    if after_sequence < 0:
        raise invalid_field("after_sequence", "must be 0 or more.")
    return after_sequence
