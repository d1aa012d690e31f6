"""What is put is what is loaded: every kind of field, on both databases; and declarations that do not fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import pytest
from sqlalchemy import BigInteger, Column, LargeBinary, MetaData, Table, Text, select

from comptoir_server.runtime import Runtime
from comptoir_server.store.codec import Codec
from comptoir_server.store.database import open_database
from comptoir_server.store.relation import Id, Relation
from comptoir_server.store.schema import strict_table
from comptoir_server.store.tx import Tx
from tests.support.till import (
    ACCOUNTS,
    CHECKOUTS,
    POSTINGS,
    Account,
    Checkout,
    Line,
    Payment,
    Posting,
    State,
    open_till,
    put,
)

HOSTILE = [
    "",
    " ",
    "NULL",
    "null",
    "{}",
    '{"a"}',
    "\\",
    '\\"',
    "'",
    "a,b",
    "ü € 你 🙂",
    "\n\t\r\x01",
    "%s %% %(x)s :x ?",
]
EDGES = [0, 1, (1 << 53) + 1, (1 << 63) - 1]


async def test_every_value_comes_back_as_it_was_put(database_url: str) -> None:
    database = await open_till(database_url)
    checkouts = [
        Checkout(
            id=f"chk_{i}_{text}",
            partner_id=text,
            reference=f"{i}",
            state=list(State)[i % 3],
            amount=EDGES[i % len(EDGES)],
            version=-EDGES[i % len(EDGES)],
            lines=tuple(Line(text, i, (text, "b") if i % 2 else ()) for _ in range(i % 3)),
            note=None if i % 3 == 0 else text,
            flagged=i % 2 == 0,
            seal=text.encode() + bytes(range(256)) if i % 4 else b"",
        )
        for i, text in enumerate(HOSTILE)
    ]
    await put(database, *checkouts)

    async def by_both_keys(tx: Tx) -> None:
        for checkout in checkouts:
            by_id = await tx.load(CHECKOUTS.get(checkout.id))
            by_reference = await tx.load(CHECKOUTS.get_by("by_reference", checkout.partner_id, checkout.reference))
            assert by_id == by_reference == checkout
            assert isinstance(by_id.state, State)
            assert isinstance(by_id.flagged, bool)

    async def turn_over(tx: Tx) -> None:
        found = await tx.load_all([CHECKOUTS.lock(checkout.id) for checkout in checkouts])
        for i, checkout in enumerate(found):
            assert checkout is not None
            changed = replace(checkout, note=HOSTILE[-i], flagged=not checkout.flagged, seal=b"\x00\\x", lines=())
            checkouts[i] = changed
            tx.put(changed)

    await database.read(by_both_keys)
    await database.write(turn_over)
    await database.read(by_both_keys)
    await database.close()


async def test_an_update_writes_only_the_columns_that_changed(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = await open_till(database_url)
    await put(database, Checkout("chk_1", "prt", "a", State.OPEN, 1), Checkout("chk_2", "prt", "b", State.OPEN, 1))
    session_kind = type(database._backend.connect_reader())
    updates: list[tuple[str, ...]] = []
    update = session_kind.update

    def recording(session: Any, relation: Any, columns: tuple[int, ...], rows: Any) -> None:
        updates.append(tuple(relation.columns[i] for i in columns))
        update(session, relation, columns, rows)

    monkeypatch.setattr(session_kind, "update", recording)

    async def work(tx: Tx) -> None:
        one, two = await tx.load(CHECKOUTS.lock("chk_1"), CHECKOUTS.lock("chk_2"))
        assert one is not None
        assert two is not None
        tx.put(replace(one, state=State.PAID, version=2))
        tx.put(replace(two, note="seen"))

    async def nothing(tx: Tx) -> None:
        one = await tx.load(CHECKOUTS.lock("chk_1"))
        assert one is not None
        tx.put(replace(one))

    await database.write(work)
    await database.write(nothing)
    assert updates == [("state", "version", "note")]
    checkouts = await database.read(lambda tx: tx.load(CHECKOUTS.get("chk_1"), CHECKOUTS.get("chk_2")))
    assert checkouts == (
        Checkout("chk_1", "prt", "a", State.PAID, 1, version=2),
        Checkout("chk_2", "prt", "b", State.OPEN, 1, note="seen"),
    )
    await database.close()


async def test_keys_of_several_columns_find_their_rows(database_url: str) -> None:
    database = await open_till(database_url)

    async def work(tx: Tx) -> None:
        tx.put(Checkout("chk_1", "prt", "a", State.OPEN, 1))
        tx.put(Payment("pay_1", "chk_1", State.OPEN, 1))
        for line in range(12):
            tx.put(Posting("pay_1", line, "acc", line * 10))

    await database.write(work)
    found = await database.read(lambda tx: tx.load_all([POSTINGS.get(("pay_1", n)) for n in (11, 2, 99, 0)]))
    assert [None if posting is None else posting.amount for posting in found] == [110, 20, None, 0]
    await database.close()


async def test_json_is_canonical_and_outlives_new_and_removed_fields(database_url: str) -> None:
    database = await open_till(database_url)
    await put(database, Checkout("chk_1", "prt", "a", State.OPEN, 1, lines=(Line("Café", 5, ("x",)),)))
    lines = CHECKOUTS.table.c.lines
    [row] = await database.read(lambda tx: tx.query(select(lines)))
    assert row.lines == '[{"amount":5,"name":"Café","tags":["x"]}]'
    stored = list(CHECKOUTS.codec.encode(Checkout("chk_1", "prt", "a", State.OPEN, 1)))
    stored[CHECKOUTS.columns.index("lines")] = '[{"name":"Old","amount":1,"of_a_newer_version":true}]'
    assert CHECKOUTS.codec.decode(stored).lines == (Line("Old", 1, ()),)
    await database.close()


class Shape(StrEnum):
    ROUND = "ROUND"


@dataclass(frozen=True, slots=True)
class Inner:
    shape: Shape
    next: Inner | None = None


@dataclass(frozen=True, slots=True)
class Nested:
    id: str
    inner: Inner
    optional: Inner | None
    pair: tuple[int, Shape]
    by_name: Mapping[str, Inner]
    free: dict[str, Any]
    shapes: tuple[Shape | None, ...]


def test_nested_records_are_rebuilt_from_their_type_hints() -> None:
    codec = Codec(Nested)
    inner = Inner(Shape.ROUND, Inner(Shape.ROUND))
    for optional in (None, inner):
        record = Nested("a", inner, optional, (1, Shape.ROUND), {"x": inner}, {"y": [1, None]}, (None, Shape.ROUND))
        decoded = codec.decode(codec.encode(record))
        assert decoded == record
        assert isinstance(decoded.shapes[1], Shape)
        assert isinstance(decoded.pair, tuple)


def test_a_state_that_this_version_does_not_know_is_refused_when_it_is_read() -> None:
    stored = CHECKOUTS.codec.encode(Checkout("chk_1", "prt", "a", State.OPEN, 1))
    stored[CHECKOUTS.columns.index("state")] = "MELTED"
    with pytest.raises(ValueError, match="'MELTED', which is no State"):
        CHECKOUTS.codec.decode(stored)


@dataclass(frozen=True, slots=True)
class Mutable:
    id: str
    values: list[int]


@dataclass(frozen=True, slots=True)
class Ambiguous:
    id: str
    value: int | str


@dataclass(frozen=True, slots=True)
class Sealed:
    id: bytes


@pytest.mark.parametrize("record", [Mutable, Ambiguous])
def test_a_field_that_cannot_be_stored_is_refused_at_its_declaration(record: type[Any]) -> None:
    with pytest.raises(TypeError):
        Codec(record)


def accounts(**changed: Column[Any] | None) -> Table:
    """The table of accounts, with other columns."""
    columns: dict[str, Column[Any] | None] = {
        "id": Column("id", Id(), primary_key=True),
        "balance": Column("balance", BigInteger, nullable=False),
        "version": Column("version", BigInteger, nullable=False),
    }
    return strict_table("accounts", MetaData(), *(c for c in (columns | changed).values() if c is not None))


@pytest.mark.parametrize(
    "table",
    [
        accounts(version=None),
        accounts(extra=Column("extra", Text)),
        accounts(version=Column("version", BigInteger)),
        accounts(version=Column("version", BigInteger, primary_key=True)),
    ],
)
def test_a_record_and_a_table_that_do_not_fit_are_refused_at_their_declaration(table: Table) -> None:
    with pytest.raises(TypeError):
        Relation(Account, table)


def test_bytes_are_no_key() -> None:
    table = strict_table("sealed", MetaData(), Column("id", LargeBinary, primary_key=True))
    with pytest.raises(TypeError, match="bytes cannot be a key"):
        Relation(Sealed, table)


def test_two_relations_of_one_record_are_refused(tmp_path: Any) -> None:
    with pytest.raises(TypeError, match="same record"):
        open_database(f"sqlite:///{tmp_path}/a.db", (ACCOUNTS, Relation(Account, ACCOUNTS.table)), Runtime())


def test_an_unknown_address_is_refused() -> None:
    for url in ("mysql://x", "sqlite://x", "sqlite:///:memory:", ""):
        with pytest.raises(ValueError, match=r"address|memory"):
            open_database(url, (), Runtime())
    with pytest.raises(ValueError, match="inline"):
        open_database("postgresql://x", (), Runtime(), inline=True)


def test_a_load_by_an_undeclared_key_or_a_wrong_number_of_values_is_refused() -> None:
    with pytest.raises(KeyError):
        CHECKOUTS.get_by("by_colour", "red")
    with pytest.raises(TypeError, match="1 values given"):
        CHECKOUTS.get_by("by_reference", "prt")
