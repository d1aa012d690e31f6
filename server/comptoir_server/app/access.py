"""Ownership: what a caller may see. Foreign and absent look the same."""

from __future__ import annotations

from typing import Protocol, TypeVar

from comptoir_server.app.call import CallContext, Caller
from comptoir_server.domain.errors import not_found


class Owned(Protocol):
    """An object of a partner's bot and a channel's user."""

    @property
    def partner_id(self) -> str: ...
    @property
    def bot_id(self) -> str: ...
    @property
    def user_id(self) -> str: ...
    @property
    def channel_id(self) -> str: ...


class Personal(Protocol):
    """An object of a channel's user alone; partners never see it."""

    @property
    def user_id(self) -> str: ...
    @property
    def channel_id(self) -> str: ...


OwnedT = TypeVar("OwnedT", bound=Owned)
PersonalT = TypeVar("PersonalT", bound=Personal)


def owned(call: CallContext, found: OwnedT | None) -> OwnedT:
    """`found` where it is the caller's; NOT_FOUND where it is absent or somebody else's."""
    if found is None:
        raise not_found()
    if call.caller == Caller.PARTNER:
        mine = found.partner_id == call.partner_id and call.bot_id in ("", found.bot_id)
    elif call.caller == Caller.OPERATOR:
        mine = True
    else:
        mine = _of_user(call, found)
    if not mine:
        raise not_found()
    return found


def personal(call: CallContext, found: PersonalT | None) -> PersonalT:
    """`found` where it is the calling person's own; NOT_FOUND otherwise."""
    if found is None or call.caller not in (Caller.USER, Caller.CHANNEL) or not _of_user(call, found):
        raise not_found()
    return found


def _of_user(call: CallContext, found: Personal) -> bool:
    return found.channel_id == call.channel_id and (
        found.user_id == call.user_id or (call.caller == Caller.CHANNEL and not call.user_id)
    )
