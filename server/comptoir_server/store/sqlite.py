"""SQLite: one file, one writing process, WAL, every commit synced."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import URL, Connection, Executable, NullPool, Row, create_engine

from comptoir_server.store.errors import StorageUnavailable
from comptoir_server.store.relation import Index, Key, Relation
from comptoir_server.store.session import ClaimLost, Failure, Lock

BUSY_SECONDS = 5.0
"""How long a statement waits for a foreign program (a backup, a shell) that holds the file."""

WAL_BYTES_MAX = 64 * 1024 * 1024
"""Where the write-ahead log is carried over as a whole, and reads stand back.

It begins anew only where nobody reads it: with a read beside every commit it would grow for ever.
"""

CARRY_OVER_SECONDS = 0.25
"""How long a writer waits for those who read the log, where it has grown so large."""

CACHED_STATEMENTS = 512

PAGE_SIZE = "PRAGMA page_size = 8192"
"""Of a new file: a batch touches half as many pages as with the usual 4096, for a sixth less CPU in all."""

PRAGMAS = (
    PAGE_SIZE,
    "PRAGMA journal_mode = WAL",
    "PRAGMA wal_autocheckpoint = 4000",  # 32 MB: pages that every batch writes are carried over once, not each time
    "PRAGMA synchronous = FULL",
    "PRAGMA fullfsync = ON",
    "PRAGMA foreign_keys = ON",
    "PRAGMA cache_size = -65536",
    "PRAGMA temp_store = MEMORY",
)

SELECT = "SELECT {columns} FROM {table} WHERE {key} IN (SELECT value FROM json_each(?)) ORDER BY {order}"
SELECT_ONE = "SELECT {columns} FROM {table} WHERE {match} ORDER BY {order}"
SELECT_BY_MANY = "SELECT {columns} FROM json_each(?) AS wanted CROSS JOIN {table} WHERE {match} ORDER BY {order}"
INSERT = "INSERT INTO {table} ({columns}) VALUES ({values}){conflict}"
UPDATE = "UPDATE {table} SET {assignments} WHERE {match}"
NUMBER = """
INSERT INTO counters (name, value) SELECT key, value FROM json_each(?) WHERE true
ON CONFLICT (name) DO UPDATE SET value = counters.value + excluded.value RETURNING name, value
"""
MARK = """
INSERT INTO writers (id, batch, touched) VALUES (?, ?, CAST(strftime('%s', 'now') AS INTEGER))
ON CONFLICT (id) DO UPDATE SET batch = excluded.batch, touched = excluded.touched
"""

_FAILURES = {
    sqlite3.SQLITE_CONSTRAINT: Failure.INTEGRITY,
    sqlite3.SQLITE_BUSY: Failure.UNAVAILABLE,
    sqlite3.SQLITE_LOCKED: Failure.UNAVAILABLE,
    sqlite3.SQLITE_FULL: Failure.UNAVAILABLE,
    sqlite3.SQLITE_NOMEM: Failure.UNAVAILABLE,
    sqlite3.SQLITE_READONLY: Failure.UNAVAILABLE,
    sqlite3.SQLITE_CORRUPT: Failure.UNAVAILABLE,
    sqlite3.SQLITE_NOTADB: Failure.UNAVAILABLE,
    sqlite3.SQLITE_IOERR: Failure.LOST,
    sqlite3.SQLITE_CANTOPEN: Failure.LOST,
}


class FileLock:
    """Keeps a second server process off a database file; the lock ends with the process, however it ends."""

    def __init__(self, database: Path) -> None:
        path = database.with_name(database.name + ".lock")
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StorageUnavailable(f"{path} cannot be opened for writing ({error.strerror})") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.read(self._file, 20).decode("ascii", "replace") or "unknown"
            os.close(self._file)
            raise StorageUnavailable(
                f"{database} is in use by another server process (process {holder}). "
                "Stop that one first, or use PostgreSQL to run several."
            ) from None
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, str(os.getpid()).encode("ascii"), 0)

    def release(self) -> None:
        """Lets others have the file."""
        os.close(self._file)


def connect(path: str, *, read_only: bool = False) -> SqliteSession:
    """Opens the database at `path` (":memory:" for one that lives as long as this connection)."""
    url = URL.create("sqlite", database=path)
    options = {"check_same_thread": False, "cached_statements": CACHED_STATEMENTS, "timeout": BUSY_SECONDS}
    engine = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT", connect_args=options)
    session = SqliteSession(engine.connect(), f"{path}-wal")
    for pragma in PRAGMAS:
        session.raw.execute(pragma)
    if read_only:
        session.raw.execute("PRAGMA query_only = ON")
    return session


class SqliteSession:
    """One connection to one file."""

    exclusive = True

    def __init__(self, connection: Connection, log: str = "") -> None:
        """`log` is the file of the write-ahead log."""
        driver = connection.connection.driver_connection
        assert isinstance(driver, sqlite3.Connection)
        self.connection = connection
        self.raw = driver
        self._log = log
        self._statements: dict[tuple[Any, ...], str] = {}

    def is_crowded(self) -> bool:
        """Whether the log has grown too large."""
        try:
            return os.stat(self._log).st_size > WAL_BYTES_MAX
        except OSError:
            return False

    def _carry_over(self) -> None:
        if self.is_crowded():
            self.raw.execute(f"PRAGMA busy_timeout = {int(CARRY_OVER_SECONDS * 1000)}")
            try:
                self.raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            finally:
                self.raw.execute(f"PRAGMA busy_timeout = {int(BUSY_SECONDS * 1000)}")

    def begin_at_once(self) -> bool:
        self._carry_over()
        self.raw.execute("PRAGMA busy_timeout = 0")
        try:
            self.raw.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if self.failure(error) is Failure.UNAVAILABLE:
                return False
            raise
        finally:
            self.raw.execute(f"PRAGMA busy_timeout = {int(BUSY_SECONDS * 1000)}")
        return True

    def begin(self) -> None:
        self._carry_over()
        self.raw.execute("BEGIN IMMEDIATE")

    def begin_reading(self) -> None:
        self.raw.execute("BEGIN")

    def commit(self) -> None:
        self.raw.execute("COMMIT")

    def rollback(self) -> None:
        if not self.is_closed() and self.raw.in_transaction:
            try:
                self.raw.execute("ROLLBACK")
            except sqlite3.Error:
                self.close()

    def close(self) -> None:
        self.connection.close()
        self.raw.close()

    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self.connection.closed

    def select(self, relation: Relation[Any], index: Index, keys: Sequence[Key], lock: Lock) -> list[Any]:
        del lock  # the transaction has locked everything
        decode = relation.codec.decode
        if len(keys) == 1:
            statement = self._statements.get((relation, index, 1)) or self._prepare_select_one(relation, index)
            parameters = keys if len(index.columns) == 1 else keys[0]
        else:
            statement = self._statements.get((relation, index)) or self._prepare_select(relation, index)
            parameters = (_json(keys),)
        return [decode(row) for row in self.raw.execute(statement, parameters).fetchall()]

    def insert(self, relation: Relation[Any], rows: list[list[Any]]) -> None:
        statement = self._statements.get((relation, "insert")) or self._prepare_insert(relation)
        inserted = self.raw.executemany(statement, rows).rowcount
        if inserted != len(rows):
            raise ClaimLost(relation.name)

    def update(self, relation: Relation[Any], columns: tuple[int, ...], rows: list[list[Any]]) -> None:
        statement = self._statements.get((relation, columns)) or self._prepare_update(relation, columns)
        updated = self.raw.executemany(statement, rows).rowcount
        assert updated == len(rows), f"{len(rows)} rows of {relation.name} were locked, {updated} could be updated"

    def number(self, counts: Mapping[str, int]) -> dict[str, int]:
        return dict(self.raw.execute(NUMBER, (_json(counts),)).fetchall())

    def mark(self, writer: str, batch: int) -> None:
        self.raw.execute(MARK, (writer, batch))

    def is_committed(self, writer: str, batch: int) -> bool:
        row = self.raw.execute("SELECT batch FROM writers WHERE id = ?", (writer,)).fetchone()
        return row is not None and bool(row[0] == batch)

    def forget_writers(self) -> None:
        """Removes what earlier processes noted: nobody asks for it any more."""
        self.raw.execute("DELETE FROM writers")

    def notify(self, keys: Collection[str], sender: str) -> None:
        """There is no other process."""

    def query(self, statement: Executable) -> list[Row[Any]]:
        return list(self.connection.execute(statement).all())

    def failure(self, error: Exception) -> Failure:
        code = getattr(getattr(error, "orig", error), "sqlite_errorcode", None)
        if code is not None:
            return _FAILURES.get(code & 0xFF, Failure.REFUSED)
        return Failure.LOST if self.is_closed() else Failure.REFUSED

    def _quoted(self, names: Sequence[str]) -> list[str]:
        quote = self.connection.dialect.identifier_preparer.quote
        return [quote(name) for name in names]

    def _prepare_select_one(self, relation: Relation[Any], index: Index) -> str:
        """By one key: a third of what finding it in a list of keys costs."""
        statement = SELECT_ONE.format(
            columns=", ".join(self._quoted(relation.columns)),
            table=self._quoted([relation.name])[0],
            match=" AND ".join(f"{name} = ?" for name in self._quoted(index.columns)),
            order=", ".join(self._quoted(relation.primary.columns)),
        )
        self._statements[relation, index, 1] = statement
        return statement

    def _prepare_select(self, relation: Relation[Any], index: Index) -> str:
        [table] = self._quoted([relation.name])
        columns = ", ".join(f"{table}.{column}" for column in self._quoted(relation.columns))
        order = ", ".join(f"{table}.{column}" for column in self._quoted(relation.primary.columns))
        keys = [f"{table}.{column}" for column in self._quoted(index.columns)]
        if len(keys) == 1:
            statement = SELECT.format(columns=columns, table=table, key=keys[0], order=order)
        else:
            match = " AND ".join(f"{key} = json_extract(wanted.value, '$[{i}]')" for i, key in enumerate(keys))
            statement = SELECT_BY_MANY.format(columns=columns, table=table, match=match, order=order)
        self._statements[relation, index] = statement
        return statement

    def _prepare_insert(self, relation: Relation[Any]) -> str:
        statement = INSERT.format(
            table=self._quoted([relation.name])[0],
            columns=", ".join(self._quoted(relation.columns)),
            values=", ".join("?" * len(relation.columns)),
            conflict=" ON CONFLICT DO NOTHING" if relation.claim else "",
        )
        self._statements[relation, "insert"] = statement
        return statement

    def _prepare_update(self, relation: Relation[Any], columns: tuple[int, ...]) -> str:
        names = [relation.columns[i] for i in columns]
        statement = UPDATE.format(
            table=self._quoted([relation.name])[0],
            assignments=", ".join(f"{name} = ?" for name in self._quoted(names)),
            match=" AND ".join(f"{name} = ?" for name in self._quoted(relation.primary.columns)),
        )
        self._statements[relation, columns] = statement
        return statement


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
