"""Partners, bots, channels and the keys that speak for them."""

from __future__ import annotations

from enum import StrEnum

from comptoir_server.domain.records import record


class PartnerState(StrEnum):
    """Whether a partner may act."""

    ACTIVE = "ACTIVE"
    SUSPENDED = "SUSPENDED"


class BotState(StrEnum):
    """Where a bot stands on its way to people."""

    DRAFT = "DRAFT"
    IN_REVIEW = "IN_REVIEW"
    LIVE = "LIVE"
    SUSPENDED = "SUSPENDED"


class BotCommand(StrEnum):
    """What moves a bot."""

    SUBMIT = "SUBMIT"
    APPROVE = "APPROVE"


BOT_TRANSITIONS: dict[tuple[BotState, BotCommand], BotState] = {
    (BotState.DRAFT, BotCommand.SUBMIT): BotState.IN_REVIEW,
    (BotState.IN_REVIEW, BotCommand.SUBMIT): BotState.IN_REVIEW,
    (BotState.IN_REVIEW, BotCommand.APPROVE): BotState.LIVE,
    (BotState.SUSPENDED, BotCommand.APPROVE): BotState.LIVE,
    (BotState.LIVE, BotCommand.APPROVE): BotState.LIVE,
}


class KeyState(StrEnum):
    """Whether a key works."""

    ACTIVE = "ACTIVE"
    REVOKED = "REVOKED"


class KeyCommand(StrEnum):
    """What moves a key."""

    REVOKE = "REVOKE"


KEY_TRANSITIONS: dict[tuple[KeyState, KeyCommand], KeyState] = {
    (KeyState.ACTIVE, KeyCommand.REVOKE): KeyState.REVOKED,
    (KeyState.REVOKED, KeyCommand.REVOKE): KeyState.REVOKED,
}


@record
class Partner:
    """A merchant. `fee_basis_points`: the platform's share of a capture in hundredths of a percent."""

    id: str
    display_name: str
    support_contact: str
    fee_basis_points: int
    state: PartnerState
    create_time: int


@record
class Channel:
    """A way by which people reach bots."""

    id: str
    display_name: str
    create_time: int


@record
class Bot:
    """A partner's program that talks to people."""

    id: str
    partner_id: str
    display_name: str
    greeting: str
    state: BotState
    create_time: int


@record
class ApiKey:
    """A credential. `owner_id` is a partner, a channel, or empty for an operator; of the secret a keyed hash is kept.

    `scopes` may hold `*`: everything the owner may. `expire_time` 0 means never.
    """

    id: str
    owner_id: str
    bot_id: str
    secret_hash: str
    hint: str
    scopes: tuple[str, ...]
    state: KeyState
    create_time: int
    expire_time: int
