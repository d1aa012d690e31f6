"""People, as their channel knows them."""

from __future__ import annotations

from enum import StrEnum

from comptoir_server.domain.records import record


class UserState(StrEnum):
    """Whether a person may act."""

    ACTIVE = "ACTIVE"
    SUSPENDED = "SUSPENDED"


@record
class User:
    """A person in one channel.

    Names and the channel's own id are sealed under `wrapped_key`, the person's own data key (itself
    wrapped); `channel_user_hash` is a keyed hash by which the channel's id is found again. Without the
    key nothing that is sealed for this person can ever be read.
    """

    id: str
    channel_id: str
    channel_user_hash: str
    channel_user_sealed: bytes
    display_name_sealed: bytes
    wrapped_key: bytes
    market: str
    locale: str
    time_zone: str
    state: UserState
    default_wallet_id: str
    create_time: int


@record
class BotUser:
    """A person as one bot knows them. `session_id` is the session opened last, open or closed."""

    id: str
    bot_id: str
    user_id: str
    session_id: str
    create_time: int
