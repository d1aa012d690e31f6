"""Several writers on one PostgreSQL: each `Database` here is what another server process would be."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from graphlib import TopologicalSorter
from typing import Any

import psycopg
import pytest
from sqlalchemy import select

from comptoir_server.store import postgresql, writer
from comptoir_server.store.backend import PostgresqlBackend
from comptoir_server.store.database import EVERYTHING, Database
from comptoir_server.store.postgresql import PostgresqlSession
from comptoir_server.store.session import Failure, Lock
from comptoir_server.store.tx import Tx
from tests.support.altered import pausing
from tests.support.databases import record_calls
from tests.support.till import (
    ACCOUNTS,
    CHECKOUTS,
    CLAIMS,
    EVENTS,
    PAYMENTS,
    Account,
    Checkout,
    Claim,
    Event,
    Payment,
    State,
    open_till,
    put,
)

ACCOUNT_IDS = [f"acc_{i}" for i in range(6)]


@pytest.fixture
async def pair(postgresql_url: str) -> AsyncIterator[tuple[Database, Database]]:
    with psycopg.connect(postgresql_url, autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {connection.info.dbname} SET deadlock_timeout = '20ms'")
    databases = (await open_till(postgresql_url), await open_till(postgresql_url))
    yield databases
    for database in databases:
        await database.close()


@pytest.fixture
def small_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many small batches, and every connection sleeps up to 2 ms before each of its statements."""
    monkeypatch.setattr(PostgresqlBackend, "batch_max", 6)
    monkeypatch.setattr(PostgresqlSession, "_run", pausing(1, 0.002))


@pytest.fixture
def failures(monkeypatch: pytest.MonkeyPatch) -> list[Failure]:
    """What went wrong in the databases, whether a caller was told or not."""
    seen: list[Failure] = []
    judge = PostgresqlSession.failure

    def recording(session: PostgresqlSession, error: Exception) -> Failure:
        seen.append(judge(session, error))
        return seen[-1]

    monkeypatch.setattr(PostgresqlSession, "failure", recording)
    return seen


Seen = list[tuple[str, int]]


def transfer(rng: random.Random) -> Callable[[Tx], Awaitable[Seen]]:
    """Locks three accounts in random order, at once or one by one, moves money around, returns ids and versions."""
    ids = rng.sample(ACCOUNT_IDS, 3)
    at_once = rng.random() < 0.5

    async def work(tx: Tx) -> Seen:
        loads = [ACCOUNTS.lock(account_id) for account_id in ids]
        rows = await tx.load_all(loads) if at_once else [await tx.load(load) for load in loads]
        accounts = [row for row in rows if row is not None]
        for account, amount in zip(accounts, (-2, 1, 1), strict=True):
            tx.put(replace(account, balance=account.balance + amount, version=account.version + 1))
        return [(account.id, account.version) for account in accounts]

    return work


async def race(pair: tuple[Database, Database], seed: int, count: int) -> tuple[list[Seen], list[Account]]:
    """What `count` transfers saw that two writers ran at once, and the accounts afterwards."""
    rng = random.Random(seed)
    await put(pair[0], *(Account(account_id, 1000) for account_id in ACCOUNT_IDS))
    seen = await asyncio.gather(*(rng.choice(pair).write(transfer(rng)) for _ in range(count)))
    rows = await pair[0].read(lambda tx: tx.load_all([ACCOUNTS.get(account_id) for account_id in ACCOUNT_IDS]))
    return list(seen), [row for row in rows if row is not None]


def expect_some_serial_order(seen: list[Seen], accounts: list[Account]) -> None:
    """Each version of an account was changed by exactly one work, and the works can be put in one order."""
    assert sum(account.balance for account in accounts) == 6000
    takers = {place: i for i, work in enumerate(seen) for place in work}
    assert len(takers) == 3 * len(seen)
    for account in accounts:
        assert sorted(version for name, version in takers if name == account.id) == list(range(account.version))
    order: TopologicalSorter[int] = TopologicalSorter()
    for (name, version), i in takers.items():
        order.add(i, *([takers[name, version - 1]] if version else []))
    assert len(list(order.static_order())) == len(seen)  # raises CycleError


