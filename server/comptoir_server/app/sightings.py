"""Since when this process knows that what was sent is over, on a clock that nobody sets.

A wall clock that is put right by an hour makes a request that is on its way look an hour old. What was written down by
wall clocks, ours or another server's, is therefore not enough to call something absent: a monotonic clock must have
been watched for as long as a send can take to have its effect. This is what one process has watched. The first of them
writes down when it began (`Operation.watch_start`), which those after it on the same machine take up.
"""

from __future__ import annotations

from collections import OrderedDict

MOST = 10_000
"""How many operations are known at once. Beyond it the oldest is forgotten: its proof comes later, and no sooner."""


class Sightings:
    """When the last send of each operation was over at the latest, in seconds of the monotonic clock."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._over: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def over(self, operation_id: str, sends: int, latest: float) -> float:
        """When the operation's `sends`-th send was over: as was said first of it, `latest` where this is the first."""
        known = self._over.get(operation_id)
        if known is None or known[0] != sends:
            known = self._over[operation_id] = (sends, latest)
            self._over.move_to_end(operation_id)
            if len(self._over) > self._most:
                self._over.popitem(last=False)
        return known[1]
