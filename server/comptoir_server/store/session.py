"""What a batch asks of a database: one held connection with one transaction at a time, on SQLite or PostgreSQL."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from enum import Enum
from typing import Any, Protocol

from sqlalchemy import Connection, Executable, Row

from comptoir_server.store.relation import Index, Key, Relation


class Lock(Enum):
    """How rows are selected."""

    NONE = "none"
    WAIT = "wait"
    """Locked, in the order of their primary keys, waiting for whoever holds one."""
    SKIP = "skip"
    """Locked, leaving out the rows that somebody else holds."""


class Failure(Enum):
    """What an error of a database means for the batch that met it."""

    AGAIN = "again"
    """The transaction met another one (deadlock, lock time-out) and may be run again."""
    LOST = "lost"
    """The connection is gone, or nobody knows whether it obeyed."""
    UNAVAILABLE = "unavailable"
    """The database cannot write now: disk full, read-only, no memory."""
    INTEGRITY = "integrity"
    """A constraint refused a row."""
    REFUSED = "refused"
    """Something in this batch is wrong; most often one work."""


class ClaimLost(Exception):
    """A row of a claiming relation was inserted by somebody else first."""


class Session(Protocol):
    """One connection. No method is safe to call from two threads at once."""

    exclusive: bool
    """True where a transaction keeps every other writer out, so that whatever it has read stays true."""
    connection: Connection

    def begin_at_once(self) -> bool:
        """Begins a transaction that writes; False where that has to wait for somebody, and `begin` is to be called."""

    def begin(self) -> None:
        """Begins a transaction that writes, waiting for its turn."""

    def begin_reading(self) -> None:
        """Begins a transaction that reads one state of the database, whatever others commit meanwhile."""

    def commit(self) -> None:
        """Ends the transaction; durable when it returns."""

    def rollback(self) -> None:
        """Ends the transaction, if one runs; never raises."""

    def close(self) -> None:
        """Closes the connection; never raises."""

    def select(self, relation: Relation[Any], index: Index, keys: Sequence[Key], lock: Lock) -> list[Any]:
        """The records whose `index` is one of `keys`. Locks go with the primary index alone."""

    def insert(self, relation: Relation[Any], rows: list[list[Any]]) -> None:
        """Inserts encoded rows. Raises ClaimLost."""

    def update(self, relation: Relation[Any], columns: tuple[int, ...], rows: list[list[Any]]) -> None:
        """Sets the columns of those positions; a row is their values, then those of the primary key."""

    def number(self, counts: Mapping[str, int]) -> dict[str, int]:
        """Raises each counter by its count, in the order given, and answers the new values; held until the end."""

    def mark(self, writer: str, batch: int) -> None:
        """Notes in the transaction that it is this writer's batch of that number."""

    def is_committed(self, writer: str, batch: int) -> bool:
        """Whether that writer's last batch has this number; waits for a transaction of it that still runs."""

    def forget_writers(self) -> None:
        """Removes the notes of writers that are gone."""

    def notify(self, keys: Collection[str], sender: str) -> None:
        """Tells other processes what has changed, outside of any transaction."""

    def query(self, statement: Executable) -> list[Row[Any]]:
        """Runs a Core SELECT."""

    def failure(self, error: Exception) -> Failure:
        """What an error raised by any other method means."""
