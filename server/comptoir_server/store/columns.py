"""Making tables out of records: a column for each field, a CHECK for each enum."""

from __future__ import annotations

import dataclasses
import typing
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from comptoir_server.store.codec import unwrap_optional
from comptoir_server.store.schema import Id, declare_internal_tables, strict_table

metadata = sa.MetaData()
"""All tables."""

declare_internal_tables(metadata)

_TYPES: dict[Any, type[sa.types.TypeEngine[Any]]] = {int: sa.BigInteger, bool: sa.Boolean, bytes: sa.LargeBinary}


def table(name: str, record: type[Any], key: tuple[str, ...], *constraints: sa.schema.SchemaItem) -> sa.Table:
    """A STRICT table with a column for each field of `record`, NOT NULL unless that may be None, and enums CHECKed."""
    hints = typing.get_type_hints(record)
    columns: list[sa.schema.SchemaItem] = []
    for field in dataclasses.fields(record):
        hint, optional = unwrap_optional(hints[field.name])
        column = sa.Column(
            field.name, _TYPES.get(hint, Id)(), primary_key=field.name in key, nullable=optional, autoincrement=False
        )
        columns.append(column)
        if isinstance(hint, type) and issubclass(hint, StrEnum):
            values = ", ".join(f"'{value}'" for value in hint)
            columns.append(sa.CheckConstraint(f"{field.name} IN ({values})", name=f"{name}_{field.name}_known"))
    return strict_table(name, metadata, *columns, *constraints)


def index(name: str, *columns: str, unique: bool = False, where: str | None = None) -> sa.Index:
    """An index, of the rows that `where` describes only."""
    condition = sa.text(where) if where else None
    return sa.Index(name, *columns, unique=unique, sqlite_where=condition, postgresql_where=condition)


def check(name: str, rule: str) -> sa.CheckConstraint:
    """A rule that the database itself keeps."""
    return sa.CheckConstraint(rule, name=name)
