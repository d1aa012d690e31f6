"""How a bot works through its log: one session in order, many side by side, and nothing blocks it for ever."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from comptoir._acknowledgements import Acknowledgements
from comptoir._aio_streams import AsyncEventStream
from comptoir._retry import STREAM_CAP_SECONDS, UNANSWERED, Backoff
from comptoir._runtime import Runtime
from comptoir.errors import ComptoirError
from comptoir.v1 import Event

logger = logging.getLogger("comptoir")

FIRST_RETRY_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Effort:
    """How much a bot does at once, and how long it tries."""

    concurrency: int
    """How many events are handled at the same time, 1 or more."""
    max_attempts: int
    """How often an event is given to its function before it is given up, 1 or more."""
    grace_seconds: float
    """How long functions may go on after the bot was told to stop."""


class Dispatcher:
    """Gives the events of a stream to a function and acknowledges them, each once all before it are finished."""

    def __init__(
        self,
        stream: AsyncEventStream,
        handle: Callable[[Event], Awaitable[None]],
        give_up: Callable[[Event, Exception], Awaitable[None]],
        effort: Effort,
        runtime: Runtime,
    ) -> None:
        self._stream = stream
        self._handle = handle
        self._give_up = give_up
        self._effort = effort
        self._runtime = runtime
        self._slots = asyncio.Semaphore(effort.concurrency)
        self._lanes: dict[str, deque[Event]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._acknowledgements = Acknowledgements()
        self.acknowledged_cursor = ""
        """The cursor up to which everything was dealt with; empty where nothing was yet."""

    async def run(self) -> None:
        """Works until the stream is closed or cannot go on; functions that are running then get the grace time."""
        try:
            async for event in self._stream:
                self._acknowledgements.begin(event)
                self._line_up(event)
        finally:
            await self._wind_up()

    def _line_up(self, event: Event) -> None:
        """Puts an event behind the others of its session."""
        waiting = self._lanes.get(event.session_id)
        if waiting is not None:
            waiting.append(event)
            return
        self._lanes[event.session_id] = deque([event])
        task = asyncio.create_task(self._work_through(event.session_id), name=f"session {event.session_id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _work_through(self, session_id: str) -> None:
        waiting = self._lanes[session_id]
        while waiting:
            await self._deal_with(waiting[0])
            finished = self._acknowledgements.finish(waiting.popleft())
            if finished is not None:
                self.acknowledged_cursor = finished.cursor
                self._stream.ack(finished)
        del self._lanes[session_id]

    async def _deal_with(self, event: Event) -> None:
        """Gives an event to its function until that returns, or until the attempts are used up."""
        backoff = Backoff(self._runtime, STREAM_CAP_SECONDS, FIRST_RETRY_SECONDS)
        failures = 0
        while True:
            breaks = self._stream.breaks
            try:
                async with self._slots:
                    await self._handle(event)
                return
            except Exception as error:
                if not self._is_outage(error, breaks):
                    failures += 1
                if failures >= self._effort.max_attempts:
                    await self._abandon(event, error)
                    return
                delay = backoff.after(error.retry_after_seconds if isinstance(error, ComptoirError) else None)
                what = f"{event.event_id} ({event.type})"
                logger.warning("%s failed; trying again in %.1f s", what, delay, exc_info=True)
            await self._runtime.sleep_async(delay)

    def _is_outage(self, error: Exception, breaks: int) -> bool:
        """Whether the platform was away rather than the event unbearable: that is waited out and not counted."""
        heard = self._stream.connected and self._stream.breaks == breaks
        return isinstance(error, ComptoirError) and error.code in UNANSWERED and not heard

    async def _abandon(self, event: Event, error: Exception) -> None:
        logger.error(
            "%s (%s) is given up after %d attempts",
            event.event_id,
            event.type,
            self._effort.max_attempts,
            exc_info=error,
        )
        try:
            async with self._slots:
                await self._give_up(event, error)
        except Exception:
            logger.exception("%s (%s): reporting it failed too", event.event_id, event.type)

    async def _wind_up(self) -> None:
        """Lets what is running finish within the grace time; what is not finished comes again."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self._effort.grace_seconds)
        unfinished = list(self._tasks)
        for task in unfinished:
            task.cancel()
        await asyncio.gather(*unfinished, return_exceptions=True)
