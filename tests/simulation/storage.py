"""One database for several server processes in one thread: each has a seat, and none takes the data along when it goes.

Transactions of different seats never overlap, because each runs to its end in one step of the loop. What two processes
can do to each other between two transactions is covered; what their row locks do to each other is not.
"""

from __future__ import annotations

import functools
import sqlite3
import tempfile
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from comptoir_server.runtime import Runtime
from comptoir_server.store import sqlite
from comptoir_server.store.direct import DirectReader
from comptoir_server.store.migrate import migrate
from comptoir_server.store.relation import Relation
from comptoir_server.store.tx import Wakes

MODE = "test"

Wake = Callable[[Wakes], None]


@functools.cache
def _empty() -> sqlite3.Connection:
    """A database as `migrate` makes it."""
    with tempfile.TemporaryDirectory(prefix="comptoir-world-") as folder:
        path = Path(folder, "empty.db")
        migrate(f"sqlite:///{path}", MODE)
        made = sqlite3.connect(path)
        try:
            return copy_of(made)
        finally:
            made.close()


def copy_of(database: sqlite3.Connection) -> sqlite3.Connection:
    """The same, in memory."""
    copy = sqlite3.connect(":memory:", check_same_thread=False)
    database.backup(copy)
    return copy


@functools.cache
def _session() -> sqlite.SqliteSession:
    """The one connection of this process, to a database in memory."""
    return sqlite.connect(":memory:")


FULL, UNANSWERED, UNDONE = "storage.full", "storage.unanswered", "storage.undone"
"""A transaction that cannot begin, a commit whose success is not told, and one that fails without a word."""


def _error(code: int) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("the simulated disk fails")
    error.sqlite_errorcode = code
    return error


class Disk:
    """The database of a world.

    `tell` carries the keys that a commit of one seat woke to every other; `fails` says whether a fault strikes.
    """

    def __init__(
        self,
        tell: Callable[[Wake, Wakes], None],
        fails: Callable[[str], bool],
        image: sqlite3.Connection | None = None,
    ) -> None:
        self.fails = fails
        self.session = _session()
        self.session.rollback()
        (image or _empty()).backup(self.session.raw)
        self._tell = tell
        self._wakes: dict[str, Wake] = {}

    def image(self) -> sqlite3.Connection:
        """A copy of everything that is committed."""
        return copy_of(self.session.raw)

    def listen(self, seat: str, wake: Wake) -> None:
        """Has the seat hear what others wake."""
        self._wakes[seat] = wake

    def leave(self, seat: str) -> None:
        """The seat hears nothing more."""
        self._wakes.pop(seat, None)

    def spread(self, sender: str, keys: Collection[str]) -> None:
        """Tells every seat but the sender's."""
        for seat, wake in self._wakes.items():
            if seat != sender:
                self._tell(wake, dict.fromkeys(keys))


class Seat:
    """What a server process takes for its backend. `owner` is asked before each transaction whether it still lives."""

    batch_max = 64
    writes_in_the_loop = True

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._name = ""

    def take(self) -> None:
        """Several may sit here."""

    def release(self) -> None:
        """Hears nothing more."""
        self._disk.leave(self._name)

    def connect(self) -> SeatSession:
        return SeatSession(self._disk)

    def connect_reader(self) -> SeatSession:
        return SeatSession(self._disk)

    def direct_reader(self, relations: Sequence[Relation[Any]], runtime: Runtime) -> DirectReader:
        return DirectReader(self.connect_reader, relations, runtime, shared=True)

    def notices(self, own: str, wake: Wake) -> None:
        self._name = own
        self._disk.listen(own, wake)


class SeatSession(sqlite.SqliteSession):
    """A session on the shared connection; closing it closes nothing but itself, and drops what it has begun."""

    def __init__(self, disk: Disk) -> None:
        super().__init__(disk.session.connection)
        self._disk = disk
        self._statements = disk.session._statements
        self._closed = False

    def begin_at_once(self) -> bool:
        if self._disk.fails(FULL):
            raise _error(sqlite3.SQLITE_FULL)
        return super().begin_at_once()

    def commit(self) -> None:
        if self._disk.fails(UNDONE):
            self.rollback()
            raise _error(sqlite3.SQLITE_IOERR)
        super().commit()
        if self._disk.fails(UNANSWERED):
            raise _error(sqlite3.SQLITE_IOERR)

    def close(self) -> None:
        if not self._closed and self.raw.in_transaction:
            self.raw.execute("ROLLBACK")
        self._closed = True

    def is_closed(self) -> bool:
        return self._closed

    def notify(self, keys: Collection[str], sender: str) -> None:
        self._disk.spread(sender, keys)
