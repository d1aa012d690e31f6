"""PostgreSQL: any number of server processes, each with a held connection for its writes and one for its reads."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus
from sqlalchemy import Connection, Executable, NullPool, Row, create_engine

from comptoir_server.store.relation import Index, Key, Relation
from comptoir_server.store.session import ClaimLost, Failure, Lock

CHANNEL = "comptoir"
EVERYTHING = "*"
"""The key that stands for all keys: notices may have been missed, or were too many for one message."""

NOTICE_BYTES_MAX = 7900
"""PostgreSQL carries 8000 bytes in a notice."""

CONNECT_SECONDS = 5
SETTINGS = "-c lock_timeout=3s -c idle_in_transaction_session_timeout=6s"
"""A process that stops in the middle of a batch frees its rows after 6 s; another waits 3 s for one and runs again."""

KEEPALIVES: dict[str, Any] = {
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
"""A server that has gone silent is given up after some 10 s."""

ARRAYS = {str: "text[]", int: "bigint[]", bool: "boolean[]", bytes: "bytea[]"}
LOCKS = {
    Lock.NONE: "",
    Lock.WAIT: " FOR NO KEY UPDATE OF {table}",
    Lock.SKIP: " FOR NO KEY UPDATE OF {table} SKIP LOCKED",
}

SELECT = "SELECT {columns} FROM {table} WHERE {key} = ANY({array}) ORDER BY {order}"
SELECT_BY_MANY = "SELECT {columns} FROM {table} JOIN unnest({arrays}) AS wanted ({names}) ON {match} ORDER BY {order}"
INSERT = "INSERT INTO {table} ({columns}) SELECT * FROM unnest({arrays}){conflict}"
UPDATE = "UPDATE {table} SET {assignments} FROM unnest({arrays}) AS new ({names}) WHERE {match}"
NUMBER = """
INSERT INTO counters (name, value) SELECT * FROM unnest(%s::text[], %s::bigint[])
ON CONFLICT (name) DO UPDATE SET value = counters.value + excluded.value RETURNING name, value
"""
MARK = """
INSERT INTO writers (id, batch, touched) VALUES (%s, %s, extract(epoch FROM clock_timestamp())::bigint)
ON CONFLICT (id) DO UPDATE SET batch = excluded.batch, touched = excluded.touched
"""
FORGET_SECONDS = 86_400

_FAILURES = {
    "40P01": Failure.AGAIN,  # deadlock
    "40001": Failure.AGAIN,  # serialization failure
    "55P03": Failure.AGAIN,  # lock time-out
    "25006": Failure.LOST,  # read-only: this server is a standby now, the next connection may find the primary
    "08": Failure.LOST,
    "23": Failure.INTEGRITY,
    "53": Failure.UNAVAILABLE,  # disk full, no memory, too many connections
    "57": Failure.UNAVAILABLE,  # an operator steps in
    "58": Failure.UNAVAILABLE,  # input or output error
}
"""By SQLSTATE, or by the class that its first two characters name."""


def connect(url: str) -> PostgresqlSession:
    """Opens a held connection to what `url` means to libpq. Raises psycopg's OperationalError."""

    def open_connection() -> psycopg.Connection[tuple[Any, ...]]:
        connection = psycopg.connect(
            url,
            connect_timeout=CONNECT_SECONDS,
            options=SETTINGS,
            application_name="comptoir",
            **KEEPALIVES,
            prepare_threshold=1,
        )
        connection.prepared_max = 1000
        return connection

    engine = create_engine(
        "postgresql+psycopg://", creator=open_connection, poolclass=NullPool, isolation_level="AUTOCOMMIT"
    )
    return PostgresqlSession(engine.connect())


