"""Saying something in a session: sealed under the person's key, numbered, told to the other side."""

from __future__ import annotations

from dataclasses import dataclass

from comptoir_server.app import events
from comptoir_server.app.deps import Deps
from comptoir_server.app.rendering import plain_text
from comptoir_server.domain import transitions
from comptoir_server.domain.cards import CONTENT_KINDS, KIND_OF, Content
from comptoir_server.domain.records import replace
from comptoir_server.domain.sessions import SESSION_TRANSITIONS, Message, Sender, Session, SessionCommand
from comptoir_server.domain.users import User
from comptoir_server.store import snapshots
from comptoir_server.store.tx import Tx
from comptoir_server.vault import Unreadable


@dataclass(frozen=True, slots=True)
class MessageView:
    """A message opened for reading; `content` is None once the person's data was erased."""

    message: Message
    content: Content | None
    plain_text: str


def say(deps: Deps, tx: Tx, session: Session, user: User, sender: Sender, content: Content) -> tuple[Session, Message]:
    """Appends a message to a session that this work has locked, and tells the other side.

    Answers the session with its new count, already put, and the message. INVALID_STATE in a closed session.
    """
    transitions.move("session", SESSION_TRANSITIONS, session.state, SessionCommand.SPEAK)
    return append(deps, tx, session, user, sender, content)


def append(
    deps: Deps, tx: Tx, session: Session, user: User, sender: Sender, content: Content
) -> tuple[Session, Message]:
    """Like `say`, in a closed session too: the platform must be able to tell what became of money."""
    message_id = tx.new_id("msg")
    sealed = deps.vault.key(user.id, user.wrapped_key).seal(message_id, snapshots.dump(content))
    session = replace(session, message_count=session.message_count + 1)
    message = Message(message_id, session.id, session.message_count, sender, KIND_OF[type(content)], sealed, tx.now)
    tx.put(session)
    tx.put(message)
    event_type = "postback.received" if message.kind == "postback" else "message.received"
    by_person = sender == Sender.USER
    events.append(
        tx,
        "message",
        message,
        event_type,
        partner_id=session.partner_id if by_person else None,
        channel_id=None if by_person else session.channel_id,
        bot_id=session.bot_id,
        session_id=session.id,
        user_id=user.id,
    )
    tx.after_commit(session.id)
    return session, message


def view(deps: Deps, message: Message, user: User) -> MessageView:
    """The message opened with the person's key and rendered in their language."""
    try:
        text = deps.vault.key(user.id, user.wrapped_key).open(message.id, message.sealed)
    except Unreadable:
        return MessageView(message, None, "")
    content = snapshots.load(CONTENT_KINDS[message.kind], text)
    return MessageView(message, content, plain_text(content, user.locale, user.time_zone))
