"""Numbers that the flush gives: per scope, in commit order, without a gap. On both databases."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
from sqlalchemy import BigInteger, Column, MetaData, select

from comptoir_server.runtime import Runtime
from comptoir_server.store.database import Database, IntegrityError, open_database
from comptoir_server.store.relation import Id, Relation
from comptoir_server.store.schema import declare_internal_tables, strict_table
from comptoir_server.store.tx import Tx
from tests.support.till import EVENTS, Account, Claim, Event, open_till, put, together


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    database = await open_till(database_url)
    yield database
    await database.close()


async def numbers(database: Database) -> dict[str, tuple[int, int]]:
    """Id of each event to its position and its number in its session."""
    columns = EVENTS.table.c
    statement = select(columns.id, columns.position, columns.session_sequence)
    return {row.id: (row.position, row.session_sequence) for row in await database.read(lambda tx: tx.query(statement))}


def tell(*events: Event, then: Exception | None = None) -> Callable[[Tx], Awaitable[None]]:
    async def work(tx: Tx) -> None:
        for event in events:
            tx.put(event)
        if then is not None:
            raise then

    return work


async def test_each_scope_is_numbered_from_one_in_the_order_of_the_answers(database: Database) -> None:
    await together(
        database,
        tell(Event("e5", "log_1", "ses_1", "a"), Event("e1", "log_1", None, "b")),
        tell(Event("e4", "log_2", "ses_1", "c")),
        tell(Event("e3", "log_1", "ses_2", "d"), Event("e2", "log_1", "ses_1", "e")),
    )
    await put(database, Event("e0", "log_1", "ses_1", "f"))
    assert await numbers(database) == {
        "e5": (1, 1),
        "e1": (2, 0),
        "e4": (1, 1),
        "e3": (3, 1),
        "e2": (4, 2),
        "e0": (5, 3),
    }


async def test_works_that_fail_leave_no_gap(database: Database) -> None:
    async def overdraw(tx: Tx) -> None:
        tx.put(Event("e_overdrawn", "log", None, "never"))
        tx.put(Account("acc", -1))

    async def lose(tx: Tx) -> None:
        tx.put(Event("e_lost", "log", None, "never"))
        tx.put(Claim("prt", "pay", "req", "second"))

    await put(database, Claim("prt", "pay", "req", "first"))
    results = await together(
        database,
        tell(Event("e1", "log", None, "a")),
        overdraw,
        tell(Event("e_refused", "log", None, "never"), then=ValueError("no")),
        tell(Event("e2", "log", None, "b")),
        lose,
        tell(Event("e3", "log", None, "c")),
    )
    assert [type(result) for result in results] == [
        type(None),
        IntegrityError,
        ValueError,
        type(None),
        IntegrityError,
        type(None),
    ]
    assert sorted((await numbers(database)).items()) == [("e1", (1, 0)), ("e2", (2, 0)), ("e3", (3, 0))]


async def test_parts_of_a_scope_are_never_confused(database: Database) -> None:
    await put(database, *(Event(f"e{i}", log, "s", "x") for i, log in enumerate(["a/b", "a", "a%2Fb", "a/b", "", "/"])))
    found = await numbers(database)
    assert [found[f"e{i}"][0] for i in range(6)] == [1, 1, 1, 2, 1, 1]


async def test_an_update_keeps_its_number(database: Database) -> None:
    await put(database, Event("e1", "log", "ses", "a"), Event("e2", "log", "ses", "b"))

    async def change(tx: Tx) -> None:
        event = await tx.load(EVENTS.lock("e1"))
        assert event is not None
        tx.put(replace(event, kind="changed"))

    await database.write(change)
    await put(database, Event("e3", "log", "ses", "c"))
    assert await numbers(database) == {"e1": (1, 1), "e2": (2, 2), "e3": (3, 3)}


async def test_an_event_that_a_later_work_of_its_batch_changes_is_numbered_once(database: Database) -> None:
    async def change(tx: Tx) -> int:
        event = await tx.load(EVENTS.lock("e1"))
        assert event is not None
        tx.put(replace(event, kind="changed"))
        return event.position

    assert await together(database, tell(Event("e1", "log", None, "a")), change) == [None, 0]
    assert await numbers(database) == {"e1": (1, 0)}
    assert (await database.read(lambda tx: tx.load(EVENTS.get("e1")))) == Event("e1", "log", None, "changed", 1)


@dataclass(frozen=True, slots=True)
class Entry:
    """A record whose key is the number itself."""

    log_id: str
    text: str
    number: int = 0


@pytest.mark.parametrize("scope", [("log_id",), ()])
async def test_a_number_may_be_part_of_the_key(database_url: str, scope: tuple[str, ...]) -> None:
    metadata = MetaData()
    declare_internal_tables(metadata)
    table = strict_table(
        "entries",
        metadata,
        Column("log_id", Id(), primary_key=True),
        Column("number", BigInteger, primary_key=True),
        Column("text", Id(), nullable=False),
    )
    entries: Relation[Entry] = Relation(
        Entry, table, key=("log_id", "number"), parents={"by_log": ("log_id",)}, sequences={"number": scope}
    )
    database = open_database(database_url, (entries,), Runtime())
    await database.open()
    await database.create_all(metadata)

    async def add(tx: Tx) -> list[str]:
        await tx.load(entries.lock(("log_1", -1)))  # whoever adds holds this key, so that lists are complete
        tx.put(Entry("log_1", "a"))
        tx.put(Entry("log_1", "b"))
        tx.put(Entry("log_2", "c"))
        return [entry.text for entry in await tx.load(entries.list_by("by_log", "log_1"))]

    async def change(tx: Tx) -> Any:
        entry = await tx.load(entries.lock(("log_1", 2)))
        assert entry is not None
        tx.put(replace(entry, text="changed"))
        return entry.text

    assert await together(database, add, add) == [["a", "b"], ["a", "b", "a", "b"]]
    assert await database.write(change) == "b"
    found = await database.read(lambda tx: tx.load(entries.list_by("by_log", "log_1")))
    expected = [1, 2, 3, 4] if scope else [1, 2, 4, 5]
    assert found == tuple(
        Entry("log_1", text, number) for number, text in zip(expected, ["a", "changed", "a", "b"], strict=True)
    )
    await database.close()