async def test_two_writers_are_as_if_all_ran_one_by_one_and_meet_no_deadlock(
    small_pauses: None, pair: tuple[Database, Database], failures: list[Failure]
) -> None:
    expect_some_serial_order(*await race(pair, seed=1, count=1500))
    assert failures == []


async def test_without_row_locks_two_writers_lose_updates(
    small_pauses: None, pair: tuple[Database, Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test above can fail: the locks are what keeps its promise."""
    monkeypatch.setattr(postgresql, "LOCKS", dict.fromkeys(Lock, ""))
    with pytest.raises(AssertionError):
        expect_some_serial_order(*await race(pair, seed=1, count=400))


def crossing(meeting: threading.Barrier, first: str, second: str) -> Callable[[Tx], Awaitable[None]]:
    """Adds 1 to two accounts; its first run holds one of them until the other process holds the other."""
    runs: list[int] = []

    async def work(tx: Tx) -> None:
        runs.append(1)
        one = await tx.load(ACCOUNTS.lock(first))
        if len(runs) == 1:
            meeting.wait(timeout=10)
        two = await tx.load(ACCOUNTS.lock(second))
        for account in (one, two):
            assert account is not None
            tx.put(replace(account, balance=account.balance + 1))

    return work


async def cross(pair: tuple[Database, Database]) -> list[int]:
    """The balances after two processes have locked the same two rows in opposite orders."""
    await put(pair[0], Account("acc_a", 0), Account("acc_b", 0))
    meeting = threading.Barrier(2)
    await asyncio.gather(
        pair[0].write(crossing(meeting, "acc_a", "acc_b")), pair[1].write(crossing(meeting, "acc_b", "acc_a"))
    )
    a, b = await pair[0].read(lambda tx: tx.load_all([ACCOUNTS.get("acc_a"), ACCOUNTS.get("acc_b")]))
    return [account.balance for account in (a, b) if account is not None]


async def test_processes_that_lock_in_opposite_orders_meet_no_deadlock(
    pair: tuple[Database, Database], failures: list[Failure]
) -> None:
    assert await cross(pair) == [2, 2]
    assert failures == []


async def test_if_later_rounds_waited_for_rows_there_would_be_a_deadlock_and_still_no_caller_would_see_it(
    pair: tuple[Database, Database], failures: list[Failure], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test above can fail; and what it cannot exclude is healed by running again."""
    attempt = writer.Writer._attempt
    monkeypatch.setattr(
        writer.Writer, "_attempt", lambda self, jobs, *, first, later: attempt(self, jobs, first=first, later=Lock.WAIT)
    )
    assert await cross(pair) == [2, 2]
    assert Failure.AGAIN in failures


async def test_a_request_that_reaches_two_processes_is_done_once_and_answered_alike(
    small_pauses: None, pair: tuple[Database, Database], failures: list[Failure]
) -> None:
    rng = random.Random(3)

    def pay(request: int, name: str) -> Callable[[Tx], Awaitable[str]]:
        async def work(tx: Tx) -> str:
            key = ("prt", "pay", f"req_{request:03}")
            claim = await tx.load(CLAIMS.lock(key))
            if claim is not None:
                return claim.answer
            tx.put(Claim(*key, answer=name))
            tx.put(Event(f"evt_{name}", "log", None, "paid"))
            return name

        return work

    calls = [(request, f"{request:03}_{i}") for request in range(150) for i in range(4)]
    rng.shuffle(calls)
    answers = await asyncio.gather(*(rng.choice(pair).write(pay(*call)) for call in calls))
    by_request: dict[int, set[str]] = {}
    for (request, _), answer in zip(calls, answers, strict=True):
        by_request.setdefault(request, set()).add(answer)
    assert all(len(found) == 1 for found in by_request.values())
    events = await positions(pair[0])
    assert events == list(range(1, 151)), "a claim that was lost left a trace"
    assert failures == []


async def positions(database: Database) -> list[int]:
    position = EVENTS.table.c.position
    return [row.position for row in await database.read(lambda tx: tx.query(select(position).order_by(position)))]


async def test_a_reader_that_polls_by_position_never_skips_an_event(
    small_pauses: None, pair: tuple[Database, Database], postgresql_url: str
) -> None:
    ended = threading.Event()
    seen: list[int] = []

    def poll() -> None:
        with psycopg.connect(postgresql_url, autocommit=True) as connection:
            last_look = False
            while not last_look:
                last_look = ended.is_set()
                query = "SELECT position FROM events WHERE log_id = 'log' AND position > %s ORDER BY position"
                seen.extend(row[0] for row in connection.execute(query, (seen[-1] if seen else 0,)))

    def tell(name: str, *, refuses: bool) -> Callable[[Tx], Awaitable[None]]:
        async def work(tx: Tx) -> None:
            for log in ("log", "other"):
                tx.put(Event(f"evt_{log}_{name}", log, f"ses_{len(name) % 3}", "told"))
            if refuses:
                raise RuntimeError("never mind")

        return work

    poller = threading.Thread(target=poll)
    poller.start()
    await asyncio.gather(
        *(pair[i % 2].write(tell(f"{i}", refuses=i % 10 == 0)) for i in range(2000)), return_exceptions=True
    )
    ended.set()
    await asyncio.to_thread(poller.join)
    assert seen == list(range(1, 1801))


async def test_a_work_whose_row_is_held_elsewhere_waits_alone(
    pair: tuple[Database, Database], postgresql_url: str
) -> None:
    await put(pair[0], Account("acc_held", 1), Account("acc_free", 1))

    async def two_rounds(tx: Tx) -> int:
        await tx.load(ACCOUNTS.lock("acc_free"))
        held = await tx.load(ACCOUNTS.lock("acc_held"))
        assert held is not None
        tx.put(replace(held, balance=held.balance + 1))
        return held.balance

    async def neighbour(tx: Tx) -> None:
        await tx.load(CLAIMS.lock(("prt", "pay", "req")), ACCOUNTS.lock("acc_other"))
        tx.put(Account("acc_other", 1))

    with psycopg.connect(postgresql_url) as holder:
        holder.execute("UPDATE accounts SET balance = 7 WHERE id = 'acc_held'")
        waiting = asyncio.create_task(pair[0].write(two_rounds))
        await pair[0].write(neighbour)
        assert not waiting.done()
        holder.commit()
    assert await waiting == 7


async def test_a_row_read_unlocked_is_read_again_when_it_is_locked(
    pair: tuple[Database, Database], postgresql_url: str
) -> None:
    await put(pair[0], Account("acc_1", 1), Checkout("chk_1", "prt", "ref", State.OPEN, 1))

    async def work(tx: Tx) -> tuple[Any, ...]:
        before = await tx.load(ACCOUNTS.get("acc_1"), CHECKOUTS.get_by("by_reference", "prt", "ref"))
        with psycopg.connect(postgresql_url, autocommit=True) as other:
            other.execute("UPDATE accounts SET balance = 2")
            other.execute("UPDATE checkouts SET amount = 2")
        after = await tx.load(ACCOUNTS.lock("acc_1"), CHECKOUTS.lock_by("by_reference", "prt", "ref"))
        return before, after

    (account, checkout), (locked_account, locked_checkout) = await pair[0].write(work)
    assert (account.balance, checkout.amount) == (1, 1)
    assert (locked_account.balance, locked_checkout.amount) == (2, 2)


async def test_a_list_beside_the_lock_of_its_parent_is_complete(
    pair: tuple[Database, Database], postgresql_url: str
) -> None:
    await put(pair[0], Checkout("chk_1", "prt", "ref", State.OPEN, 1))

    async def work(tx: Tx) -> tuple[Any, ...]:
        return await tx.load(PAYMENTS.list_by("by_checkout", "chk_1"), CHECKOUTS.lock("chk_1"))

    with psycopg.connect(postgresql_url) as other:
        other.execute("SELECT 1 FROM checkouts FOR NO KEY UPDATE")
        other.execute("INSERT INTO payments VALUES ('pay_1', 'chk_1', 'OPEN', 1)")
        waiting = asyncio.create_task(pair[0].write(work))
        while not await asyncio.to_thread(_somebody_waits, postgresql_url):
            await asyncio.sleep(0.01)
        other.commit()
    payments, checkout = await waiting
    assert payments == (Payment("pay_1", "chk_1", State.OPEN, 1),)
    assert checkout is not None


def _somebody_waits(url: str) -> bool:
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT count(*) FROM pg_locks WHERE NOT granted").fetchone()
    return row is not None and row[0] > 0


async def test_all_that_a_reading_work_sees_is_of_one_state(
    pair: tuple[Database, Database], postgresql_url: str
) -> None:
    await put(pair[0], Account("acc_1", 1), Account("acc_2", 1))

    async def look(tx: Tx) -> tuple[Any, ...]:
        first = await tx.load(ACCOUNTS.get("acc_1"))
        with psycopg.connect(postgresql_url, autocommit=True) as other:
            other.execute("UPDATE accounts SET balance = 2")
        second = await tx.load(ACCOUNTS.get("acc_2"))
        balances = await tx.query(select(ACCOUNTS.table.c.balance))
        return first, second, *(row.balance for row in balances)

    assert await pair[1].read(look) == (Account("acc_1", 1), Account("acc_2", 1), 1, 1)
    assert await pair[1].read(lambda tx: tx.load(ACCOUNTS.get("acc_1"))) == Account("acc_1", 2)


async def test_reads_that_meet_share_their_statements(
    pair: tuple[Database, Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(pair[0], *(Account(f"acc_{i}", i) for i in range(50)))
    running, all_are_in = threading.Event(), threading.Event()

    async def hold_up(tx: Tx) -> None:
        running.set()
        all_are_in.wait()

    held_up = asyncio.create_task(pair[0].read(hold_up))
    await asyncio.to_thread(running.wait)
    calls = record_calls(monkeypatch, "begin_reading", "select")
    reads = [asyncio.create_task(pair[0].read(read_account(i))) for i in range(50)]
    await asyncio.sleep(0)
    all_are_in.set()
    await held_up
    assert await asyncio.gather(*reads) == list(range(50))
    assert calls == ["begin_reading", "select accounts"]


def read_account(i: int) -> Callable[[Tx], Awaitable[int]]:
    async def work(tx: Tx) -> int:
        account = await tx.load(ACCOUNTS.get(f"acc_{i}"))
        assert account is not None
        return account.balance

    return work


async def test_wake_up_keys_reach_other_processes(pair: tuple[Database, Database]) -> None:
    here, there = asyncio.Queue[dict[str, Any]](), asyncio.Queue[dict[str, Any]]()
    pair[0].subscribe(here.put_nowait)
    pair[1].subscribe(there.put_nowait)

    def wake(*keys: str) -> Callable[[Tx], Awaitable[None]]:
        async def work(tx: Tx) -> None:
            tx.put(Account(tx.new_id("acc"), 1))
            for key in keys:
                tx.after_commit(key)

        return work

    await pair[0].write(wake("log_1", "pay_1"))
    assert (await here.get()).keys() == {"log_1", "pay_1"}
    assert (await there.get()).keys() == {"log_1", "pay_1"}
    many = [f"key_{i:030}" for i in range(400)]
    await pair[0].write(wake(*many))
    assert (await here.get()).keys() == set(many)
    assert (await there.get()).keys() == {EVERYTHING}
    assert here.empty()
