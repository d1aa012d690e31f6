"""Who may work now: turns at a few desks, shared fairly between all who come, however many calls one of them makes.

Below a desk's limit nobody notices it. At the limit calls wait, each owner's in a line of its own, and whoever has the
fewest calls at work comes next. A line has as many places as everybody's would have if one more came: nobody can fill
the house before a newcomer arrives, and who wants more is refused, told when to come again, and delays nobody else.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from dataclasses import dataclass

from comptoir_server.app.credentials import Principal
from comptoir_server.transport import failures
from comptoir_server.transport.policy import Method


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one process takes on at once.

    `quick` is how many calls work at once that wait for nobody, `asking` how many that may wait for a provider: a
    provider that hangs holds up only those. At either desk so many are `waiting`, all lines together. Where `calls` are
    open everybody is refused: more than both desks and their lines hold, or those who fill these would shut others out.
    """

    calls: int = 3_000
    quick: int = 128
    asking: int = 600
    waiting: int = 1_000
    streams: int = 10_000
    streams_of_one_caller: int = 250


class Desk:
    """Turns at one kind of work: `at_once` calls have theirs, and `places` may wait, all lines together."""

    def __init__(self, at_once: int, places: int) -> None:
        self._at_once = at_once
        self._places = places
        self._total = 0
        self._working: Counter[str] = Counter()
        self._lines: dict[str, deque[asyncio.Future[None]]] = {}

    def try_take(self, owner: str) -> bool:
        """A turn where one is free and nobody waits for it."""
        if self._total >= self._at_once or self._lines:
            return False
        self._start(owner)
        return True

    async def take(self, owner: str, seconds: float) -> None:
        """A turn, for which the owner's line waits. Raises RATE_LIMITED where that is full, OVERLOADED in the end."""
        if self.try_take(owner):
            return
        line = self._lines.get(owner)
        if len(line or ()) >= self.share(owner):
            raise failures.too_many_calls()
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._lines.setdefault(owner, deque()).append(turn)
        try:
            async with asyncio.timeout(max(seconds, 0.0)):
                await turn
        except BaseException as error:
            self._leave(owner, turn)
            if isinstance(error, TimeoutError):
                raise failures.overloaded() from None
            raise

    def give(self, owner: str) -> None:
        """The turn is over; whoever waits and has the fewest calls at work has the next."""
        self._total -= 1
        self._working[owner] -= 1
        if not self._working[owner]:
            del self._working[owner]
        while self._lines and self._total < self._at_once:
            self._call_next()

    def share(self, owner: str) -> int:
        """How many places the line of an owner has."""
        present = self._working.keys() | self._lines.keys() | {owner}
        return max(self._places // (len(present) + 1), 1)

    def _call_next(self) -> None:
        owner = min(self._lines, key=self._working.__getitem__)
        line = self._lines.pop(owner)
        turn = line.popleft()
        if line:
            self._lines[owner] = line  # at the end: between equals, whoever was not called for the longest comes next
        if not turn.done():
            self._start(owner)
            turn.set_result(None)

    def _start(self, owner: str) -> None:
        self._total += 1
        self._working[owner] += 1

    def _leave(self, owner: str, turn: asyncio.Future[None]) -> None:
        """Somebody waits no more: where their turn had come in this moment it is the next one's."""
        if turn.done() and not turn.cancelled():
            self.give(owner)
            return
        line = self._lines.get(owner)
        if line is not None and turn in line:
            line.remove(turn)
            if not line:
                del self._lines[owner]


class Capacity:
    """The desks of one process."""

    def __init__(self, limits: Limits) -> None:
        self._quick = Desk(limits.quick, limits.waiting)
        self._asking = Desk(limits.asking, limits.waiting)

    def desk(self, method: Method) -> Desk:
        """Where the calls of a method have their turns."""
        return self._asking if method.waits_seconds else self._quick


def owner_of(principal: Principal) -> str:
    """In whose line a call stands: a partner's, or a channel's with all its people; the operator has one too."""
    return principal.partner_id or principal.channel_id or "operator"
