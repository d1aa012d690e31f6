"""Those who follow a log of events: they crash, stall and come back, and must miss nothing."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from comptoir.v1 import (
    Ack,
    AckEventsRequest,
    Event,
    ListEventsRequest,
    ListEventsResponse,
    StreamEventsRequest,
    StreamEventsResponse,
    Subscribe,
)
from comptoir_server.domain.errors import Reason
from comptoir_server.transport.failures import Failed
from tests.simulation.calls import METHODS, Credential
from tests.simulation.servers import Stream, Unreachable
from tests.simulation.world import World

CONSUMER = "reader"
PAGE_MAX = 12
STALL = 0.15
CRASH = 0.1
QUIET_SECONDS = 8.0

ENDS_WITHIN_SECONDS = 6.0
"""How long a stream may go on after its key was ended."""


@dataclass
class Segment:
    """What was read in one go. It began behind an event from `earliest` to `latest`, "" for the beginning."""

    earliest: str
    latest: str
    events: list[str] = field(default_factory=list)


class Reader:
    """Follows one log, by polling or by a stream."""

    def __init__(
        self, world: World, credential: Credential, log_id: str, bots: Collection[str], *, streams: bool
    ) -> None:
        self.world = world
        self.log_id = log_id
        self.segments: list[Segment] = []
        self.over = False
        self._credential = credential
        self._streams = streams
        self._bots = bots
        self._wanted: set[str] = set()
        self._draw = world.generator(f"reader {log_id} {streams}")
        self._cursors: dict[str, str] = {}
        self._saved = ""
        """The event up to which it has dealt with everything, as it remembers itself."""
        self._told = ""
        """The last event that it has acknowledged; the server may not have heard of it."""
        self._kept = ""
        """The last event that the server has confirmed."""

    async def live(self) -> None:
        """Reads until it is told that it is over."""
        while not self.over:
            if self.world.undecided:  # hours may pass until then
                await asyncio.sleep(60.0)
                continue
            try:
                await (self._stream() if self._streams else self._poll())
            except (Unreachable, TimeoutError):
                pass
            except Failed as failed:
                if failed.reason is Reason.FIELD_INVALID:
                    self.world.failed(f"E4 a cursor of {self.log_id} was refused")
            await self.world.pause(1.0)

    async def _poll(self) -> None:
        """One page after another, from where it remembers."""
        segment = self._begin(self._saved)
        cursor = self._cursors.get(self._saved, "")
        while True:
            request = ListEventsRequest(cursor=cursor, page_size=self._draw.randint(1, PAGE_MAX))
            raw = await self.world.network.once(self._credential, "ListEvents", request, 10.0)
            page = ListEventsResponse.FromString(raw)
            for event in page.events:
                self._take(segment, event)
            cursor = page.next_cursor
            if self._draw.random() < CRASH or self.world.undecided:
                return
            if page.events:
                self._saved = page.events[-1].event_id
                if self._draw.random() < 0.3:
                    await self._acknowledge(self._saved)
            elif self.over:
                return
            else:
                await self.world.pause(3.0)

    async def _acknowledge(self, event_id: str) -> None:
        request = AckEventsRequest(consumer=CONSUMER, cursor=self._cursors[event_id])
        await self.world.network.once(self._credential, "AckEvents", request, 10.0)

    async def _stream(self) -> None:
        """A stream, until it breaks off, or its reader does."""
        process = await self.world.network.reach()
        secret = self._credential.secret
        stream = process.stream(METHODS["StreamEvents"].path, self._credential.metadata)
        by_cursor = self._draw.random() < 0.5
        segment = self._begin(self._saved) if by_cursor else self._begin(self._kept, self._told)
        subscribe = Subscribe(
            consumer=CONSUMER,
            cursor=self._cursors.get(self._saved, "") if by_cursor else "",
            max_outstanding=self._draw.randint(1, PAGE_MAX),
        )
        stream.send(StreamEventsRequest(subscribe=subscribe).SerializeToString())
        try:
            await self._follow(stream, segment, secret)
        finally:
            stream.send(None)

    async def _follow(self, stream: Stream, segment: Segment, secret: str) -> None:
        while not self.over and not self.world.undecided:
            try:
                raw = await stream.next(QUIET_SECONDS if self.world.healed else 20.0)
            except TimeoutError:
                if self.world.healed:
                    continue
                raise
            answer = StreamEventsResponse.FromString(raw)
            if stream.arrived > self.world.ended_keys.get(secret, math.inf) + ENDS_WITHIN_SECONDS:
                self.world.failed("A3 a stream goes on though its key was ended")
            if answer.HasField("event"):
                self._take(segment, answer.event)
                if self._draw.random() < STALL and not self.world.healed:
                    await self.world.pause(2.0)
                if self._draw.random() < CRASH / 3:
                    return
                self._saved = self._told = answer.event.event_id
                stream.send(StreamEventsRequest(ack=Ack(cursor=answer.event.cursor)).SerializeToString())
            elif answer.HasField("acked"):
                confirmed = [event for event, cursor in self._cursors.items() if cursor == answer.acked.cursor]
                self._kept = confirmed[0] if confirmed else self._kept

    def _begin(self, earliest: str, latest: str = "") -> Segment:
        segment = Segment(earliest, latest or earliest)
        self.segments.append(segment)
        return segment

    def _take(self, segment: Segment, event: Event) -> None:
        segment.events.append(event.event_id)
        if event.bot_id and event.bot_id not in self._bots:
            self.world.failed(f"A1 an event of another's bot was read: {event.type}")
        known = self._cursors.setdefault(event.event_id, event.cursor)
        if known != event.cursor:
            self.world.failed(f"E3 {event.event_id} has two cursors")

    def judge(self, log: Sequence[str]) -> list[str]:
        """What is wrong with what it read, by what the log holds in the end."""
        place = {event_id: number for number, event_id in enumerate(log, 1)} | {"": 0}
        wrong = []
        for segment in self.segments:
            places = [place.get(event_id, -1) for event_id in segment.events]
            if not places:
                continue
            if places != list(range(places[0], places[0] + len(places))):
                wrong.append(f"E2 {self.log_id}: events were read out of order or with a gap")
            if not place[segment.earliest] < places[0] <= place[segment.latest] + 1:
                wrong.append(f"E4 {self.log_id}: resumed elsewhere than it had left off")
        if self._wanted - self._read():
            wrong.append(f"E3 {self.log_id}: events were never read")
        return wrong

    async def catch_up(self, log: Callable[[], Sequence[str]], seconds: float) -> None:
        """Waits until everything was read that the log holds, and ends."""
        deadline = self.world.loop.time() + seconds
        while True:
            self._wanted = set(log())
            if self._wanted <= self._read() or self.world.loop.time() > deadline:
                break
            await asyncio.sleep(5.0)
        self.over = True

    def _read(self) -> set[str]:
        return {event_id for segment in self.segments for event_id in segment.events}
