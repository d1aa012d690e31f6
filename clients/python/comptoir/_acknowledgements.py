"""How far a log was dealt with, where its events are finished in any order."""

from __future__ import annotations

from comptoir.v1 import Event


class Acknowledgements:
    """Events on their way; an event may be acknowledged only when all before it are finished too.

    An acknowledgement speaks for everything up to it: were it sent for a later event first, a crash would lose the
    earlier ones.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, Event] = {}
        self._finished: set[str] = set()

    def begin(self, event: Event) -> None:
        """Takes note of an event, in the order of the log."""
        self._waiting[event.event_id] = event

    def finish(self, event: Event) -> Event | None:
        """Takes note that an event was dealt with; answers the last one that may now be acknowledged, if any."""
        self._finished.add(event.event_id)
        last = None
        while self._waiting and (first := next(iter(self._waiting))) in self._finished:
            self._finished.discard(first)
            last = self._waiting.pop(first)
        return last
