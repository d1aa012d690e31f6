"""What is SQLite's own: durability settings, one process, reads in the loop, and running without threads."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from comptoir_server.runtime import Runtime
from comptoir_server.store import sqlite
from comptoir_server.store.database import Database, StorageUnavailable
from comptoir_server.store.direct import SNAPSHOT_SECONDS
from comptoir_server.store.tx import Tx
from tests.support.databases import record_calls
from tests.support.till import ACCOUNTS, Account, open_till, put

REPOSITORY = Path(__file__).resolve().parents[2]


def add(account_id: str, amount: int = 1) -> Callable[[Tx], Awaitable[int]]:
    async def work(tx: Tx) -> int:
        account = await tx.load(ACCOUNTS.lock(account_id)) or Account(account_id, 0)
        tx.put(replace(account, balance=account.balance + amount))
        return account.balance + amount

    return work


def file_of(url: str) -> Path:
    return Path(url.removeprefix("sqlite:///"))


async def test_every_connection_syncs_every_commit_and_checks_foreign_keys(tmp_path: Path) -> None:
    for read_only in (False, True):
        session = sqlite.connect(str(tmp_path / "a.db"), read_only=read_only)
        settings = {
            name: session.raw.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "synchronous", "foreign_keys", "query_only")
        }
        assert settings == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "query_only": int(read_only)}
        session.close()


async def test_tables_are_strict_and_foreign_keys_hold(sqlite_url: str) -> None:
    database = await open_till(sqlite_url)
    await database.close()
    session = sqlite.connect(str(file_of(sqlite_url)))
    with pytest.raises(sqlite3.IntegrityError, match="cannot store TEXT value in INTEGER column"):
        session.raw.execute("INSERT INTO accounts VALUES ('acc', 'much', 0)")
    with pytest.raises(sqlite3.IntegrityError, match="FOREIGN KEY"):
        session.raw.execute("INSERT INTO payments VALUES ('pay', 'chk_nowhere', 'OPEN', 1)")
    session.close()


async def test_a_second_opening_is_refused_in_words_that_help(sqlite_url: str) -> None:
    database = await open_till(sqlite_url)
    await put(database, Account("acc_1", 1))
    with pytest.raises(StorageUnavailable, match=rf"in use by another server process \(process {os.getpid()}\)"):
        await open_till(sqlite_url)
    program = f"import asyncio; from tests.support.till import open_till; asyncio.run(open_till({sqlite_url!r}))"
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    second = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False
    )
    assert second.returncode == 1
    assert "Stop that one first, or use PostgreSQL to run several." in second.stderr
    assert await database.write(add("acc_1")) == 2
    await database.close()
    reopened = await open_till(sqlite_url)
    assert await reopened.write(add("acc_1")) == 3
    await reopened.close()


async def test_a_write_takes_the_file_before_it_reads(sqlite_url: str) -> None:
    database = await open_till(sqlite_url)
    await put(database, Account("acc_1", 1))
    told: list[str] = []

    async def work(tx: Tx) -> int:
        account = await tx.load(ACCOUNTS.lock("acc_1"))
        assert account is not None
        with sqlite3.connect(file_of(sqlite_url), timeout=0) as other:
            try:
                other.execute("UPDATE accounts SET balance = 7")
            except sqlite3.OperationalError as error:
                told.append(str(error))
        tx.put(replace(account, balance=account.balance + 1))
        return account.balance + 1

    written = await database.write(work)
    found = await database.read(lambda tx: tx.load(ACCOUNTS.get("acc_1")))
    await database.close()

    assert told == ["database is locked"]
    assert (written, found) == (2, Account("acc_1", 2))


async def test_a_read_does_not_wait_for_a_commit(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    database = await open_till(sqlite_url)
    await put(database, Account("acc_1", 1))
    committing, go_on = threading.Event(), threading.Event()
    commit = sqlite.SqliteSession.commit

    def slow(session: sqlite.SqliteSession) -> None:
        committing.set()
        go_on.wait()
        commit(session)

    monkeypatch.setattr(sqlite.SqliteSession, "commit", slow)
    writing = asyncio.create_task(database.write(add("acc_1")))
    await asyncio.to_thread(committing.wait)
    assert await database.read(lambda tx: tx.load(ACCOUNTS.get("acc_1"))) == Account("acc_1", 1)
    go_on.set()
    await writing
    assert await database.read(lambda tx: tx.load(ACCOUNTS.get("acc_1"))) == Account("acc_1", 2)
    await database.close()


async def test_all_that_a_reading_work_sees_is_of_one_state(sqlite_url: str) -> None:
    database = await open_till(sqlite_url)
    await put(database, Account("acc_1", 1), Account("acc_2", 1))

    async def look(tx: Tx) -> tuple[Any, ...]:
        first = await tx.load(ACCOUNTS.get("acc_1"))
        with sqlite3.connect(file_of(sqlite_url), isolation_level=None) as other:
            other.execute("UPDATE accounts SET balance = 2")
        other.close()
        second = await tx.load(ACCOUNTS.get("acc_2"))
        balances = await tx.query(select(ACCOUNTS.table.c.balance))
        return first, second, *(row.balance for row in balances)

    assert await database.read(look) == (Account("acc_1", 1), Account("acc_2", 1), 1, 1)
    await database.close()


async def test_what_is_concluded_of_a_state_is_forgotten_with_it_and_late_conclusions_are_nobodys(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = Runtime()
    monkeypatch.setattr(runtime, "monotonic", lambda: 1.0)
    database = await open_till(sqlite_url, runtime=runtime)
    before = database.conclusions()
    before["a"] = 1
    assert await database.get(ACCOUNTS.get("acc_1")) is None
    assert database.conclusions() == {"a": 1}

    await put(database, Account("acc_1", 1))
    before["late"] = 1
    assert database.conclusions() == {}
    assert await database.get(ACCOUNTS.get("acc_1")) == Account("acc_1", 1)

    database.conclusions()["b"] = 1
    monkeypatch.setattr(runtime, "monotonic", lambda: 1.0 + SNAPSHOT_SECONDS + 0.001)
    assert database.conclusions() == {}
    await database.close()


@pytest.mark.parametrize("reads", [False, True], ids=["alone", "beside reads"])
async def test_the_log_begins_anew_although_there_is_a_read_between_any_two_commits(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch, reads: bool
) -> None:
    pragmas = ("PRAGMA wal_autocheckpoint = 40" if "autocheckpoint" in one else one for one in sqlite.PRAGMAS)
    monkeypatch.setattr(sqlite, "PRAGMAS", tuple(pragmas))
    monkeypatch.setattr(sqlite, "WAL_BYTES_MAX", 80 * 8192)
    database = await open_till(sqlite_url)
    log = file_of(sqlite_url).with_name(file_of(sqlite_url).name + "-wal")
    sizes = []
    for number in range(300):
        if reads:
            assert await database.get(ACCOUNTS.get("nobody")) is None
        assert await database.write(add(f"acc_{number}")) == 1
        sizes.append(log.stat().st_size)
        assert sizes[-1] < 120 * 8192
    found = await database.read(lambda tx: tx.query(select(func.count()).select_from(ACCOUNTS.table)))
    await database.close()

    assert [tuple(row) for row in found] == [(300,)]
    assert max(sizes) > 40 * 8192
    if reads:
        assert min(sizes[-50:]) < 40 * 8192


async def test_where_reads_share_no_state_nothing_is_concluded(inline: Database) -> None:
    inline.conclusions()["a"] = 1

    assert inline.conclusions() == {}


async def test_after_a_crash_the_notes_of_earlier_processes_are_removed(sqlite_url: str) -> None:
    for _ in range(3):
        database = await open_till(sqlite_url)
        await database.write(add("acc_1"))
        await database.close()
    with sqlite3.connect(file_of(sqlite_url)) as connection:
        assert connection.execute("SELECT count(*) FROM writers").fetchone() == (1,)
    connection.close()


@pytest.fixture(params=["file", "memory"])
async def inline(request: pytest.FixtureRequest, sqlite_url: str) -> Database:
    return await open_till(sqlite_url if request.param == "file" else "sqlite:///:memory:", inline=True)


async def test_inline_runs_the_same_batches_without_a_thread(inline: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = record_calls(monkeypatch, "select", "commit")
    threads = threading.active_count()
    results = await asyncio.gather(*(inline.write(add(f"acc_{i % 3}")) for i in range(60)))
    assert results == [i // 3 + 1 for i in range(60)]
    assert threading.active_count() == threads
    assert calls == ["select accounts", "commit"]
    assert await inline.read(lambda tx: tx.load(ACCOUNTS.get("acc_0"))) == Account("acc_0", 20)
    await inline.close()


async def test_inline_answers_on_closing_and_nothing_after_it(inline: Database) -> None:
    tasks = [asyncio.create_task(inline.write(add("acc_1"))) for _ in range(130)]
    await asyncio.sleep(0)
    await inline.close()
    assert await asyncio.gather(*tasks) == list(range(1, 131))
    with pytest.raises(StorageUnavailable):
        await inline.write(add("acc_1"))


async def test_what_is_abandoned_is_as_after_a_crash(sqlite_url: str) -> None:
    database = await open_till(sqlite_url, inline=True)
    assert await database.write(add("acc_1")) == 1
    lost = asyncio.create_task(database.write(add("acc_1")))
    await asyncio.sleep(0)
    database.abandon()
    await asyncio.sleep(0.01)
    assert not lost.done()
    lost.cancel()
    reopened = await open_till(sqlite_url, inline=True)
    assert await reopened.write(add("acc_1")) == 2
    await reopened.close()