class PostgresqlSession:
    """One connection to one server."""

    exclusive = False

    def __init__(self, connection: Connection) -> None:
        driver = connection.connection.driver_connection
        assert isinstance(driver, psycopg.Connection)
        self.connection = connection
        self.raw: psycopg.Connection[tuple[Any, ...]] = driver
        self._execute = driver.cursor().execute
        self._statements: dict[tuple[Any, ...], str] = {}

    def begin_at_once(self) -> bool:
        self.begin()
        return True

    def begin(self) -> None:
        self._run("BEGIN ISOLATION LEVEL READ COMMITTED")

    def begin_reading(self) -> None:
        """All that follows, up to the commit, reads one state of the database."""
        self._run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")

    def commit(self) -> None:
        self._run("COMMIT")

    def rollback(self) -> None:
        if not self.raw.closed and self.raw.info.transaction_status is not TransactionStatus.IDLE:
            try:
                self._run("ROLLBACK")
            except psycopg.Error:
                self.close()

    def close(self) -> None:
        if self.connection.closed:  # what went wrong in a rollback may have closed it before its owner does
            return
        self.raw.close()
        self.connection.invalidate()
        self.connection.close()

    def select(self, relation: Relation[Any], index: Index, keys: Sequence[Key], lock: Lock) -> list[Any]:
        statement = self._statements.get((relation, index, lock)) or self._prepare_select(relation, index, lock)
        arrays = _arrays(relation, index.columns, [(key,) for key in keys] if len(index.columns) == 1 else keys)
        decode = relation.codec.decode
        return [decode(row) for row in self._run(statement, arrays).fetchall()]

    def insert(self, relation: Relation[Any], rows: list[list[Any]]) -> None:
        statement = self._statements.get((relation, "insert")) or self._prepare_insert(relation)
        inserted = self._run(statement, _arrays(relation, relation.columns, rows)).rowcount
        if inserted != len(rows):
            raise ClaimLost(relation.name)

    def update(self, relation: Relation[Any], columns: tuple[int, ...], rows: list[list[Any]]) -> None:
        statement = self._statements.get((relation, columns)) or self._prepare_update(relation, columns)
        names = [*(relation.columns[i] for i in columns), *relation.primary.columns]
        updated = self._run(statement, _arrays(relation, names, rows)).rowcount
        assert updated == len(rows), f"{len(rows)} rows of {relation.name} were locked, {updated} could be updated"

    def number(self, counts: Mapping[str, int]) -> dict[str, int]:
        arrays = [_array_literal(str, [*counts]), _array_literal(int, [*counts.values()])]
        return dict(self._run(NUMBER, arrays).fetchall())

    def mark(self, writer: str, batch: int) -> None:
        self._run(MARK, (writer, batch))

    def is_committed(self, writer: str, batch: int) -> bool:
        self._run("BEGIN")
        self._run("INSERT INTO writers (id, batch, touched) VALUES (%s, -1, 0) ON CONFLICT DO NOTHING", (writer,))
        row = self._run("SELECT batch FROM writers WHERE id = %s FOR UPDATE", (writer,)).fetchone()
        self._run("COMMIT")
        return row is not None and bool(row[0] == batch)

    def forget_writers(self) -> None:
        """Removes what writers noted that have not written for a day, by the database's own clock."""
        self._run(
            "DELETE FROM writers WHERE id IN (SELECT id FROM writers"
            " WHERE touched < extract(epoch FROM clock_timestamp()) - %s FOR UPDATE SKIP LOCKED)",
            (FORGET_SECONDS,),
        )

    def notify(self, keys: Collection[str], sender: str) -> None:
        body = "\n".join((sender, *sorted(keys)))
        if len(body.encode()) > NOTICE_BYTES_MAX:
            body = f"{sender}\n{EVERYTHING}"
        self._run("SELECT pg_notify(%s, %s)", (CHANNEL, body))

    def query(self, statement: Executable) -> list[Row[Any]]:
        return list(self.connection.execute(statement).all())

    def failure(self, error: Exception) -> Failure:
        cause = getattr(error, "orig", error)
        code = getattr(cause, "sqlstate", None) or ""
        if self.raw.closed or (isinstance(cause, psycopg.OperationalError) and not code):
            return Failure.LOST
        return _FAILURES.get(code) or _FAILURES.get(code[:2], Failure.REFUSED)

    def _run(self, statement: str, parameters: Sequence[Any] = ()) -> psycopg.Cursor[tuple[Any, ...]]:
        if not parameters:
            return self._execute(statement.encode(), prepare=False)
        return self._execute(statement.encode(), parameters)

    def _quoted(self, names: Iterable[str]) -> list[str]:
        quote = self.connection.dialect.identifier_preparer.quote
        return [quote(name).replace("%", "%%") for name in names]

    def _prepare_select(self, relation: Relation[Any], index: Index, lock: Lock) -> str:
        [table] = self._quoted([relation.name])
        arrays = _array_parameters(relation, index.columns)
        wanted = self._quoted(index.columns)
        parts = {
            "table": table,
            "columns": ", ".join(f"{table}.{column}" for column in self._quoted(relation.columns)),
            "order": ", ".join(f"{table}.{column}" for column in self._quoted(relation.primary.columns)),
        }
        if len(wanted) == 1:
            statement = SELECT.format(key=f"{table}.{wanted[0]}", array=arrays, **parts)
        else:
            match = " AND ".join(f"{table}.{column} = wanted.{column}" for column in wanted)
            statement = SELECT_BY_MANY.format(arrays=arrays, names=", ".join(wanted), match=match, **parts)
        statement += LOCKS[lock].format(table=table)
        self._statements[relation, index, lock] = statement
        return statement

    def _prepare_insert(self, relation: Relation[Any]) -> str:
        statement = INSERT.format(
            table=self._quoted([relation.name])[0],
            columns=", ".join(self._quoted(relation.columns)),
            arrays=_array_parameters(relation, relation.columns),
            conflict=" ON CONFLICT DO NOTHING" if relation.claim else "",
        )
        self._statements[relation, "insert"] = statement
        return statement

    def _prepare_update(self, relation: Relation[Any], columns: tuple[int, ...]) -> str:
        [table] = self._quoted([relation.name])
        changed = self._quoted(relation.columns[i] for i in columns)
        keys = self._quoted(relation.primary.columns)
        aliases = [f"c{i}" for i in range(len(changed) + len(keys))]
        statement = UPDATE.format(
            table=table,
            assignments=", ".join(f"{name} = new.{alias}" for name, alias in zip(changed, aliases, strict=False)),
            arrays=_array_parameters(relation, [*(relation.columns[i] for i in columns), *relation.primary.columns]),
            names=", ".join(aliases),
            match=" AND ".join(
                f"{table}.{name} = new.{alias}" for name, alias in zip(keys, aliases[len(changed) :], strict=True)
            ),
        )
        self._statements[relation, columns] = statement
        return statement


