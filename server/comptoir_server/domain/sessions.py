"""Conversations and what is said in them."""

from __future__ import annotations

from enum import StrEnum

from comptoir_server.domain.records import record


class SessionState(StrEnum):
    """Where a session stands."""

    OPEN = "OPEN"
    CLOSED = "CLOSED"


class SessionCommand(StrEnum):
    """What moves a session."""

    SPEAK = "SPEAK"
    CLOSE = "CLOSE"


SESSION_TRANSITIONS: dict[tuple[SessionState, SessionCommand], SessionState] = {
    (SessionState.OPEN, SessionCommand.SPEAK): SessionState.OPEN,
    (SessionState.OPEN, SessionCommand.CLOSE): SessionState.CLOSED,
    (SessionState.CLOSED, SessionCommand.CLOSE): SessionState.CLOSED,
}


class ReferralSource(StrEnum):
    """Where a person came from."""

    UNSPECIFIED = "UNSPECIFIED"
    AD = "AD"
    LINK = "LINK"


@record
class Referral:
    """What brought a person to a bot; the advertisement's id and the partner's reference in it."""

    source: ReferralSource = ReferralSource.UNSPECIFIED
    ad_id: str = ""
    ref: str = ""


@record
class Session:
    """A conversation between one person and one bot. `message_count` is the sequence of its last message."""

    id: str
    bot_id: str
    partner_id: str
    user_id: str
    bot_user_id: str
    channel_id: str
    state: SessionState
    referral: Referral
    previous_session_id: str
    message_count: int
    locale: str
    create_time: int


class Sender(StrEnum):
    """Who speaks."""

    USER = "USER"
    BOT = "BOT"
    PLATFORM = "PLATFORM"


@record
class Message:
    """Something that was said. `sealed` is the content's canonical JSON under the person's key, bound to the id."""

    id: str
    session_id: str
    sequence: int
    sender: Sender
    kind: str
    sealed: bytes
    create_time: int
