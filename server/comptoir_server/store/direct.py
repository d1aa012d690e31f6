"""Runs reading works one at a time in the caller's loop: for SQLite, where a read costs less than sharing it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from itertools import count
from typing import Any, TypeVar

from comptoir_server.runtime import Runtime
from comptoir_server.store.errors import StorageUnavailable
from comptoir_server.store.reader import ATTEMPTS
from comptoir_server.store.relation import Index, Key, Load, Relation
from comptoir_server.store.session import Failure, Lock
from comptoir_server.store.sqlite import SqliteSession
from comptoir_server.store.tx import PENDING, Draws, Query, Request, Tx

T = TypeVar("T")

FEW = 3
"""Up to so many rows are selected one by one, more of them in one statement a table."""

SNAPSHOT_SECONDS = 0.1
"""How long reads share one state of the database while this process commits nothing.

Nobody else writes to the file; a shell or a restored page beside the server is seen this much later at most.
"""

Found = dict[tuple[Relation[Any], Index, Key], list[Any]]
"""The rows under keys, as one state of the database has them."""


class DirectReader:
    """Owns a reading connection, or shares the one connection of a database that runs inline.

    With a connection of its own it holds a snapshot, which `release` gives up after each commit: a read then costs
    its SELECTs and no transaction, and a row that was read in it is not read again. Belongs to the loop's thread.
    """

    def __init__(
        self,
        connect: Callable[[], SqliteSession],
        relations: Sequence[Relation[Any]],
        runtime: Runtime,
        *,
        shared: bool,
    ) -> None:
        self._connect = connect
        self._registry = {relation.record: relation for relation in relations}
        self._runtime = runtime
        self._shared = shared
        self._session: SqliteSession | None = None
        self._begun: float | None = None
        """When the snapshot that is held was begun, on the monotonic clock."""
        self._crowded = False
        """Whether it must not be held beyond the read, for the log to begin anew."""
        self._found: Found = {}
        """What was read in it."""
        self._conclusions: dict[Any, Any] = {}

    def open(self) -> None:
        """Connects now, so that a database that cannot be reached is known at start. Raises StorageUnavailable."""
        self._connected()

    def close(self) -> None:
        """Closes the connection."""
        self._forget()
        if self._session is not None:
            self._session.close()
            self._session = None

    def release(self) -> None:
        """Lets the next read begin a new snapshot: something was committed."""
        if self._begun is not None and self._session is not None:
            self._forget()
            self._session.rollback()

    def read(self, work: Callable[[Tx], Awaitable[T]]) -> T:
        """Runs a work that only reads, on one state of the database. Raises what it raises, StorageUnavailable."""
        return self._held(lambda session: self._run(session, work))

    def get(self, load: Load[T]) -> T:
        """What one load is granted. Raises StorageUnavailable."""
        granted: T = self._held(lambda session: self._granted(session, (load,), single=True))
        return granted

    def conclusions(self) -> dict[Any, Any]:
        """What callers have kept of the snapshot that is held now, to be added to. Raises StorageUnavailable."""
        return self._held(lambda _: self._conclusions)

    def _held(self, read: Callable[[SqliteSession], T]) -> T:
        for _ in range(ATTEMPTS):
            session = self._connected()
            try:
                self._hold(session)
                return read(session)
            except Exception as error:
                failure = session.failure(error)
                if failure is Failure.LOST:
                    self.close()
                elif failure is Failure.UNAVAILABLE:
                    raise StorageUnavailable("the database cannot read now; try again later") from error
                else:
                    raise
            finally:
                if self._crowded:
                    self.release()
        raise StorageUnavailable("the connection to the database was lost again and again; try again later")

    def _hold(self, session: SqliteSession) -> None:
        """Begins a snapshot unless one is held that is young enough; a shared connection needs none."""
        if self._shared:
            self._forget()
            return
        now = self._runtime.monotonic()
        if self._begun is None or now - self._begun > SNAPSHOT_SECONDS:
            self.release()
            session.begin_reading()
            self._begun = now
            self._crowded = session.is_crowded()

    def _forget(self) -> None:
        """Nothing is held; whoever still adds to earlier conclusions adds to nobody's."""
        self._begun = None
        self._found.clear()
        self._conclusions = {}

    def _run(self, session: SqliteSession, work: Callable[[Tx], Awaitable[T]]) -> T:
        steps = work(Tx(Draws(self._runtime), self._registry, count(PENDING), writable=False)).__await__()
        value: Any = None
        try:
            while True:
                wish = steps.send(value)
                if type(wish) is Request:
                    value = self._granted(session, wish.loads, single=wish.single)
                elif type(wish) is Query:
                    value = session.query(wish.statement)
                else:
                    steps.close()
                    raise RuntimeError(f"a work awaits nothing but its Tx, and this one awaited {wish!r}")
        except StopIteration as stop:
            result: T = stop.value
            return result

    def _granted(self, session: SqliteSession, loads: Sequence[Load[Any]], *, single: bool) -> Any:
        """The value that each load is granted: a row or None, or all rows of a list."""
        found = self._found
        missing = [load for load in loads if (load.relation, load.index, load.key) not in found]
        if missing:
            _select(session, missing, found)
        values = []
        for load in loads:
            rows = found[load.relation, load.index, load.key]
            values.append(tuple(rows) if load.many else rows[0] if rows else None)
        return values[0] if single else tuple(values)

    def _connected(self) -> SqliteSession:
        if self._session is None:
            try:
                self._session = self._connect()
            except Exception as error:
                raise StorageUnavailable("the database cannot be reached; try again later") from error
        return self._session


def _select(session: SqliteSession, loads: Sequence[Load[Any]], found: Found) -> None:
    """Selects what loads ask for: one by one, or where they are many, in a statement for each table and index."""
    if len(loads) <= FEW:
        for load in loads:
            key = (load.relation, load.index, load.key)
            found[key] = session.select(load.relation, load.index, (load.key,), Lock.NONE)
        return
    wanted: dict[tuple[Relation[Any], Index], set[Key]] = {}
    for load in loads:
        wanted.setdefault((load.relation, load.index), set()).add(load.key)
    for (relation, index), keys in wanted.items():
        found.update({(relation, index, key): [] for key in keys})
        for record in session.select(relation, index, sorted(keys), Lock.NONE):
            found[relation, index, index.value_of(record)].append(record)
