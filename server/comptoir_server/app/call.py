"""Who calls, for whom, and how long they wait."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from comptoir_server.domain.errors import Reason, Refused
from comptoir_server.domain.requests import request_key


class Caller(StrEnum):
    """The kind of credential that calls."""

    PARTNER = "PARTNER"
    USER = "USER"
    CHANNEL = "CHANNEL"
    OPERATOR = "OPERATOR"


@dataclass(frozen=True, slots=True)
class CallContext:
    """One call, after its credential was checked.

    `partner_id`, `bot_id`, `user_id` and `channel_id` come from the credential alone: a partner's key has a
    partner and perhaps a bot; a user's token a user and its channel; a channel's key a channel and, named in
    the metadata and checked against the channel's own users, perhaps a user. `fingerprint` identifies the
    request's content. `deadline` is on the monotonic clock, in seconds: when the caller stops waiting.
    """

    caller: Caller
    method: str
    deadline: float
    partner_id: str = ""
    bot_id: str = ""
    user_id: str = ""
    channel_id: str = ""
    key_id: str = ""
    scopes: frozenset[str] = frozenset({"*"})
    request_id: str = ""
    fingerprint: str = ""

    @property
    def owner(self) -> str:
        """Behind whom request ids are counted: never the key or token itself."""
        match self.caller:
            case Caller.PARTNER:
                return self.partner_id
            case Caller.USER:
                return self.user_id
            case Caller.CHANNEL:
                return f"{self.channel_id}+{self.user_id}"
            case Caller.OPERATOR:
                return "operator"

    @property
    def request_key(self) -> str:
        """The unique name of this request: owner, method, request id."""
        return request_key(self.owner, self.method, self.request_id)

    @property
    def log_id(self) -> str:
        """The log of events that the caller reads: its partner's or its channel's."""
        return self.partner_id or self.channel_id

    def require_user(self) -> str:
        """The user of the call; FIELD_INVALID where a channel named none."""
        if not self.user_id:
            raise Refused(
                Reason.FIELD_INVALID,
                "This is done for one person: name it in the metadata entry comptoir-user.",
                field="comptoir-user",
            )
        return self.user_id
