"""Random works, batched, are as if they had run one by one in the order of their answers."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, select

from comptoir_server.store.database import Database, IntegrityError
from comptoir_server.store.ownership import Ownership
from comptoir_server.store.tx import Tx
from tests.support.databases import new_postgresql, new_sqlite
from tests.support.serial import SerialStore
from tests.support.till import (
    ACCOUNTS,
    CHECKOUTS,
    CLAIMS,
    EVENTS,
    METADATA,
    PAYMENTS,
    RELATIONS,
    Account,
    Checkout,
    Claim,
    Event,
    Payment,
    State,
    open_till,
)

Work = Callable[[Tx], Awaitable[Any]]


class Refusal(Exception):
    """What a work of these tests raises."""


def random_work(rng: random.Random, number: int) -> Work:
    """A work of up to five random steps; it returns all it has read."""
    steps = [(rng.choice(STEPS), rng.randrange(1 << 30)) for _ in range(rng.randint(1, 5))]
    refuses = rng.random() < 0.1

    async def work(tx: Tx) -> list[Any]:
        seen: list[Any] = []
        for i, (step, seed) in enumerate(steps):
            seen.append(await step(tx, random.Random(seed), f"{number:04}_{i}"))
        if refuses:
            raise Refusal(seen)
        return seen

    return work


async def transfer(tx: Tx, rng: random.Random, _name: str) -> Any:
    """Locks two or three accounts, at once or one by one, in any order, some of them absent; moves money."""
    ids = [f"acc_{i}" for i in rng.sample(range(6), rng.randint(2, 3))]
    if rng.random() < 0.5:
        found = list(await tx.load(*(ACCOUNTS.lock(account_id) for account_id in ids)))  # type: ignore[call-overload]
    else:
        found = [await tx.load(ACCOUNTS.lock(account_id)) for account_id in ids]
    for account_id, account in zip(ids, found, strict=True):
        account = account or Account(account_id, 100)
        tx.put(replace(account, balance=account.balance + 1, version=account.version + 1))
    return found


async def look(tx: Tx, rng: random.Random, _name: str) -> Any:
    """Locks and changes nothing."""
    return await tx.load(
        ACCOUNTS.lock(f"acc_{rng.randrange(6)}"), CHECKOUTS.lock_by("by_reference", "prt", f"ref_{rng.randrange(4)}")
    )


async def claim(tx: Tx, rng: random.Random, name: str) -> Any:
    """Runs once for each of a few requests."""
    key = ("prt", "pay", f"req_{rng.randrange(5)}")
    found = await tx.load(CLAIMS.lock(key))
    if found is None:
        tx.put(Claim(*key, answer=name))
    return found


async def checkout_by_reference(tx: Tx, rng: random.Random, name: str) -> Any:
    """Makes a checkout under a reference, or changes the one that is there, now and then its reference too."""
    reference = f"ref_{rng.randrange(4)}"
    found = await tx.load(CHECKOUTS.lock_by("by_reference", "prt", reference))
    if found is None:
        tx.put(Checkout(f"chk_{name}", "prt", reference, State.OPEN, rng.randrange(100)))
    elif rng.random() < 0.3:
        tx.put(replace(found, reference=f"old_{name}"))
    else:
        tx.put(replace(found, version=found.version + 1))
    return found


async def pay(tx: Tx, rng: random.Random, name: str) -> Any:
    """Adds a payment under the lock of its checkout, and changes another that a list has shown."""
    checkout = await tx.load(CHECKOUTS.lock_by("by_reference", "prt", f"ref_{rng.randrange(4)}"))
    if checkout is None:
        return None
    payments = await tx.load(PAYMENTS.list_by("by_checkout", checkout.id))
    tx.put(Payment(f"pay_{rng.randrange(1000):04}_{name}", checkout.id, State.OPEN, 1))
    if payments:
        chosen = await tx.load(PAYMENTS.lock(rng.choice(payments).id))
        assert chosen is not None
        tx.put(replace(chosen, amount=chosen.amount + 1))
    return payments, await tx.load(PAYMENTS.list_by("by_checkout", checkout.id))


async def tell(tx: Tx, rng: random.Random, name: str) -> Any:
    """Adds events to one of two logs, most of them to a session."""
    for i in range(rng.randint(1, 3)):
        session = rng.choice([None, "ses_1", "ses_2"])
        tx.put(Event(f"evt_{name}_{i}", f"log_{rng.randrange(2)}", session, "told"))


STEPS = (transfer, transfer, look, claim, checkout_by_reference, pay, pay, tell)


async def run_batched(database: Database, works: list[Work]) -> list[tuple[Work, Any]]:
    """Works with their results or exceptions, in the order of their answers."""
    answered: list[tuple[Work, Any]] = []

    async def call(work: Work) -> None:
        try:
            answered.append((work, await database.write(work)))
        except Refusal as refusal:
            answered.append((work, refusal))

    await asyncio.gather(*(call(work) for work in works))
    return answered


async def all_rows(database: Database) -> dict[str, list[Any]]:
    """Everything that the database holds."""

    async def work(tx: Tx) -> dict[str, list[Any]]:
        rows = {}
        for relation in RELATIONS:
            columns = [relation.table.c[name] for name in relation.columns]
            order = [relation.table.c[name] for name in relation.primary.columns]
            found = await tx.query(select(*columns).order_by(*order))
            rows[relation.name] = [relation.codec.decode(row) for row in found]
        return rows

    return await database.read(work)


def expect_serial(answered: list[tuple[Work, Any]], rows: dict[str, list[Any]]) -> None:
    """Runs the works again, one by one, and compares every result and every row."""
    store = SerialStore(RELATIONS)
    for work, result in answered:
        expected = store.run(work)
        if isinstance(result, Refusal):
            assert isinstance(expected, Refusal)
            assert result.args == expected.args
        else:
            assert result == expected
        number_new_events(store)
    for relation in RELATIONS:
        table = store.tables[relation]
        assert rows[relation.name] == [table[key] for key in sorted(table)], relation.name


def number_new_events(store: SerialStore) -> None:
    """Gives the numbers that the flush gives, in the order in which the events were put."""
    events = store.tables[EVENTS]
    for key, event in events.items():
        if event.position == 0:
            session = event.session_id
            sequence = 0 if session is None else store.number(event.log_id, session)
            events[key] = replace(event, position=store.number(event.log_id), session_sequence=sequence)


async def clear(database: Database) -> None:
    """Empties every table."""
    session = database._backend.connect()
    for table in reversed(METADATA.sorted_tables):
        session.connection.execute(delete(table))
    if not database._inline:
        session.close()


async def open_kind(kind: str, directory: Path) -> Database:
    """SQLite with a writer thread, SQLite on the event loop, or PostgreSQL."""
    return await open_till(new_postgresql() if kind == "postgresql" else new_sqlite(directory), inline=kind == "inline")


@pytest.mark.parametrize("kind", ["sqlite", "inline", "postgresql"])
async def test_random_works_batched_are_as_if_run_one_by_one_in_the_order_of_their_answers(
    kind: str, tmp_path: Path
) -> None:
    database = await open_kind(kind, tmp_path)
    for seed in range(60):
        rng = random.Random(seed)
        works = [random_work(rng, number) for number in range(rng.choice([3, 20, 150]))]
        try:
            expect_serial(await run_batched(database, works), await all_rows(database))
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
        await clear(database)
    await database.close()


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_without_the_ownership_of_keys_random_works_are_not_as_if_run_one_by_one(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test above can fail."""

    def grant(_ownership: Ownership, work: Any) -> bool:
        work.owned.update(dict.fromkeys(work.missing))
        work.missing.clear()
        return True

    monkeypatch.setattr(Ownership, "acquire", grant)
    database = await open_kind(kind, tmp_path)
    rng = random.Random(1)
    works = [random_work(rng, number) for number in range(150)]
    with pytest.raises((AssertionError, IntegrityError)):
        expect_serial(await run_batched(database, works), await all_rows(database))
    await database.close()
