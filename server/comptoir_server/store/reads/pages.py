"""What all lists have in common: whose rows they show, and pages that start below an id."""

from __future__ import annotations

from typing import Any, Protocol, TypeVar

from sqlalchemy import ColumnElement, Select, Table, select

from comptoir_server.store.relation import Relation
from comptoir_server.store.tx import Tx

R = TypeVar("R")


class Viewer(Protocol):
    """Whoever reads a list: an owner that is empty does not narrow it; an operator has none and sees everything."""

    @property
    def partner_id(self) -> str: ...
    @property
    def bot_id(self) -> str: ...
    @property
    def user_id(self) -> str: ...
    @property
    def channel_id(self) -> str: ...


def shown_to(viewer: Viewer, table: Table) -> list[ColumnElement[bool]]:
    """The rows of `table` that are the viewer's: the narrowest owner alone, so that its index is the one to choose."""
    columns = table.c
    if viewer.partner_id:
        mine = [columns.partner_id == viewer.partner_id]
        return [*mine, columns.bot_id == viewer.bot_id] if viewer.bot_id else mine
    if viewer.user_id:
        return [columns.user_id == viewer.user_id]
    return [columns.channel_id == viewer.channel_id] if viewer.channel_id else []


def records(relation: Relation[Any]) -> Select[*tuple[Any, ...]]:
    """A SELECT of whole records, to be decoded by `read`."""
    return select(*(relation.table.c[name] for name in relation.columns))


async def read(tx: Tx, relation: Relation[R], statement: Select[*tuple[Any, ...]]) -> list[R]:
    """The records of a statement that began as `records(relation)`."""
    decode = relation.codec.decode
    return [decode(row) for row in await tx.query(statement)]


async def newest(
    tx: Tx, relation: Relation[R], *conditions: ColumnElement[bool], page_size: int, before_id: str
) -> list[R]:
    """A page of records, newest first, below `before_id` where one is given."""
    identity = relation.table.c.id
    statement = records(relation).where(*conditions).order_by(identity.desc()).limit(page_size)
    return await read(tx, relation, statement.where(identity < before_id) if before_id else statement)
