"""Recognisable secrets, and every place where one of them could turn up: log lines, files, pages, tables."""

from __future__ import annotations

import io
import json
import logging
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psycopg
import structlog
from psycopg import sql

from comptoir_server import log

Canaries = Mapping[str, str]
"""Texts that nobody else may ever read, by what they are."""


@contextmanager
def logged() -> Iterator[io.StringIO]:
    """All that the server and its libraries write down from now on, as a running server would, at every level."""
    stream = io.StringIO()
    root = logging.getLogger()
    before = (root.handlers, root.level, threading.excepthook, structlog.get_config())
    log.set_up(level="debug", stream=stream)
    root.setLevel(logging.DEBUG)
    try:
        yield stream
    finally:
        root.handlers, root.level = before[0], before[1]
        threading.excepthook = before[2]
        structlog.configure(**before[3])


def lines(stream: io.StringIO) -> list[dict[str, str]]:
    """The lines that were written."""
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def found(canaries: Canaries, where: str, told: bytes) -> list[str]:
    """A sentence for each canary that stands in `told`: plain, as hexadecimal, escaped as in JSON, or in UTF-16."""
    return [f"the {name} stands in {where}" for name, text in canaries.items() if any(f in told for f in _forms(text))]


def _forms(text: str) -> Iterable[bytes]:
    plain = text.encode()
    yield plain
    yield plain.hex().encode()
    yield json.dumps(text)[1:-1].encode()
    yield text.encode("utf-16-le")


def in_database(canaries: Canaries, database_url: str) -> list[str]:
    """The canaries that stand in a database: in any page of SQLite's files, in any row of PostgreSQL's tables."""
    if database_url.startswith("sqlite:///"):
        path = Path(database_url.removeprefix("sqlite:///"))
        files = sorted(each for each in path.parent.iterdir() if each.name.startswith(path.name))
        return [sentence for file in files for sentence in found(canaries, file.suffix, file.read_bytes())]
    return [sentence for table, row in _rows(database_url) for sentence in found(canaries, table, row)]


def _rows(database_url: str) -> Iterator[tuple[str, bytes]]:
    with psycopg.connect(database_url) as connection:
        named = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY tablename"
        for [table] in connection.execute(named).fetchall():
            statement = sql.SQL("SELECT * FROM {}").format(sql.Identifier(table))
            for row in connection.execute(statement).fetchall():
                yield table, b"\n".join(each if isinstance(each, bytes) else str(each).encode() for each in row)
