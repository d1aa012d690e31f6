"""Runs reading works one at a time in the caller's loop: for SQLite, where a read costs less than sharing it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from itertools import count
from typing import Any, TypeVar

from comptoir_server.runtime import Runtime
from comptoir_server.store.errors import StorageUnavailable
from comptoir_server.store.relation import Index, Key, Load, Relation
from comptoir_server.store.session import Failure, Lock
from comptoir_server.store.sqlite import SqliteSession
from comptoir_server.store.tx import PENDING, Draws, Query, Request, Tx

T = TypeVar("T")

ATTEMPTS = 3
"""How often a read is tried when the connection is lost."""

FEW = 3
"""Up to so many rows are selected one by one, more of them in one statement a table."""

SNAPSHOT_SECONDS = 0.1
"""How long reads share one state of the database while this process commits nothing.

Nobody else writes to the file; a shell or a restored page beside the server is seen this much later at most.
"""


class DirectReader:
    """Owns a reading connection, or shares the one connection of a database that runs inline.

    With a connection of its own it holds a snapshot, which `release` gives up after each commit: a read then costs
    its SELECTs and no transaction. Belongs to the loop's thread.
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

    def open(self) -> None:
        """Connects now, so that a database that cannot be reached is known at start. Raises StorageUnavailable."""
        self._connected()

    def close(self) -> None:
        """Closes the connection."""
        self._begun = None
        if self._session is not None:
            self._session.close()
            self._session = None

    def release(self) -> None:
        """Lets the next read begin a new snapshot: something was committed."""
        if self._begun is not None and self._session is not None:
            self._begun = None
            self._session.rollback()

    def read(self, work: Callable[[Tx], Awaitable[T]]) -> T:
        """Runs a work that only reads, on one state of the database. Raises what it raises, StorageUnavailable."""
        for _ in range(ATTEMPTS):
            session = self._connected()
            try:
                self._hold(session)
                return self._run(session, work)
            except Exception as error:
                failure = session.failure(error)
                if failure is Failure.LOST:
                    self.close()
                elif failure is Failure.UNAVAILABLE:
                    raise StorageUnavailable("the database cannot read now; try again later") from error
                else:
                    raise
        raise StorageUnavailable("the connection to the database was lost again and again; try again later")

    def _hold(self, session: SqliteSession) -> None:
        """Begins a snapshot unless one is held that is young enough; a shared connection needs none."""
        if self._shared:
            return
        now = self._runtime.monotonic()
        if self._begun is None or now - self._begun > SNAPSHOT_SECONDS:
            self.release()
            session.begin_reading()
            self._begun = now

    def _run(self, session: SqliteSession, work: Callable[[Tx], Awaitable[T]]) -> T:
        steps = work(Tx(Draws(self._runtime), self._registry, count(PENDING), writable=False)).__await__()
        value: Any = None
        try:
            while True:
                wish = steps.send(value)
                if type(wish) is Request:
                    values = _fetched(session, wish.loads)
                    value = values[0] if wish.single else tuple(values)
                elif type(wish) is Query:
                    value = session.query(wish.statement)
                else:
                    steps.close()
                    raise RuntimeError(f"a work awaits nothing but its Tx, and this one awaited {wish!r}")
        except StopIteration as stop:
            result: T = stop.value
            return result

    def _connected(self) -> SqliteSession:
        if self._session is None:
            try:
                self._session = self._connect()
            except Exception as error:
                raise StorageUnavailable("the database cannot be reached; try again later") from error
        return self._session


def _fetched(session: SqliteSession, loads: Sequence[Load[Any]]) -> list[Any]:
    """What each load is granted."""
    if len(loads) <= FEW:
        return [_granted(load, session.select(load.relation, load.index, (load.key,), Lock.NONE)) for load in loads]
    wanted: dict[tuple[Relation[Any], Index], dict[Key, list[Any]]] = {}
    for load in loads:
        wanted.setdefault((load.relation, load.index), {})[load.key] = []
    for (relation, index), rows in wanted.items():
        for record in session.select(relation, index, sorted(rows), Lock.NONE):
            rows[index.value_of(record)].append(record)
    return [_granted(load, wanted[load.relation, load.index][load.key]) for load in loads]


def _granted(load: Load[Any], rows: Iterable[Any]) -> Any:
    return tuple(rows) if load.many else next(iter(rows), None)
