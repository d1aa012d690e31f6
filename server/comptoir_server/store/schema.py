"""Column types that mean the same on both databases, and the tables that the batching transaction itself needs.

Text, BigInteger, Boolean and LargeBinary of SQLAlchemy may be used as they are: on SQLite they become types that
STRICT tables accept. An id, and any text that is a key, is an `Id`: on PostgreSQL it is compared byte by byte
(COLLATE "C"), which is the order of Python and of SQLite, and the order in which batches lock rows.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Boolean, Column, MetaData, Table, Text
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.schema import SchemaItem

COUNTERS = "counters"
WRITERS = "writers"


class Id(Text):
    """Text that is a key or a reference: byte order on both databases."""

    def __init__(self) -> None:
        super().__init__(collation="C")


@compiles(Id, "sqlite")
def _id_on_sqlite(_type: Id, _compiler: Any, **_options: Any) -> str:
    return "TEXT"


@compiles(BigInteger, "sqlite")
@compiles(Boolean, "sqlite")
def _integer_on_sqlite(_type: Any, _compiler: Any, **_options: Any) -> str:
    return "INTEGER"


def strict_table(name: str, metadata: MetaData, *items: SchemaItem, **options: Any) -> Table:
    """A table whose column types SQLite enforces too (STRICT); `options` as for SQLAlchemy's Table."""
    return Table(name, metadata, *items, sqlite_strict=True, **options)


def declare_internal_tables(metadata: MetaData) -> None:
    """Adds the two tables that every database of ours has.

    `counters`: the last number given in each scope of each sequence. `writers`: the number of the last batch that
    each writer committed, by which a COMMIT whose answer was lost is decided.
    """
    hot = {"postgresql_with": {"fillfactor": 50}}
    strict_table(
        COUNTERS,
        metadata,
        Column("name", Id(), primary_key=True),
        Column("value", BigInteger, nullable=False),
        **hot,
    )
    strict_table(
        WRITERS,
        metadata,
        Column("id", Id(), primary_key=True),
        Column("batch", BigInteger, nullable=False),
        Column("touched", BigInteger, nullable=False, comment="seconds since the epoch, the database's clock"),
        **hot,
    )
