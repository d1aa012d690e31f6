"""The database as the rest of the server knows it: hand in a work, get its answer after the commit."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar, cast

from sqlalchemy import MetaData

from comptoir_server.runtime import Runtime
from comptoir_server.store.backend import Backend, backend_of
from comptoir_server.store.batch import Answer
from comptoir_server.store.errors import IntegrityError, StorageUnavailable
from comptoir_server.store.feeders import Feeder, LoopFeeder, ThreadFeeder
from comptoir_server.store.postgresql import EVERYTHING
from comptoir_server.store.reader import Reader
from comptoir_server.store.relation import Load, Relation
from comptoir_server.store.tx import Draws, Tx, Wakes
from comptoir_server.store.work import Job
from comptoir_server.store.writer import Writer, run_through

__all__ = ["EVERYTHING", "Database", "IntegrityError", "StorageUnavailable", "open_database"]

T = TypeVar("T")


def open_database(url: str, relations: Sequence[Relation[Any]], runtime: Runtime, *, inline: bool = False) -> Database:
    """The database at `url`: `sqlite:///path` or `postgresql://...` (all that libpq understands); yet to be opened.

    The order of `relations` is the order in which rows are locked and written: what a foreign key refers to comes
    before what refers to it, and what is numbered comes last. `inline` runs all on the event loop, without threads
    (SQLite only): for tests that own the time.
    """
    return Database(backend_of(url, inline=inline), relations, runtime, inline=inline)


class Database:
    """Shares transactions between all who write. Every method belongs to the thread of the loop that opened it.

    Works given to `write` seem to run one by one, in the order of their answers.
    """

    def __init__(self, backend: Backend, relations: Sequence[Relation[Any]], runtime: Runtime, *, inline: bool) -> None:
        for position, relation in enumerate(relations):
            relation.position = position
        if len({relation.record for relation in relations}) < len(relations):
            raise TypeError("two relations store the same record type: put could not tell them apart")
        self._backend = backend
        self._runtime = runtime
        self._inline = inline
        self._is_open = False
        self._listeners: list[Callable[[Wakes], None]] = []
        self._waiting: list[Job] = []
        self._threads: list[asyncio.Future[None]] = []
        self._writer = Writer(
            backend.connect,
            relations,
            runtime,
            self._answer if inline or backend.writes_in_the_loop else self._answer_from_thread,
        )
        self._feeder: Feeder | None = None
        self._direct = backend.direct_reader(relations, runtime)
        self._reader = self._direct or Reader(
            backend.connect_reader, relations, self._answer_from_thread, batch_max=backend.batch_max
        )
        self._notices = backend.notices(self._writer.name, self._wake_from_thread)

    async def open(self) -> None:
        """Takes the file (SQLite) and starts the threads. Raises StorageUnavailable, in words for the operator."""
        self._loop = asyncio.get_running_loop()
        self._backend.take()
        try:
            self._reader.open()
        except StorageUnavailable:
            self._backend.release()
            raise
        self._is_open = True
        if not self._inline:
            self._feeder = self._new_feeder()
            self._start(self._feeder.run, "database-writer")
        if isinstance(self._reader, Reader):
            self._start(self._reader.run, "database-reader")
        if self._notices is not None:
            self._start(self._notices.run, "database-notices")

    async def close(self) -> None:
        """Answers what was handed in before, then lets the database go."""
        if not self._is_open:
            return
        self._is_open = False
        while self._waiting:
            self._run_inline()
        if self._feeder is not None:
            self._feeder.close()
        if isinstance(self._reader, Reader):
            self._reader.submit(None)
        if self._notices is not None:
            self._notices.stop()
        await asyncio.gather(*self._threads)
        self._let_go()

    def abandon(self) -> None:
        """Lets the database go at once and runs nothing more, as a killed process does (`inline` only)."""
        assert self._inline, "threads cannot be stopped between two statements"
        self._is_open = False
        self._waiting.clear()
        self._let_go()

    async def write(self, work: Callable[[Tx], Awaitable[T]]) -> T:
        """Runs `work` in a transaction shared with others, and returns its result after the commit.

        What the work raises is raised here, and then it has written nothing. Also raises IntegrityError, and
        StorageUnavailable. A caller that is cancelled stops waiting; its work is run and committed all the same.
        """
        job = self._job(work)
        if self._feeder is not None:
            self._feeder.submit(job)
        else:
            self._waiting.append(job)
            if len(self._waiting) == 1:
                self._loop.call_soon(self._run_inline)
        return cast(T, await job.future)

    async def read(self, work: Callable[[Tx], Awaitable[T]]) -> T:
        """Runs a work that only reads; all it reads is of one committed state, not older than the call."""
        if isinstance(self._reader, Reader):
            job = self._job(work)
            self._reader.submit(job)
            return cast(T, await job.future)
        self._require_open()
        return self._reader.read(work)

    async def get(self, load: Load[T]) -> T:
        """What one load is granted, as by a `read` of nothing else."""
        if self._direct is not None:
            self._require_open()
            return self._direct.get(load)
        return await self.read(lambda tx: tx.load(load))

    def conclusions(self) -> dict[Any, Any]:
        """What callers have kept of the state that reads share now, for them to add to; nothing of any other.

        Where reads share no state there are none, and what is added is kept for nobody.
        """
        return self._direct.conclusions() if self._direct is not None else {}

    def subscribe(self, listener: Callable[[Wakes], None]) -> None:
        """Calls `listener` in the loop with what was given to `Tx.after_commit`, by this and (keys alone) by others.

        The key EVERYTHING means that notices may have been missed. A notice is a hint: polling is the truth.
        """
        self._listeners.append(listener)

    async def create_all(self, metadata: MetaData) -> None:
        """Creates the tables of `metadata` that do not exist; for tests, a server migrates."""
        session = self._backend.connect()
        metadata.create_all(session.connection)
        if not self._inline:
            session.close()

    def _require_open(self) -> None:
        if not self._is_open:
            raise StorageUnavailable("the database is closed; nothing was read or written")

    def _job(self, work: Callable[[Tx], Awaitable[Any]]) -> Job:
        self._require_open()
        return Job(work, self._loop.create_future(), Draws(self._runtime))

    def _run_inline(self) -> None:
        """Runs what waits; what must wait longer goes first next time."""
        jobs = self._waiting[: self._backend.batch_max]
        del self._waiting[: len(jobs)]
        if jobs:
            self._waiting[:0] = run_through(self._writer.run_batch(jobs))
            if self._waiting:
                self._loop.call_soon(self._run_inline)

    def _new_feeder(self) -> Feeder:
        if self._backend.writes_in_the_loop:
            return LoopFeeder(self._writer, self._runtime, batch_max=self._backend.batch_max)
        return ThreadFeeder(self._writer, self._runtime, batch_max=self._backend.batch_max)

    def _start(self, run: Callable[[], None], name: str) -> None:
        ended: asyncio.Future[None] = self._loop.create_future()

        def target() -> None:
            try:
                run()
            finally:
                self._in_loop(_set, ended, True, None)

        self._threads.append(ended)
        self._runtime.thread(target, name)

    def _let_go(self) -> None:
        self._writer.close()
        self._reader.close()
        self._backend.release()

    def _answer_from_thread(self, answers: Sequence[Answer], wakes: Wakes) -> None:
        self._in_loop(self._answer, answers, wakes)

    def _wake_from_thread(self, wakes: Wakes) -> None:
        self._in_loop(self._wake, wakes)

    def _in_loop(self, callback: Callable[..., None], *arguments: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, *arguments)
        except RuntimeError:  # the loop is closed: nobody waits any more
            assert self._loop.is_closed()

    def _answer(self, answers: Sequence[Answer], wakes: Wakes) -> None:
        if self._direct is not None:
            self._direct.release()
        for job, succeeded, value in answers:
            _set(job.future, succeeded, value)
        self._wake(wakes)

    def _wake(self, wakes: Wakes) -> None:
        if wakes:
            for listener in self._listeners:
                self._loop.call_soon(listener, wakes)


def _set(future: asyncio.Future[Any], succeeded: bool, value: Any) -> None:
    """Answers a caller, unless it was cancelled meanwhile."""
    if future.done():
        return
    if succeeded:
        future.set_result(value)
    else:
        future.set_exception(value)
