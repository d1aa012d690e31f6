"""Runs reading works: many at once share one statement a table, and all of them see one state of the database."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Any

from comptoir_server.store.batch import Answer, Batch
from comptoir_server.store.errors import StorageUnavailable
from comptoir_server.store.relation import Relation
from comptoir_server.store.session import Failure, Session
from comptoir_server.store.tx import Wakes
from comptoir_server.store.work import Job, take

ATTEMPTS = 3
"""How often a read is tried when the connection is lost."""


class Reader:
    """Owns a reading connection, and a thread of its own that calls `run`.

    `deliver` is called with the answers; it must be safe to call from that thread.
    """

    def __init__(
        self,
        connect: Callable[[], Session],
        relations: Sequence[Relation[Any]],
        deliver: Callable[[Sequence[Answer], Wakes], None],
        *,
        batch_max: int,
    ) -> None:
        self._connect = connect
        self._registry = {relation.record: relation for relation in relations}
        self._deliver = deliver
        self._batch_max = batch_max
        self._queue: SimpleQueue[Job | None] = SimpleQueue()
        self._session: Session | None = None

    def submit(self, job: Job | None) -> None:
        """Hands in a job; None ends `run` when everything before it is answered."""
        self._queue.put(job)

    def run(self) -> None:
        """Answers what has arrived, at most `batch_max` at once, until the closing None."""
        closing = False
        while not closing:
            jobs: list[Job] = []
            closing = take(self._queue, jobs, self._batch_max)
            if jobs:
                self._deliver(self.read(jobs), {})
        self.close()

    def read(self, jobs: list[Job]) -> list[Answer]:
        """Runs reading works on one state of the database. An error that one of them causes is its own caller's."""
        try:
            return self._try(jobs)
        except Exception as error:  # noqa: BLE001 - it is handed to the caller whose work met it
            if len(jobs) == 1 or isinstance(error, StorageUnavailable):
                return [(job, False, error) for job in jobs]
        return [answer for job in jobs for answer in self.read([job])]

    def open(self) -> None:
        """Connects now, so that a database that cannot be reached is known at start. Raises StorageUnavailable."""
        self._connected()

    def close(self) -> None:
        """Closes the connection; what is queued is not run."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def _try(self, jobs: list[Job]) -> list[Answer]:
        for _ in range(ATTEMPTS):
            session = self._connected()
            batch = Batch(session, self._registry, writable=False)
            try:
                session.begin_reading()
                batch.run(jobs)
            except Exception as error:
                failure = session.failure(error)
                if failure is Failure.LOST:
                    self.close()
                elif failure is Failure.UNAVAILABLE:
                    raise StorageUnavailable("the database cannot read now; try again later") from error
                elif failure is not Failure.AGAIN:
                    raise
            else:
                return batch.answers
            finally:
                session.rollback()
        raise StorageUnavailable("the connection to the database was lost again and again; try again later")

    def _connected(self) -> Session:
        if self._session is None:
            try:
                self._session = self._connect()
            except Exception as error:
                raise StorageUnavailable("the database cannot be reached; try again later") from error
        return self._session
