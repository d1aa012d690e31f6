"""What differs between the databases: how to connect, how much to share, who may come in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import psycopg
from sqlalchemy import Engine, NullPool, create_engine

from comptoir_server.runtime import Runtime
from comptoir_server.store import postgresql, sqlite
from comptoir_server.store.direct import DirectReader
from comptoir_server.store.notices import Notices
from comptoir_server.store.relation import Relation
from comptoir_server.store.session import Session
from comptoir_server.store.tx import Wakes

SQLITE = "sqlite:///"
MEMORY = ":memory:"


class Backend(Protocol):
    """A database that can be connected to."""

    batch_max: int
    """The most works in a transaction."""
    writes_in_the_loop: bool
    """True where only a commit waits for anything."""

    def take(self) -> None:
        """Makes this process an owner of the database. Raises StorageUnavailable."""

    def release(self) -> None:
        """Undoes `take`."""

    def connect(self) -> Session: ...
    def connect_reader(self) -> Session: ...
    def direct_reader(self, relations: Sequence[Relation[Any]], runtime: Runtime) -> DirectReader | None:
        """Runs reading works in the loop, where a read costs less than a change of threads."""

    def notices(self, own: str, wake: Callable[[Wakes], None]) -> Notices | None:
        """Brings wake-up keys from other processes, if there can be any."""


def backend_of(url: str, *, inline: bool) -> Backend:
    """The backend that `url` names. Raises ValueError."""
    if url.startswith(SQLITE):
        return SqliteBackend(url.removeprefix(SQLITE), inline=inline)
    if inline:
        raise ValueError("inline runs on SQLite only")
    if url.startswith(("postgresql://", "postgres://")):
        return PostgresqlBackend(url)
    raise ValueError("the database's address begins with sqlite:/// or postgresql://")


def new_engine(url: str, **options: Any) -> Engine:
    """For statements that are no work of the server's: one connection each time, to what `url` means to the driver.

    libpq's addresses are not all SQLAlchemy's: one that names two hosts, a primary and its standby, is none of them.
    """
    if url.startswith(SQLITE):
        return create_engine(url, poolclass=NullPool, **options)
    return create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(url), poolclass=NullPool, **options)


class SqliteBackend:
    """One file, this process alone. Inline, one connection does all, so that ":memory:" works."""

    batch_max = 64
    writes_in_the_loop = True

    def __init__(self, path: str, *, inline: bool) -> None:
        if path in ("", MEMORY) and not inline:
            raise ValueError("a database in memory has one connection, and so it is for inline use only")
        self._path = path or MEMORY
        self._shared: sqlite.SqliteSession | None = None
        self._inline = inline
        self._lock: sqlite.FileLock | None = None

    def take(self) -> None:
        if self._path != MEMORY:
            self._lock = sqlite.FileLock(Path(self._path))

    def release(self) -> None:
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def connect(self) -> sqlite.SqliteSession:
        if not self._inline:
            return sqlite.connect(self._path)
        if self._shared is None or self._shared.is_closed():
            self._shared = sqlite.connect(self._path)
        return self._shared

    def connect_reader(self) -> sqlite.SqliteSession:
        return self.connect() if self._inline else sqlite.connect(self._path, read_only=True)

    def direct_reader(self, relations: Sequence[Relation[Any]], runtime: Runtime) -> DirectReader:
        return DirectReader(self.connect_reader, relations, runtime, shared=self._inline)

    def notices(self, own: str, wake: Callable[[Wakes], None]) -> None:
        return None


class PostgresqlBackend:
    """One server or a cluster behind one address, any number of processes."""

    batch_max = 128
    writes_in_the_loop = False

    def __init__(self, url: str) -> None:
        self._url = url

    def take(self) -> None:
        """Everybody may come in."""

    def release(self) -> None:
        """There is nothing to give back."""

    def connect(self) -> Session:
        return postgresql.connect(self._url)

    def connect_reader(self) -> Session:
        return postgresql.connect(self._url)

    def direct_reader(self, relations: Sequence[Relation[Any]], runtime: Runtime) -> None:
        """A wait for the server must not hold up the loop."""

    def notices(self, own: str, wake: Callable[[Wakes], None]) -> Notices:
        return Notices(self._url, own, wake)
