"""The batching transaction: many works, one transaction, as if they ran one by one. On both databases."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select

from comptoir_server.store.database import Database, IntegrityError, StorageUnavailable
from comptoir_server.store.tx import Tx
from tests.support.databases import record_calls
from tests.support.till import (
    ACCOUNTS,
    CHECKOUTS,
    CLAIMS,
    PAYMENTS,
    Account,
    Checkout,
    Claim,
    Payment,
    State,
    open_till,
    put,
    together,
)


class Refusal(Exception):
    """What a work of these tests raises."""


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    database = await open_till(database_url)
    yield database
    await database.close()


def add(account_id: str, amount: int) -> Callable[[Tx], Awaitable[int]]:
    """A work that adds to an account, which it makes if there is none, and returns the new balance."""

    async def work(tx: Tx) -> int:
        account = await tx.load(ACCOUNTS.lock(account_id)) or Account(account_id, 0)
        tx.put(replace(account, balance=account.balance + amount))
        return account.balance + amount

    return work


async def balance(database: Database, account_id: str) -> int | None:
    account = await database.read(lambda tx: tx.load(ACCOUNTS.get(account_id)))
    return None if account is None else account.balance


async def test_works_of_a_batch_share_one_statement_a_table_and_one_commit(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(database, *(Account(f"acc_{i}", 100) for i in range(40)))
    calls = record_calls(monkeypatch, "select", "insert", "update", "commit")

    results = await together(database, *(add(f"acc_{i}", i) for i in range(40)))

    assert results == [100 + i for i in range(40)]
    assert calls == ["select accounts", "update accounts", "commit"]


async def test_works_that_want_the_same_row_run_one_after_the_other(database: Database) -> None:
    await put(database, Account("acc_hot", 0))
    results = await together(database, *(add("acc_hot", 1) for _ in range(100)))
    assert results == list(range(1, 101))
    assert await balance(database, "acc_hot") == 100


async def test_an_absent_key_is_owned_so_the_same_new_request_runs_once(database: Database) -> None:
    runs: list[str] = []

    def pay(name: str) -> Callable[[Tx], Awaitable[str]]:
        async def work(tx: Tx) -> str:
            claim = await tx.load(CLAIMS.lock(("prt", "pay", "req_1")))
            if claim is not None:
                return claim.answer
            account = await tx.load(ACCOUNTS.lock("acc_1")) or Account("acc_1", 0)
            tx.put(replace(account, balance=account.balance + 5))
            tx.put(Claim("prt", "pay", "req_1", name))
            runs.append(name)
            return name

        return work

    results = await together(database, *(pay(f"run_{i}") for i in range(5)))
    assert results == ["run_0"] * 5
    assert set(runs) == {"run_0"}
    assert await balance(database, "acc_1") == 5


async def test_later_works_see_inserts_and_updates_through_unique_and_parent_keys(database: Database) -> None:
    async def create(tx: Tx) -> None:
        assert await tx.load(CHECKOUTS.lock_by("by_reference", "prt", "order 1")) is None
        tx.put(Checkout("chk_1", "prt", "order 1", State.OPEN, 5))
        tx.put(Payment("pay_2", "chk_1", State.OPEN, 5))

    async def follow(tx: Tx) -> tuple[Any, ...]:
        checkout = await tx.load(CHECKOUTS.lock_by("by_reference", "prt", "order 1"))
        assert checkout is not None
        before = await tx.load(PAYMENTS.list_by("by_checkout", checkout.id))
        tx.put(Payment("pay_1", checkout.id, State.OPEN, 7))
        payment = await tx.load(PAYMENTS.lock("pay_2"))
        assert payment is not None
        tx.put(replace(payment, state=State.PAID))
        tx.put(replace(checkout, reference="order 2"))
        return before, await tx.load(PAYMENTS.list_by("by_checkout", checkout.id))

    async def look(tx: Tx) -> tuple[Any, ...]:
        return await tx.load(
            CHECKOUTS.lock_by("by_reference", "prt", "order 1"),
            CHECKOUTS.get_by("by_reference", "prt", "order 2"),
            PAYMENTS.list_by("by_checkout", "chk_1"),
        )

    first, second = Payment("pay_1", "chk_1", State.OPEN, 7), Payment("pay_2", "chk_1", State.OPEN, 5)
    after = (first, replace(second, state=State.PAID))
    results = await together(database, create, follow, look)
    assert results[1] == ((second,), after)
    assert results[2] == (None, Checkout("chk_1", "prt", "order 2", State.OPEN, 5), after)
    assert await database.read(look_unlocked) == results[2]


async def look_unlocked(tx: Tx) -> tuple[Any, ...]:
    return await tx.load(
        CHECKOUTS.get_by("by_reference", "prt", "order 1"),
        CHECKOUTS.get_by("by_reference", "prt", "order 2"),
        PAYMENTS.list_by("by_checkout", "chk_1"),
    )


async def test_works_that_lock_in_opposite_orders_all_finish(database: Database) -> None:
    await put(database, Account("acc_a", 1000), Account("acc_b", 1000))

    def move(source: str, target: str) -> Callable[[Tx], Awaitable[None]]:
        async def work(tx: Tx) -> None:
            giver = await tx.load(ACCOUNTS.lock(source))
            taker = await tx.load(ACCOUNTS.lock(target))
            assert giver is not None
            assert taker is not None
            tx.put(replace(giver, balance=giver.balance - 1))
            tx.put(replace(taker, balance=taker.balance + 1))

        return work

    works = [move("acc_a", "acc_b") if i % 3 else move("acc_b", "acc_a") for i in range(60)]
    assert await together(database, *works) == [None] * 60
    assert (await balance(database, "acc_a"), await balance(database, "acc_b")) == (980, 1020)


async def test_a_work_that_raises_has_written_nothing_and_poisons_nobody(database: Database) -> None:
    async def refuse(tx: Tx) -> None:
        account = await tx.load(ACCOUNTS.lock("acc_1")) or Account("acc_1", 0)
        tx.put(replace(account, balance=account.balance + 1000))
        tx.after_commit("never")
        raise Refusal("no")

    results = await together(database, add("acc_1", 1), refuse, add("acc_1", 2), refuse, add("acc_1", 4))
    assert [results[i] for i in (0, 2, 4)] == [1, 3, 7]
    assert [type(results[i]) for i in (1, 3)] == [Refusal, Refusal]
    assert await balance(database, "acc_1") == 7


async def test_a_constraint_that_one_work_breaks_is_its_own_caller_s_error(database: Database) -> None:
    async def overdraw(tx: Tx) -> None:
        tx.put(Account("acc_bad", -1))

    works = [add(f"acc_{i}", i) for i in range(20)]
    results = await together(database, *works[:10], overdraw, *works[10:])
    assert isinstance(results[10], IntegrityError)
    assert results[:10] + results[11:] == list(range(20))
    assert await balance(database, "acc_19") == 19
    assert await balance(database, "acc_bad") is None


async def test_a_value_that_the_database_cannot_hold_is_its_own_caller_s_error(database: Database) -> None:
    async def overflow(tx: Tx) -> None:
        tx.put(Account("acc_bad", 1 << 70))

    results = await together(database, add("acc_1", 1), overflow, add("acc_2", 2))
    assert [results[0], results[2]] == [1, 2]
    assert isinstance(results[1], Exception)
    assert await balance(database, "acc_bad") is None


async def test_two_works_that_insert_the_same_row_without_looking_write_it_once(database: Database) -> None:
    async def insert(tx: Tx) -> str:
        tx.put(Account("acc_new", 1))
        return "inserted"

    results = await together(database, insert, add("acc_1", 1), insert)
    assert results[:2] == ["inserted", 1]
    assert isinstance(results[2], IntegrityError)
    assert await balance(database, "acc_new") == 1


async def test_a_cancelled_caller_neither_stops_its_work_nor_holds_up_its_neighbours(database: Database) -> None:
    tasks = [asyncio.create_task(database.write(add("acc_1", 1))) for _ in range(10)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [result for result in results if isinstance(result, int)] == [2, 4, 6, 8, 10]
    assert await balance(database, "acc_1") == 10


async def test_a_work_that_is_run_again_meets_the_same_time_and_the_same_ids(database: Database) -> None:
    runs: list[tuple[int, str, str, str, bytes]] = []

    async def draw(tx: Tx) -> None:
        runs.append((tx.now, tx.new_id("pay"), tx.new_id("evt"), tx.new_id("pay"), tx.random_bytes(4)))
        tx.put(Account("acc_2", 2))

    async def overdraw(tx: Tx) -> None:
        tx.put(Account("acc_bad", -1))

    results = await together(database, add("acc_1", 1), draw, overdraw)
    assert results[1] is None
    assert len(runs) > 1, "the batch was not run again, so this shows nothing"
    assert len(set(runs)) == 1
    assert len(set(runs[0])) == 5


async def test_a_row_that_was_read_without_a_lock_cannot_be_put(database: Database) -> None:
    await put(database, Account("acc_1", 5))

    async def careless(tx: Tx) -> None:
        account = await tx.load(ACCOUNTS.get("acc_1"))
        assert account is not None
        tx.put(replace(account, balance=0))

    async def careful(tx: Tx) -> int:
        await tx.load(ACCOUNTS.get("acc_1"))
        account = await tx.load(ACCOUNTS.lock("acc_1"))
        assert account is not None
        tx.put(replace(account, balance=account.balance + 1))
        return account.balance

    with pytest.raises(RuntimeError, match="read without a lock"):
        await database.write(careless)
    assert await balance(database, "acc_1") == 5
    assert await database.write(careful) == 5
    assert await balance(database, "acc_1") == 6


async def test_a_work_sees_what_it_has_put_itself(database: Database) -> None:
    async def work(tx: Tx) -> list[Any]:
        checkout = Checkout("chk_1", "prt", "order 1", State.OPEN, 5)
        tx.put(checkout)
        tx.put(Payment("pay_1", "chk_1", State.OPEN, 5))
        seen: list[Any] = [
            await tx.load(CHECKOUTS.get("chk_1")),
            await tx.load(CHECKOUTS.lock_by("by_reference", "prt", "order 1")),
            await tx.load(PAYMENTS.list_by("by_checkout", "chk_1")),
        ]
        tx.put(replace(checkout, version=2))
        return [*seen, await tx.load(CHECKOUTS.get("chk_1"))]

    checkout = Checkout("chk_1", "prt", "order 1", State.OPEN, 5)
    expected = [checkout, checkout, (Payment("pay_1", "chk_1", State.OPEN, 5),), replace(checkout, version=2)]
    assert await database.write(work) == expected


async def test_one_load_gives_a_value_several_give_a_tuple_and_load_all_always_a_tuple(database: Database) -> None:
    await put(database, Account("acc_1", 1))

    async def work(tx: Tx) -> list[Any]:
        return [
            await tx.load(ACCOUNTS.get("acc_1")),
            await tx.load(ACCOUNTS.get("acc_1"), ACCOUNTS.get("acc_2")),
            await tx.load_all([ACCOUNTS.get("acc_1")]),
            await tx.load_all([]),
        ]

    one = Account("acc_1", 1)
    assert await database.write(work) == [one, (one, None), (one,), ()]
    assert await database.read(work) == [one, (one, None), (one,), ()]


async def test_a_work_awaits_nothing_but_its_tx(database: Database) -> None:
    async def sleepy(tx: Tx) -> None:
        tx.put(Account("acc_1", 1))
        await asyncio.sleep(0)

    results = await together(database, sleepy, add("acc_2", 2))
    assert isinstance(results[0], RuntimeError)
    assert "awaits nothing but its Tx" in str(results[0])
    assert results[1] == 2
    assert await balance(database, "acc_1") is None


async def test_a_reading_work_can_neither_lock_nor_put_and_a_writing_one_cannot_query(database: Database) -> None:
    async def lock(tx: Tx) -> None:
        await tx.load(ACCOUNTS.lock("acc_1"))

    async def insert(tx: Tx) -> None:
        tx.put(Account("acc_1", 1))

    async def query(tx: Tx) -> list[Any]:
        return list(await tx.query(select(ACCOUNTS.table.c.id)))

    for work in (lock, insert):
        with pytest.raises(RuntimeError):
            await database.read(work)
    with pytest.raises(RuntimeError, match="reads by key"):
        await database.write(query)
    await put(database, Account("acc_7", 1))
    assert [row.id for row in await database.read(query)] == ["acc_7"]


async def test_an_error_of_one_read_is_its_own_caller_s(database: Database) -> None:
    await put(database, Account("acc_1", 1))

    async def broken(tx: Tx) -> None:
        await tx.query(select(ACCOUNTS.table.c.id).where(ACCOUNTS.table.c.id == object()))

    results = await asyncio.gather(
        balance(database, "acc_1"), database.read(broken), balance(database, "acc_1"), return_exceptions=True
    )
    assert [results[0], results[2]] == [1, 1]
    assert isinstance(results[1], Exception)


async def test_a_batch_is_never_larger_than_its_limit(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    database = await open_till(database_url)
    sizes: list[int] = []
    run_batch = type(database._writer).run_batch

    def counted(writer: Any, jobs: list[Any]) -> Any:
        sizes.append(len(jobs))
        return run_batch(writer, jobs)

    monkeypatch.setattr(type(database._writer), "run_batch", counted)
    results = await together(database, *(add(f"acc_{i}", i) for i in range(500)))
    assert results == list(range(500))
    assert max(sizes) <= (64 if database_url.startswith("sqlite") else 128)
    await database.close()


async def test_wake_up_keys_arrive_after_the_commit_and_only_of_works_that_returned(database: Database) -> None:
    woken: list[dict[str, Any]] = []
    database.subscribe(woken.append)

    async def wake(tx: Tx) -> None:
        tx.put(Account("acc_1", 1))
        tx.after_commit("acc_1")
        tx.after_commit("log")

    async def refuse(tx: Tx) -> None:
        tx.after_commit("never")
        raise Refusal

    await together(database, refuse, wake)
    await asyncio.sleep(0)
    assert set().union(*woken) == {"acc_1", "log"}


async def test_close_answers_what_was_handed_in_and_refuses_what_comes_later(database_url: str) -> None:
    database = await open_till(database_url)
    tasks = [asyncio.create_task(database.write(add("acc_1", 1))) for _ in range(200)]
    await asyncio.sleep(0)
    await database.close()
    assert await asyncio.gather(*tasks) == list(range(1, 201))
    with pytest.raises(StorageUnavailable, match="closed"):
        await database.write(add("acc_1", 1))
    with pytest.raises(StorageUnavailable, match="closed"):
        await balance(database, "acc_1")
    database = await open_till(database_url)
    assert await balance(database, "acc_1") == 200
    await database.close()
