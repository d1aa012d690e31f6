"""An event loop without a clock and without sockets: one thread, virtual time, and a seeded choice of what runs next.

Real loops run what is ready in the order in which it became so. This one may run it in any order, so that a program
which relies on more than asyncio promises is found out; and time passes only when nothing is ready.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
import random
import sys
from collections.abc import Callable, Coroutine, Generator
from typing import Any, TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

NEVER = 1 << 62

STEP_SECONDS = 1e-6
"""What a step takes: without it, whoever waits until a moment that is almost now would wait for ever."""


class Stuck(Exception):
    """The run cannot go on: a deadlock (nothing is left that could happen) or a livelock (too many steps)."""


class Halt(BaseException):
    """Stops the code that runs, as a killed process does; the loop takes it for nothing unusual."""


class Handle(asyncio.Handle):
    """A callback that waits for its turn; lighter than asyncio's, which looks at the loop's debug mode each time."""

    __slots__ = ()

    def __init__(
        self, callback: Callable[..., object], arguments: tuple[Any, ...], context: contextvars.Context | None
    ) -> None:
        self._callback = callback
        self._args = arguments
        self._context = contextvars.copy_context() if context is None else context
        self._cancelled = False

    def cancel(self) -> None:
        self._cancelled = True

    def cancelled(self) -> bool:
        return self._cancelled


class Timer(Handle, asyncio.TimerHandle):
    """A callback that waits for its time."""

    __slots__ = ("due",)
    due: float

    def when(self) -> float:
        return self.due


class VirtualLoop(asyncio.AbstractEventLoop):
    """Runs one coroutine to its end. `shuffled` lets it choose among what is ready; else it keeps the order.

    `interrupt` sets a function that is called once when so many steps were made: that is how crashes come at random.
    """

    def __init__(self, draw: random.Random, *, shuffled: bool = True, steps_max: int = 1_000_000) -> None:
        self.steps = 0
        self.failures: list[str] = []
        """What callbacks and tasks raised that nobody waited for."""
        self._draw = draw.random
        self._shuffled = shuffled
        self._steps_max = steps_max
        self._now = 1_000.0  # a monotonic clock never begins at 0
        self.started: Callable[[asyncio.Task[Any]], None] = lambda _task: None
        """Is told of every task."""
        self.tasks: list[asyncio.Task[Any]] = []
        self._ready: list[Handle] = []
        self._timers: list[tuple[float, int, Handle]] = []
        self._timer_count = 0
        self._interrupt_at = NEVER
        self._interruption: Callable[[], None] = lambda: None

    def begin_at(self, seconds: float) -> None:
        """Lets the clock begin so much later."""
        self._now += seconds

    def interrupt(self, after_steps: int, interruption: Callable[[], None]) -> None:
        """Calls `interruption` between two callbacks, so many steps from now; the last call counts."""
        self._interrupt_at = self.steps + after_steps
        self._interruption = interruption

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """The result of `main`. Raises what it raises, or Stuck."""
        old_hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(firstiter=None, finalizer=self._finalize)
        asyncio._set_running_loop(self)
        try:
            task = self.create_task(main)
            while not task.done():
                self._step()
            return task.result()
        finally:
            asyncio._set_running_loop(None)
            sys.set_asyncgen_hooks(*old_hooks)

    def _step(self) -> None:
        ready = self._ready
        if not ready:
            self._let_time_pass()
            return
        self.steps += 1
        self._now += STEP_SECONDS
        if self.steps >= self._interrupt_at:
            self._interrupt_at = NEVER
            self._interruption()
        if self.steps > self._steps_max:
            raise Stuck(f"livelock: {self._steps_max} steps at {self._now:.3f} s")
        count = len(ready)
        if count == 1:
            handle = ready.pop()
        elif self._shuffled:
            chosen = int(self._draw() * count)
            handle = ready[chosen]
            ready[chosen] = ready[-1]
            ready.pop()
        else:
            handle = ready.pop(0)
        if handle._cancelled:
            return
        try:
            handle._context.run(handle._callback, *handle._args)
        except Halt:
            return
        except Exception as error:  # noqa: BLE001 - whatever it is, it is a finding
            self.failures.append(f"a callback failed: {error!r}")

    def _let_time_pass(self) -> None:
        timers = self._timers
        while timers and timers[0][2]._cancelled:
            heapq.heappop(timers)
        if not timers:
            raise Stuck(f"deadlock: nothing is left to happen at {self._now:.3f} s")
        self._now = max(self._now, timers[0][0])
        while timers and timers[0][0] <= self._now:
            handle = heapq.heappop(timers)[2]
            if not handle._cancelled:
                self._ready.append(handle)

    def _finalize(self, generator: Any) -> None:
        """Closes an async generator that nobody holds any more."""
        self.create_task(generator.aclose())

    def time(self) -> float:
        return self._now

    def call_soon(
        self,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.Handle:
        handle = Handle(callback, args, context)
        self._ready.append(handle)
        return handle

    def call_soon_threadsafe(
        self,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.Handle:
        return self.call_soon(callback, *args, context=context)

    def call_later(
        self,
        delay: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(
        self,
        when: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        handle = Timer(callback, args, context)
        handle.due = when
        self._timer_count += 1
        heapq.heappush(self._timers, (when, self._timer_count, handle))
        return handle

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(
        self,
        coro: Generator[Any, None, T] | Coroutine[Any, Any, T],
        *,
        name: str | None = None,
        context: contextvars.Context | None = None,
    ) -> asyncio.Task[T]:
        task = asyncio.Task(coro, loop=self, name=name, context=context)
        self.tasks.append(task)
        self.started(task)
        return task

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if not isinstance(error, Halt | asyncio.CancelledError):
            self.failures.append(f"{context['message']}: {error!r}")

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False
