"""A request understood, an operation's result, and an answer with the way it travels."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

Json = dict[str, Any]

MICROSECONDS = 1_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Travel(StrEnum):
    """What becomes of an answer on its way."""

    WHOLE = "WHOLE"
    HALF = "HALF"
    """The head and the first half of the body arrive, then the connection closes."""
    CLOSED = "CLOSED"
    """The connection closes without an answer."""
    NEVER = "NEVER"
    """The connection stays open and nothing ever comes."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer. It is to be sent `delay_seconds` after it was made, in the way `travel` says."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    delay_seconds: float = 0.0
    travel: Travel = Travel.WHOLE


@dataclass(frozen=True, slots=True)
class Call:
    """A request to one operation. `headers` have lower-case names; `now` is microseconds since the epoch."""

    operation: str
    path: str
    now: int
    ids: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Json = field(default_factory=dict)
    request_id: str = ""

    @property
    def wants_all(self) -> bool:
        """Whether `Prefer` asks for the whole resource; PayPal's default is the minimal answer."""
        return self.headers.get("prefer", "") == "return=representation"


@dataclass(frozen=True, slots=True)
class Result:
    """What an operation did. `view(full)` is the resource as it is *now*: a repetition shows today's state.

    A view of None is an answer without a body (204).
    """

    status: int
    view: Callable[[bool], Json | None]
    again_status: int = 200


def whole(body: Json) -> Callable[[bool], Json | None]:
    """A view that is the same for every `Prefer`."""
    return lambda _full: body


def dump(value: object) -> bytes:
    """Compact JSON."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def json_answer(status: int, body: object, **extra: str) -> Answer:
    """A whole answer with a JSON body."""
    return Answer(status, {"content-type": "application/json", **extra}, dump(body))


def iso(time: int) -> str:
    """`time`, microseconds since the epoch, as PayPal writes it: seconds, UTC, `Z`."""
    return moment(time).strftime("%Y-%m-%dT%H:%M:%SZ")


def moment(time: int) -> datetime:
    """`time`, microseconds since the epoch, as an aware datetime."""
    return _EPOCH + timedelta(microseconds=time)


def micros(seconds: float) -> int:
    """Seconds as whole microseconds."""
    return int(seconds * MICROSECONDS)