def _array_parameters(relation: Relation[Any], columns: Iterable[str]) -> str:
    return ", ".join(f"%s::{ARRAYS[relation.kind_of(column)]}" for column in columns)


def _arrays(relation: Relation[Any], columns: Iterable[str], rows: Iterable[Sequence[Any]]) -> list[str]:
    """One array literal a column; the driver's own arrays cost eight times as much."""
    by_column = zip(*rows, strict=True)
    return [_array_literal(relation.kind_of(name), values) for name, values in zip(columns, by_column, strict=True)]


def _array_literal(kind: type, values: Sequence[Any]) -> str:
    """PostgreSQL's text form of an array of str, int, bool (0 or 1) or bytes, None among them."""
    if kind is bytes:
        return "{" + ",".join("NULL" if value is None else f'"\\\\x{value.hex()}"' for value in values) + "}"
    if kind is not str:
        return "{" + ",".join("NULL" if value is None else str(value) for value in values) + "}"
    if None in values:
        return "{" + ",".join("NULL" if value is None else f'"{_escaped(value)}"' for value in values) + "}"
    return '{"' + '","'.join(_escaped(value) for value in values) + '"}'


def _escaped(text: str) -> str:
    if "\\" in text or '"' in text:
        return text.replace("\\", "\\\\").replace('"', '\\"')
    return text
