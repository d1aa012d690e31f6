"""A small world to test the store with: accounts and checkouts, payments under them, postings, claims and events."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Column, ForeignKey, Index, LargeBinary, MetaData, Text

from comptoir_server.runtime import Runtime
from comptoir_server.store.database import Database, open_database
from comptoir_server.store.relation import Id, Relation
from comptoir_server.store.schema import declare_internal_tables, strict_table
from comptoir_server.store.tx import Tx


class State(StrEnum):
    OPEN = "OPEN"
    PROCESSING = "PROCESSING"
    PAID = "PAID"


@dataclass(frozen=True, slots=True)
class Line:
    """Something bought."""

    name: str
    amount: int
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Checkout:
    id: str
    partner_id: str
    reference: str
    state: State
    amount: int
    version: int = 1
    lines: tuple[Line, ...] = ()
    note: str | None = None
    flagged: bool = False
    seal: bytes = b""


@dataclass(frozen=True, slots=True)
class Account:
    id: str
    balance: int
    version: int = 0


@dataclass(frozen=True, slots=True)
class Payment:
    id: str
    checkout_id: str
    state: State
    amount: int


@dataclass(frozen=True, slots=True)
class Posting:
    payment_id: str
    line: int
    account: str
    amount: int


@dataclass(frozen=True, slots=True)
class Claim:
    """A request that was seen."""

    owner: str
    method: str
    request_id: str
    answer: str


@dataclass(frozen=True, slots=True)
class Event:
    id: str
    log_id: str
    session_id: str | None
    kind: str
    position: int = 0
    session_sequence: int = 0


METADATA = MetaData()
declare_internal_tables(METADATA)

CHECKOUTS: Relation[Checkout] = Relation(
    Checkout,
    strict_table(
        "checkouts",
        METADATA,
        Column("id", Id(), primary_key=True),
        Column("partner_id", Id(), nullable=False),
        Column("reference", Id(), nullable=False),
        Column("state", Id(), nullable=False),
        Column("amount", BigInteger, CheckConstraint("amount >= 0"), nullable=False),
        Column("version", BigInteger, nullable=False),
        Column("lines", Text, nullable=False),
        Column("note", Text),
        Column("flagged", Boolean, nullable=False),
        Column("seal", LargeBinary, nullable=False),
        Index("checkouts_by_reference", "partner_id", "reference", unique=True),
    ),
    unique={"by_reference": ("partner_id", "reference")},
)
ACCOUNTS: Relation[Account] = Relation(
    Account,
    strict_table(
        "accounts",
        METADATA,
        Column("id", Id(), primary_key=True),
        Column("balance", BigInteger, CheckConstraint("balance >= 0"), nullable=False),
        Column("version", BigInteger, nullable=False),
    ),
)
PAYMENTS: Relation[Payment] = Relation(
    Payment,
    strict_table(
        "payments",
        METADATA,
        Column("id", Id(), primary_key=True),
        Column("checkout_id", Id(), ForeignKey("checkouts.id"), nullable=False),
        Column("state", Id(), nullable=False),
        Column("amount", BigInteger, nullable=False),
        Index("payments_by_checkout", "checkout_id"),
    ),
    parents={"by_checkout": ("checkout_id",)},
)
POSTINGS: Relation[Posting] = Relation(
    Posting,
    strict_table(
        "postings",
        METADATA,
        Column("payment_id", Id(), ForeignKey("payments.id"), primary_key=True),
        Column("line", BigInteger, primary_key=True),
        Column("account", Id(), nullable=False),
        Column("amount", BigInteger, nullable=False),
    ),
    key=("payment_id", "line"),
)
CLAIMS: Relation[Claim] = Relation(
    Claim,
    strict_table(
        "claims",
        METADATA,
        Column("owner", Id(), primary_key=True),
        Column("method", Id(), primary_key=True),
        Column("request_id", Id(), primary_key=True),
        Column("answer", Text, nullable=False),
    ),
    key=("owner", "method", "request_id"),
    claim=True,
)
EVENTS: Relation[Event] = Relation(
    Event,
    strict_table(
        "events",
        METADATA,
        Column("id", Id(), primary_key=True),
        Column("log_id", Id(), nullable=False),
        Column("session_id", Id()),
        Column("kind", Id(), nullable=False),
        Column("position", BigInteger, nullable=False),
        Column("session_sequence", BigInteger, nullable=False),
        Index("events_by_position", "log_id", "position", unique=True),
    ),
    unique={"by_position": ("log_id", "position")},
    sequences={"position": ("log_id",), "session_sequence": ("log_id", "session_id")},
)

RELATIONS: tuple[Relation[Any], ...] = (CHECKOUTS, ACCOUNTS, PAYMENTS, POSTINGS, CLAIMS, EVENTS)


async def open_till(url: str, *, inline: bool = False, runtime: Runtime | None = None) -> Database:
    """An open database of this world, its tables made where they are missing."""
    database = open_database(url, RELATIONS, runtime or Runtime(), inline=inline)
    await database.open()
    await database.create_all(METADATA)
    return database


async def put(database: Database, *records: object) -> None:
    """Inserts records in one work."""

    async def work(tx: Tx) -> None:
        for record in records:
            tx.put(record)

    await database.write(work)


async def together(database: Database, *works: Callable[[Tx], Awaitable[Any]]) -> list[Any]:
    """Results and exceptions of works that meet in one batch: they are handed in while the writer is held up.

    A writer in the loop begins its next batch only when everybody who is ready has handed in.
    """
    if database._backend.writes_in_the_loop:
        return await asyncio.gather(*(database.write(work) for work in works), return_exceptions=True)
    running, all_are_in = threading.Event(), threading.Event()

    async def hold_up(tx: Tx) -> None:
        running.set()
        all_are_in.wait()

    held_up = asyncio.create_task(database.write(hold_up))
    while not running.is_set():
        await asyncio.sleep(0.001)
    tasks = [asyncio.create_task(database.write(work)) for work in works]
    await asyncio.sleep(0)
    all_are_in.set()
    await held_up
    return await asyncio.gather(*tasks, return_exceptions=True)
