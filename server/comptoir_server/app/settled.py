"""Waiting for something to be committed, in this process or another."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar, cast

from comptoir_server.runtime import Runtime
from comptoir_server.store.database import EVERYTHING

POLL_SECONDS = 0.5
"""How often a waiter looks for itself; wake-ups only make it sooner."""

T = TypeVar("T")


class Bell:
    """Rings when its key is woken, also while its owner looks at the database: nothing is missed in between."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self.wakes = 0
        """How often its key was woken."""

    def wake(self) -> None:
        """Rings it because its key was woken."""
        self.wakes += 1
        self._event.set()

    def ring(self) -> None:
        """Rings it for another reason of its owner's."""
        self._event.set()

    async def rung(self, seconds: float) -> bool:
        """True as soon as it has rung since it was last asked; False when it has not after `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                await self._event.wait()
        except TimeoutError:
            return False
        self._event.clear()
        return True


class Settled:
    """Wakes those who wait for a key (an object's or a log's id) when a commit names it.

    The database is the truth and is polled; a lost wake-up costs half a second, never an answer.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        # In the order in which they came: what is woken first must not depend on where in memory it lies.
        self._waiting: dict[str, dict[asyncio.Future[Any], None]] = {}
        self._bells: dict[str, dict[Bell, None]] = {}
        self._given_up = False

    def give_up(self) -> None:
        """Lets nobody wait any longer, as if every deadline were now: the server is about to end."""
        self._given_up = True
        self.wake({EVERYTHING: None})

    def wake(self, wakes: Mapping[str, Any]) -> None:
        """Called after each commit with the keys that it touched and, for some, with what those who wait would find.

        The key EVERYTHING wakes everybody.
        """
        for key in list(self._waiting if EVERYTHING in wakes else filter(self._waiting.__contains__, wakes)):
            for future in self._waiting.pop(key):
                if not future.done():
                    future.set_result(wakes.get(key))
        for key in self._bells if EVERYTHING in wakes else filter(self._bells.__contains__, wakes):
            for bell in self._bells[key]:
                bell.wake()

    @contextmanager
    def listen(self, key: str) -> Iterator[Bell]:
        """A bell for `key`, for whoever follows it for long."""
        bell = Bell()
        self._bells.setdefault(key, {})[bell] = None
        try:
            yield bell
        finally:
            self._bells[key].pop(bell, None)
            if not self._bells[key]:
                del self._bells[key]

    async def pause(self, key: str, seconds: float) -> Any:
        """Returns when `key` is woken, with what the commit told; None after `seconds`."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key, {})[future] = None
        try:
            async with asyncio.timeout(seconds):
                return await future
        except TimeoutError:
            return None
        finally:
            waiters = self._waiting.get(key)
            if waiters is not None:
                waiters.pop(future, None)
                if not waiters:
                    del self._waiting[key]

    async def until(
        self, key: str, deadline: float, look: Callable[[], Awaitable[T | None]], *, just_begun: bool = False
    ) -> T | None:
        """What a commit tells of `key`, or `look` answers, as soon as one is not None; None at `deadline` (monotonic).

        What has `just_begun`, in a task that has not run yet, need not be looked at before the first wake-up.
        """
        found = None if just_begun else await look()
        while found is None:
            left = deadline - self._runtime.monotonic()
            if left <= 0 or self._given_up:
                return None
            found = cast(T | None, await self.pause(key, min(left, POLL_SECONDS))) or await look()
        return found
