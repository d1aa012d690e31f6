"""What becomes of a batch when the database fails it: lost commits, lost connections, full disks, killed processes."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from comptoir_server.store import writer
from comptoir_server.store.backend import backend_of
from comptoir_server.store.database import Database, StorageUnavailable
from comptoir_server.store.session import Failure
from comptoir_server.store.sqlite import SqliteSession
from comptoir_server.store.tx import Tx
from tests.support.cut_line import Cut, CutLine
from tests.support.databases import database_url
from tests.support.till import ACCOUNTS, Account, Event, open_till, put, together

__all__ = ["database_url"]

END_ALL = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
ENDED_TIMES = 100

REPOSITORY = Path(__file__).resolve().parents[2]


def add(amount: int, name: str = "") -> Callable[[Tx], Awaitable[int]]:
    """Adds to the one account, tells it in an event, returns the new balance."""

    async def work(tx: Tx) -> int:
        account = await tx.load(ACCOUNTS.lock("acc_1")) or Account("acc_1", 0)
        tx.put(replace(account, balance=account.balance + amount))
        tx.put(Event(tx.new_id("evt"), "log", None, f"added {name}"))
        return account.balance + amount

    return work


async def balance(database: Database) -> int:
    account = await database.read(lambda tx: tx.load(ACCOUNTS.get("acc_1")))
    return 0 if account is None else account.balance


@pytest.mark.parametrize("cut", Cut)
async def test_a_commit_whose_answer_is_lost_is_decided_and_never_run_again_blind(
    postgresql_url: str, cut: Cut, monkeypatch: pytest.MonkeyPatch
) -> None:
    with CutLine(postgresql_url) as line:
        database = await open_till(line.url)
        assert await database.write(add(1)) == 1
        runs: list[int] = []
        attempt = writer.Writer._attempt

        def counting(self: writer.Writer, jobs: list[Any], **locks: Any) -> Any:
            runs.append(len(jobs))
            return attempt(self, jobs, **locks)

        monkeypatch.setattr(writer.Writer, "_attempt", counting)
        line.cut = cut
        assert await database.write(add(10)) == 11
        assert line.cuts == 1
        assert len(runs) == (2 if cut is Cut.BEFORE else 1)
        assert await database.write(add(100)) == 111
        assert await balance(database) == 111
        await database.close()


async def test_a_commit_that_cannot_be_decided_is_said_to_be_in_doubt(
    postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "DECIDE_SECONDS", 0.5)
    monkeypatch.setattr(writer, "CONNECT_SECONDS", 0.5)
    with CutLine(postgresql_url) as line:
        database = await open_till(line.url)
        assert await database.write(add(1)) == 1
        line.cut, line.refuses = Cut.AFTER, True
        with pytest.raises(StorageUnavailable) as doubt:
            await database.write(add(10))
        assert doubt.value.in_doubt
        with pytest.raises(StorageUnavailable) as certainty:
            await database.write(add(100))
        assert not certainty.value.in_doubt
        line.refuses = False
        assert await database.write(add(1000)) == 1011
        await database.close()


async def test_a_connection_that_the_server_ended_is_opened_again_and_no_caller_notices(postgresql_url: str) -> None:
    database = await open_till(postgresql_url)
    assert await database.write(add(1)) == 1
    with psycopg.connect(postgresql_url, autocommit=True) as operator:
        operator.execute(END_ALL)
    assert await balance(database) == 1
    assert await database.write(add(2)) == 3
    await database.close()


async def test_connections_that_the_server_ends_again_and_again_trouble_nobody_for_long(postgresql_url: str) -> None:
    database = await open_till(postgresql_url)
    assert await database.write(add(1)) == 1
    done: list[int] = []
    ended = 0

    async def going_on(work: Callable[[], Awaitable[int]]) -> None:
        while ended < ENDED_TIMES:
            with suppress(StorageUnavailable):
                done.append(await work())

    async def ending() -> None:
        nonlocal ended
        async with await psycopg.AsyncConnection.connect(postgresql_url, autocommit=True) as operator:
            while ended < ENDED_TIMES:
                await operator.execute(END_ALL)
                ended += 1
                await asyncio.sleep(0.002 * (ended % 5))

    await asyncio.gather(
        ending(),
        *(going_on(lambda: balance(database)) for _ in range(4)),
        *(going_on(lambda: database.write(add(0))) for _ in range(4)),
    )

    assert set(done) == {1}
    assert await balance(database) == 1
    assert await database.write(add(2)) == 3
    await database.close()


def test_a_connection_may_be_closed_twice(database_url: str) -> None:
    session = backend_of(database_url, inline=False).connect()

    for _ in range(2):
        session.close()
        session.rollback()

    assert session.failure(RuntimeError()) is Failure.LOST


@pytest.mark.parametrize("committed", [True, False])
async def test_an_unreadable_answer_of_the_disk_to_a_commit_is_decided_on_a_new_connection(
    sqlite_url: str, committed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = await open_till(sqlite_url)
    assert await database.write(add(1)) == 1
    commit = SqliteSession.commit

    def failing(session: SqliteSession) -> None:
        monkeypatch.setattr(SqliteSession, "commit", commit)
        if committed:
            commit(session)
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
        raise error

    monkeypatch.setattr(SqliteSession, "commit", failing)
    assert await database.write(add(10)) == 11
    assert await balance(database) == 11
    assert await database.write(add(100)) == 111
    await database.close()


async def test_a_full_disk_refuses_the_batch_and_heals_when_there_is_room(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = await open_till(sqlite_url)
    assert await database.write(add(1)) == 1

    async def pages(tx: Tx) -> None:
        session = database._writer._session
        assert isinstance(session, SqliteSession)
        session.raw.execute(f"PRAGMA max_page_count = {limit}")

    async def bulky(tx: Tx) -> None:
        for _ in range(50):
            tx.put(Event(tx.new_id("evt"), "x" * 5000, None, "bulky"))

    limit = 1
    await database.write(pages)
    results = await together(database, bulky, add(10))
    assert [type(result) for result in results] == [StorageUnavailable] * 2
    assert not any(result.in_doubt for result in results)
    assert await balance(database) == 1
    limit = 1_000_000
    await database.write(pages)
    assert await together(database, bulky, add(10)) == [None, 11]
    await database.close()


async def test_a_file_that_another_program_holds_is_said_to_be_unavailable(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("comptoir_server.store.sqlite.BUSY_SECONDS", 0.1)
    database = await open_till(sqlite_url)
    await put(database, Account("acc_1", 1))
    shell = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)
    shell.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageUnavailable) as refusal:
        await database.write(add(1))
    assert not refusal.value.in_doubt
    shell.execute("ROLLBACK")
    shell.close()
    assert await database.write(add(1)) == 2
    await database.close()


async def test_a_database_that_is_not_there_is_said_so_when_it_is_opened(tmp_path: Path) -> None:
    for url in ("postgresql://nobody@127.0.0.1:1/nothing", f"sqlite:///{tmp_path}/missing/till.db"):
        with pytest.raises(StorageUnavailable, match="cannot be"):
            await open_till(url)


KILLED = """
import asyncio, sys
from pathlib import Path
from comptoir_server.runtime import arm_faults_from_file
from tests.integration.test_store_commit import add
from tests.support.till import open_till

async def main(url, control):
    database = await open_till(url)
    arm_faults_from_file(Path(control))
    for i in range(200):
        print(await database.write(add(1)), flush=True)

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.parametrize("point", ["batch.flushed", "batch.committed"])
@pytest.mark.parametrize("count", [1, 7, 50])
async def test_a_killed_process_loses_nothing_that_it_has_answered(
    database_url: str, point: str, count: int, tmp_path: Path
) -> None:
    control = tmp_path / "fault"
    control.write_text(f"{point} {count}")
    server = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", KILLED, database_url, str(control)],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert server.returncode == -signal.SIGKILL, server.stderr
    answered = [int(line) for line in server.stdout.split()]
    assert answered == list(range(1, count))
    database = await open_till(database_url)
    committed = count - 1 if point == "batch.flushed" else count
    assert await balance(database) == committed
    assert await database.write(add(1)) == committed + 1
    await database.close()
