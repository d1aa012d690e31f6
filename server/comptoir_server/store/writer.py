"""Turns works into transactions: runs them in batches, commits, answers, and decides what to do when that fails.

What may block (a commit, a connection that is opened again, a pause) is yielded as a call to be made and not made
here: so the same writer runs in a thread of its own, in the loop with its commits elsewhere, or in one piece.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import suppress
from functools import partial
from threading import Event
from typing import Any, TypeVar

from comptoir_server.runtime import Runtime, fault
from comptoir_server.store.batch import Answer, Batch
from comptoir_server.store.errors import IntegrityError, StorageUnavailable
from comptoir_server.store.flush import flush
from comptoir_server.store.relation import Relation
from comptoir_server.store.session import ClaimLost, Failure, Lock, Session
from comptoir_server.store.tx import Wakes
from comptoir_server.store.work import Job

MOVES_MAX = 3
"""A work that had to leave so many batches runs alone."""

ATTEMPTS = 4
"""How often a batch is run when it meets other transactions, or loses its connection before the commit."""

CLAIMS_LOST_MAX = 2
"""A work that loses a claim is run again and finds the row; one that loses it again did not look."""

CONNECT_SECONDS = 5.0
"""How long a batch waits for a database that cannot be reached; nothing of it is written then."""

RETRY_SECONDS = 0.1

BACKOFF_SECONDS = 0.01
"""Two batches that met wait for unlike times, up to this, so that they do not meet again."""

DECIDE_SECONDS = 30.0
"""How long a writer asks for the fate of a COMMIT whose answer was lost."""

T = TypeVar("T")

Steps = Generator[Callable[[], Any], Any, T]
"""A run that yields each call that may block, takes what it returned or raised, and returns a T in the end."""

Deliver = Callable[[Sequence[Answer], Wakes], None]


class _Again(Exception):
    """Nothing was committed, and the same works may be run again."""


class Writer:
    """Owns the writing connection and runs one batch at a time.

    `deliver` is called after each commit with the answers and the keys to wake; it must be safe to call from here.
    """

    def __init__(
        self,
        connect: Callable[[], Session],
        relations: Sequence[Relation[Any]],
        runtime: Runtime,
        deliver: Deliver,
    ) -> None:
        self.name = runtime.new_id("wri")
        self._connect = connect
        self._relations = relations
        self._registry = {relation.record: relation for relation in relations}
        self._runtime = runtime
        self._deliver = deliver
        self._session: Session | None = None
        self._number = 0
        self._pause = Event()  # never set: waiting for it is how a thread sleeps

    def run_batch(self, jobs: list[Job]) -> Steps[list[Job]]:
        """Runs and answers jobs; returns those that must be run in the next batch."""
        moved = (yield from self._settle(jobs)) if jobs else []
        for job in [job for job in moved if job.moves >= MOVES_MAX]:
            moved.remove(job)
            moved += yield from self._settle([job], alone=True)
        return moved

    def close(self) -> None:
        """Closes the connection; what is queued is not run."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def _settle(self, jobs: list[Job], *, alone: bool = False) -> Steps[list[Job]]:
        """Runs jobs until each is answered or moved; an error that one of them causes is its own caller's."""
        try:
            batch = yield from self._try(jobs, alone=alone)
        except Exception as error:  # noqa: BLE001 - whose it is, bisecting shows
            if len(jobs) == 1 or isinstance(error, StorageUnavailable):
                self._deliver([(job, False, error) for job in jobs], {})
                return []
        else:
            fault("batch.committed")
            self._deliver(batch.answers, batch.wakes)
            self._notify(batch.wakes)
            return batch.moved
        middle = len(jobs) // 2
        moved = yield from self._settle(jobs[:middle])
        return moved + (yield from self._settle(jobs[middle:]))

    def _try(self, jobs: list[Job], *, alone: bool) -> Steps[Batch]:
        """Commits jobs in one transaction, or raises; then none of them has written anything."""
        later = Lock.WAIT if alone else Lock.SKIP
        first = Lock.WAIT
        claims_lost = 0
        for _ in range(ATTEMPTS):
            try:
                return (yield from self._attempt(jobs, first=first, later=later))
            except _Again:
                first = later
                yield partial(self._pause.wait, self._runtime.uniform(0.0, BACKOFF_SECONDS))
            except ClaimLost as lost:
                claims_lost += 1
                if claims_lost == CLAIMS_LOST_MAX:
                    raise IntegrityError(f"a row of {lost} exists, and the work did not look for it") from lost
        raise StorageUnavailable("the database was too busy; nothing was written, try again")

    def _attempt(self, jobs: list[Job], *, first: Lock, later: Lock) -> Steps[Batch]:
        """One transaction. Raises _Again, ClaimLost, StorageUnavailable, or what makes bisecting necessary."""
        session = yield from self._connected()
        batch = Batch(session, self._registry, first=first, later=later)
        try:
            if not session.begin_at_once():
                yield session.begin
            batch.run(jobs)
            written = any(image.staged for image in batch.images.values())
            if written:
                self._mark(session)
                flush(session, self._relations, batch.images)
                fault("batch.flushed")
        except BaseException as error:
            session.rollback()
            batch.remember_locks()
            if isinstance(error, Exception):
                self._explain(session, error)
            raise
        if written:
            yield from self._commit(session)
        else:
            session.rollback()
        return batch

    def _mark(self, session: Session) -> None:
        """Numbers the batch in the transaction itself, so that its fate can be read afterwards."""
        self._number += 1
        if self._number == 1:
            session.forget_writers()
        session.mark(self.name, self._number)

    def _notify(self, keys: Collection[str]) -> None:
        """Tells other processes; a notice that is lost costs them time, polling is the truth."""
        if keys and self._session is not None:
            with suppress(Exception):
                self._session.notify(keys, self.name)

    def _commit(self, session: Session) -> Steps[None]:
        """Commits; a COMMIT whose answer is lost is decided on a new connection, never run again blind."""
        try:
            yield session.commit
        except Exception as error:
            if session.failure(error) is not Failure.LOST:
                session.rollback()
                self._explain(session, error)
                raise
            self.close()
            if not (yield from self._is_committed()):
                raise _Again from error

    def _is_committed(self) -> Steps[bool]:
        """Whether the last batch is in the database. Raises StorageUnavailable, in doubt, when it cannot be asked."""
        deadline = self._runtime.monotonic() + DECIDE_SECONDS
        while True:
            try:
                session = yield from self._connected(deadline)
                return bool((yield partial(session.is_committed, self.name, self._number)))
            except Exception as error:
                self.close()
                if self._runtime.monotonic() >= deadline:
                    message = "the answer to a commit was lost, and the database cannot be asked; try again later"
                    raise StorageUnavailable(message, in_doubt=True) from error
                yield partial(self._pause.wait, RETRY_SECONDS)

    def _explain(self, session: Session, error: Exception) -> None:
        """Turns an error of the database into what it means for the batch; returns when it is only `REFUSED`."""
        if isinstance(error, ClaimLost):
            return
        failure = session.failure(error)
        if failure is Failure.LOST:
            self.close()
        if failure in (Failure.LOST, Failure.AGAIN):
            raise _Again from error
        if failure is Failure.INTEGRITY:
            message = "a constraint of the database refused what this work wrote; nothing was written"
            raise IntegrityError(message) from error
        if failure is Failure.UNAVAILABLE:
            message = "the database cannot write now (disk full, read-only or busy); nothing was written"
            raise StorageUnavailable(message) from error

    def _connected(self, deadline: float | None = None) -> Steps[Session]:
        """The held connection, opened again if it was lost. Raises StorageUnavailable at the deadline."""
        if self._session is None:
            deadline = deadline or self._runtime.monotonic() + CONNECT_SECONDS
            while self._session is None:
                try:
                    self._session = yield self._connect
                except Exception as error:
                    if self._runtime.monotonic() >= deadline:
                        raise StorageUnavailable("the database cannot be reached; nothing was written") from error
                    yield partial(self._pause.wait, RETRY_SECONDS)
        return self._session


def run_through(steps: Steps[T]) -> T:
    """Makes every call on the spot, and answers what the run returns."""
    try:
        call = next(steps)
        while True:
            try:
                value = call()
            except Exception as error:  # noqa: BLE001 - the run decides what it means
                call = steps.throw(error)
            else:
                call = steps.send(value)
    except StopIteration as ended:
        result: T = ended.value
        return result
