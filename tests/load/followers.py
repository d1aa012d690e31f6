"""Those who follow a log by StreamEvents, and when every event came to them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import grpc

from comptoir.v1 import Ack, StreamEventsRequest, StreamEventsResponse, Subscribe
from tests.load.wire import STREAM

OUTSTANDING = 1000
ACK_EVERY = 100
OPEN_SECONDS, DELIVER_SECONDS = 60, 120
LOOK_SECONDS = 0.005


class Followers:
    """Open streams of one log, or of several."""

    def __init__(self, about: dict[str, Any], channels: Sequence[grpc.aio.Channel]) -> None:
        self._about = about
        self._channels = channels
        self._streams: list[asyncio.Task[None]] = []
        self._opened = 0
        self._counts: list[int] = []
        self._delays: list[int] = []
        self._last = 0.0

    async def follow(self, streams: int, keys: list[str], cursors: list[str]) -> dict[str, int]:
        """Opens streams, by turns with these keys and behind these cursors; answers when all of them are open."""
        self._opened, self._counts, self._delays = 0, [0] * streams, []
        for number in range(streams):
            turn = number % len(keys)
            self._streams.append(asyncio.create_task(self._stream(number, keys[turn], cursors[turn])))
        async with asyncio.timeout(OPEN_SECONDS):
            while self._opened < streams:
                await self._look()
        return {"streams": streams}

    async def delivered(self, events: int) -> dict[str, float]:
        """Waits until every stream has brought so many events; delays are from the time that an event bears."""
        async with asyncio.timeout(DELIVER_SECONDS):
            while min(self._counts) < events:
                await self._look()
        delays = sorted(self._delays)
        return {
            "deliveries": sum(self._counts),
            "last": self._last,
            "p50_ms": delays[len(delays) // 2] / 1e6,
            "p99_ms": delays[int(len(delays) * 0.99)] / 1e6,
        }

    async def leave(self) -> dict[str, int]:
        """Closes all streams."""
        for stream in self._streams:
            stream.cancel()
        await asyncio.gather(*self._streams, return_exceptions=True)
        closed, self._streams = len(self._streams), []
        return {"streams": closed}

    async def _look(self) -> None:
        await asyncio.sleep(LOOK_SECONDS)
        for stream in self._streams:
            if stream.done():
                stream.result()
                raise SystemExit("a stream ended")

    async def _stream(self, number: int, key: str, cursor: str) -> None:
        """Subscribes, and acknowledges now and then; the first answer to that shows that the stream is open."""
        call: Any = self._channels[number % len(self._channels)].stream_stream(STREAM)
        open_call = call(metadata=(("authorization", f"Bearer {self._about[key]}"),))
        first = Subscribe(consumer=f"{number}", cursor=cursor, max_outstanding=OUTSTANDING)
        await open_call.write(StreamEventsRequest(subscribe=first).SerializeToString())
        await open_call.write(StreamEventsRequest(ack=Ack(cursor=cursor)).SerializeToString())
        opened = False
        while (raw := await open_call.read()) is not grpc.aio.EOF:
            answer = StreamEventsResponse.FromString(raw)
            if answer.HasField("acked") and not opened:
                opened = True
                self._opened += 1
            if answer.HasField("event"):
                self._last = time.perf_counter()
                self._counts[number] += 1
                self._delays.append(time.time_ns() - answer.event.create_time.ToNanoseconds())
                if self._counts[number] % ACK_EVERY == 0:
                    ack = Ack(cursor=answer.event.cursor)
                    await open_call.write(StreamEventsRequest(ack=ack).SerializeToString())
