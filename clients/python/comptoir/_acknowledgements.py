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

    def __len__(self) -> int:
        return len(self._waiting)

    def begin(self, event: Event) -> None:
        """Takes note of an event, in the order of the log."""
        self._waiting[event.event_id] = event

    def finish(self, event: Event) -> Event | None:
        """Takes note that an event was dealt with; answers the last one that may now be acknowledged, if any."""
        self._finished.add(event.event_id)
        last = None
        for event_id in list(self._waiting):
            if event_id not in self._finished:
                break
            last = self._waiting.pop(event_id)
            self._finished.discard(event_id)
        return last
