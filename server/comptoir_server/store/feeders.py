"""Feed a writer with what arrives: from a thread of its own, or in the loop with only its waits in a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any, Protocol

from comptoir_server.runtime import Runtime
from comptoir_server.store.work import Job, take
from comptoir_server.store.writer import Steps, Writer, run_through

LOAD = 3
"""From a batch of so many on, the writer is under load and may linger for more."""

LINGER_SECONDS = 0.002
"""How long a writer under load waits for a batch to fill, where nothing else fills it."""


class Feeder(Protocol):
    """What takes jobs and has them written, in the order in which they came."""

    def submit(self, job: Job) -> None:
        """Hands in a job; its future will be answered."""

    def close(self) -> None:
        """Nothing more is handed in; `run` ends when everything is answered."""

    def run(self) -> None:
        """The work of the feeder's own thread, until it is closed."""


class ThreadFeeder:
    """Runs the writer in a thread of its own: for a database whose every statement waits for a server."""

    def __init__(self, writer: Writer, runtime: Runtime, *, batch_max: int) -> None:
        self._writer = writer
        self._runtime = runtime
        self._batch_max = batch_max
        self._queue: SimpleQueue[Job | None] = SimpleQueue()

    def submit(self, job: Job) -> None:
        self._queue.put(job)

    def close(self) -> None:
        self._queue.put(None)

    def run(self) -> None:
        """Takes what arrived while the last commit ran, at most `batch_max`, until the closing None."""
        waiting: list[Job] = []
        size = 0
        closing = False
        while not (closing and not waiting):
            batch, waiting = waiting[: self._batch_max], waiting[self._batch_max :]
            if not closing:
                closing = self._gather(batch, expected=size)
            size = len(batch)
            waiting = run_through(self._writer.run_batch(batch)) + waiting
        self._writer.close()

    def _gather(self, batch: list[Job], *, expected: int) -> bool:
        """Fills `batch`; lingers only when the last one was shared. True when the closing None was met."""
        if take(self._queue, batch, self._batch_max):
            return True
        deadline = self._runtime.monotonic() + LINGER_SECONDS
        while expected >= LOAD and len(batch) < min(expected, self._batch_max):
            patience = deadline - self._runtime.monotonic()
            try:
                job = self._queue.get(timeout=max(patience, 0.0))
            except Empty:
                return False
            if job is None:
                return True
            batch.append(job)
        return False


class LoopFeeder:
    """Runs the writer in the loop: where no statement waits, two threads only take the interpreter from each other.

    A call that may block, such as a commit, is made in the feeder's thread, while the loop goes on and the next batch
    gathers. Everything but `run` belongs to the loop's thread.
    """

    def __init__(self, writer: Writer, runtime: Runtime, *, batch_max: int) -> None:
        self._writer = writer
        self._runtime = runtime
        self._batch_max = batch_max
        self._waiting: list[Job] = []
        self._steps: Steps[list[Job]] | None = None
        """The batch that runs."""
        self._size = 0
        """How many works the last batch had."""
        self._scheduled: asyncio.Handle | None = None
        """The beginning of the next batch."""
        self._closing = False
        self._calls: SimpleQueue[Callable[[], Any] | None] = SimpleQueue()
        self._loop = asyncio.get_running_loop()

    def submit(self, job: Job) -> None:
        self._waiting.append(job)
        if self._steps is None:
            self._schedule()

    def close(self) -> None:
        self._closing = True
        if self._steps is None:
            self._schedule()

    def run(self) -> None:
        """Makes the calls that may block, one after the other."""
        while (call := self._calls.get()) is not None:
            try:
                value = call()
            except Exception as error:  # noqa: BLE001 - the batch decides what it means
                self._loop.call_soon_threadsafe(self._advance, None, error)
            else:
                self._loop.call_soon_threadsafe(self._advance, value, None)
        self._writer.close()

    def _schedule(self) -> None:
        """Has a batch begin: soon when alone or when enough wait, under load only after a little while for more."""
        enough = min(self._size, self._batch_max)
        if len(self._waiting) < enough and self._size >= LOAD and not self._closing:
            if self._scheduled is None:
                self._scheduled = self._runtime.after(LINGER_SECONDS, self._begin)
        elif self._scheduled is None or isinstance(self._scheduled, asyncio.TimerHandle):
            if self._scheduled is not None:
                self._scheduled.cancel()
            self._scheduled = self._loop.call_soon(self._begin)

    def _begin(self) -> None:
        """Begins a batch with what has arrived; ends the thread where there is nothing and nothing will come."""
        self._scheduled = None
        batch, self._waiting = self._waiting[: self._batch_max], self._waiting[self._batch_max :]
        self._size = len(batch)
        if batch:
            self._steps = self._writer.run_batch(batch)
            self._advance(None, None)
        elif self._closing:
            self._calls.put(None)

    def _advance(self, value: Any, error: Exception | None) -> None:
        """Runs the batch to its next call that may block, or to its end; what must wait longer goes first next time."""
        assert self._steps is not None
        try:
            call = self._steps.send(value) if error is None else self._steps.throw(error)
        except StopIteration as ended:
            self._steps = None
            self._waiting[:0] = ended.value
            if self._waiting or self._closing:
                self._schedule()
        else:
            self._calls.put(call)
