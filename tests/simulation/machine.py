"""The machine that a server runs on: its wall clock, which may be wrong, and everything else that `Runtime` gives."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx

from comptoir_server.runtime import MICROSECONDS, Runtime
from comptoir_server.store.errors import StorageUnavailable
from tests.simulation.loop import VirtualLoop

if TYPE_CHECKING:
    from tests.simulation.servers import Process

EPOCH = 1_790_000_000 * MICROSECONDS
"""When every world begins: a moment in September 2026."""

RUNNING: ContextVar[Process | None] = ContextVar("running", default=None)
"""The server process whose code runs; None for the world around it."""


@dataclass
class Clock:
    """A machine's clocks: the wall clock is that of the world, `ahead` of it by so many microseconds; nobody sets the
    monotonic one, which begins anew at each start of the machine."""

    loop: VirtualLoop
    world: Clock | None = None
    name: str = ""
    ahead: int = 0
    starts: int = 0
    started: float = 0.0

    def now(self) -> int:
        """Microseconds since the Unix epoch."""
        true = EPOCH + int(self.loop.time() * MICROSECONDS) if self.world is None else self.world.now()
        return true + self.ahead

    def monotonic(self) -> float:
        """Seconds since the machine was started."""
        return self.loop.time() - self.started

    def start(self) -> None:
        """The machine is started again."""
        self.starts += 1
        self.started = self.loop.time()


class VirtualRuntime(Runtime):
    """The seams of one server process under virtual time; all randomness is drawn from `draw`."""

    def __init__(
        self,
        clock: Clock,
        draw: random.Random,
        transport: httpx.AsyncBaseTransport,
        failed: Callable[[str], None],
    ) -> None:
        super().__init__()
        self.monotonic_clock = f"{clock.name}, start {clock.starts}"
        self._clock = clock
        self._draw = draw
        self._transport = transport
        self._failed = failed

    def now(self) -> int:
        return self._clock.now()

    def monotonic(self) -> float:
        return self._clock.monotonic()

    def random_bytes(self, count: int) -> bytes:
        return self._draw.randbytes(count)

    def uniform(self, low: float, high: float) -> float:
        return self._draw.uniform(low, high)

    def thread(self, target: Callable[[], None], name: str) -> threading.Thread:
        raise AssertionError(f"{name} wants a thread")

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = super().spawn(work, name)
        task.add_done_callback(self._look_at)
        return task

    def _look_at(self, task: asyncio.Task[None]) -> None:
        """A task that ends with an exception is a failure, for nobody hears of it; without storage it may."""
        if not task.cancelled() and isinstance(task.exception(), Exception):
            if isinstance(task.exception(), StorageUnavailable):
                return
            self._failed(f"task {task.get_name().partition(' ')[0]} failed: {task.exception()!r}")

    def http_client(self, base_url: str, timeout_seconds: float, **options: Any) -> httpx.AsyncClient:
        options.pop("limits", None)
        return super().http_client(
            base_url, timeout_seconds, transport=self._transport, trust_env=False, verify=False, **options
        )
