"""Which of a bot's functions an event is for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from comptoir.v1 import Event

MESSAGE_RECEIVED = "message.received"
POSTBACK_RECEIVED = "postback.received"

Handler = TypeVar("Handler", bound=Callable[..., object])


class Handlers(Generic[Handler]):
    """The functions of a bot: at most one an event type, and one a prefix of pressed buttons."""

    def __init__(self) -> None:
        self._by_type: dict[str, Handler] = {}
        self._by_prefix: dict[str, Handler] = {}

    def add_event(self, event_type: str, handler: Handler) -> None:
        """Gives all events of a type to a function. Raises ValueError for a second one."""
        _add(self._by_type, event_type, handler, f"events of type {event_type!r}")

    def add_postback(self, prefix: str, handler: Handler) -> None:
        """Gives buttons whose payload starts with a prefix to a function. Raises ValueError for a second one."""
        _add(self._by_prefix, prefix, handler, f"postbacks that start with {prefix!r}")

    def find(self, event: Event) -> Handler | None:
        """The function that an event is for: of the longest prefix that fits, else of its type; None where none is."""
        if event.type == POSTBACK_RECEIVED:
            payload = event.message.content.postback.payload
            fitting = [prefix for prefix in self._by_prefix if payload.startswith(prefix)]
            if fitting:
                return self._by_prefix[max(fitting, key=len)]
        return self._by_type.get(event.type)


def _add(table: dict[str, Handler], key: str, handler: Handler, what: str) -> None:
    if key in table:
        raise ValueError(f"{what} have a handler already: one function deals with an event, once")
    table[key] = handler
