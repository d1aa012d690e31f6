"""What a streaming use case makes, handed over one by one to the call that sends it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from comptoir_server.runtime import Runtime
from comptoir_server.transport import failures

BUFFERED = 16
"""How many answers may wait for a slow reader before the use case waits too."""

SLOW_SECONDS = 60.0
"""For how long a reader may take nothing before the use case is ended; what was made until then is not lost on it."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The last of a feed; `error` says why it ended, None where the use case had no more to say."""

    error: Exception | None


class Feed:
    """Runs a streaming use case in a task of its own, so that whoever reads can look up from it now and then."""

    def __init__(self, runtime: Runtime, answers: AsyncGenerator[dict[str, Any], None], name: str) -> None:
        self._items: asyncio.Queue[dict[str, Any] | Ended] = asyncio.Queue()
        self._room = asyncio.Semaphore(BUFFERED)
        self._task = runtime.spawn(self._run(answers), name)

    async def next(self, seconds: float) -> dict[str, Any] | Ended | None:
        """The next answer, or how it ended; None where nothing came within `seconds`."""
        if self._items.empty():
            try:
                async with asyncio.timeout(seconds):
                    item = await self._items.get()
            except TimeoutError:
                return None
        else:
            item = self._items.get_nowait()
        self._room.release()
        return item

    def end(self, error: Exception) -> None:
        """Stops the use case; whoever reads gets what was made before, then `error`."""
        self._task.cancel()
        self._items.put_nowait(Ended(error))

    async def close(self) -> None:
        """Stops the use case and waits until it has let go of everything."""
        self._task.cancel()
        await asyncio.wait({self._task})

    async def _make_room(self) -> None:
        """Waits until the reader has taken something. Raises RATE_LIMITED where it does not for too long."""
        if not self._room.locked():
            await self._room.acquire()
            return
        try:
            async with asyncio.timeout(SLOW_SECONDS):
                await self._room.acquire()
        except TimeoutError:
            raise failures.too_slow() from None

    async def _run(self, answers: AsyncGenerator[dict[str, Any], None]) -> None:
        try:
            async with aclosing(answers):
                async for answer in answers:
                    await self._make_room()
                    self._items.put_nowait(answer)
        except Exception as error:  # noqa: BLE001 - handed on to the reader, who tells the caller and the log
            self._items.put_nowait(Ended(error))
        else:
            self._items.put_nowait(Ended(None))
