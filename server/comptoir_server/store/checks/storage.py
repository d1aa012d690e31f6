"""Rows are what the tables say: readable, unique, within their rules, and leading to rows that there are."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import func, select

from comptoir_server.store.checks.survey import Notes, Query, Rule, Survey
from comptoir_server.store.columns import metadata
from comptoir_server.store.tables import RELATIONS

REFERENCES: dict[str, tuple[str, ...]] = {
    "partner_id": ("partners",),
    "channel_id": ("channels",),
    "bot_id": ("bots",),
    "user_id": ("users",),
    "bot_user_id": ("bot_users",),
    "session_id": ("sessions",),
    "previous_session_id": ("sessions",),
    "wallet_id": ("wallets",),
    "default_wallet_id": ("wallets",),
    "checkout_id": ("checkouts",),
    "replaces_checkout_id": ("checkouts",),
    "payment_id": ("payments",),
    "capture_id": ("captures",),
    "order_id": ("orders",),
    "pending_operation_id": ("operations",),
    "account_id": ("accounts",),
    "transaction_id": ("journal",),
    "object_id": ("payments", "captures", "refunds"),
    "owner_id": ("partners", "channels"),
    "log_id": ("partners", "channels"),
}
"""Where a column of that name leads, in whatever table it stands; empty and NULL lead nowhere."""

FOREIGN_IDS = frozenset({"event_id", "debug_id"})
"""Columns that are named like references but hold the provider's own ids."""


@dataclass(frozen=True, slots=True)
class _Reference:
    """A column that leads somewhere: whether a row uses it, whether it is lost then, and how to tell which."""

    column: str
    used: sa.ColumnElement[bool]
    lost: sa.ColumnElement[bool]
    broken: Query


@functools.cache
def _references() -> tuple[tuple[sa.Table, tuple[_Reference, ...], Query], ...]:
    """Each table with its references, and one statement that counts, for each, the rows that use it and the lost."""
    found = []
    for table in metadata.sorted_tables:
        references = tuple(_reference(table, name) for name in sorted(REFERENCES.keys() & set(table.c.keys())))
        if references:
            counts = [func.count(sa.case((condition, 1))) for one in references for condition in (one.used, one.lost)]
            found.append((table, references, select(*counts).select_from(table)))
    return tuple(found)


def _reference(table: sa.Table, name: str) -> _Reference:
    column = table.c[name]
    used = sa.and_(column.is_not(None), column != "")
    parents = [metadata.tables[parent].alias() for parent in REFERENCES[name]]
    lost = sa.and_(used, *(sa.not_(sa.exists().where(parent.c.id == column)) for parent in parents))
    key = [part for part in table.primary_key.columns if part.name != name]
    return _Reference(name, used, lost, select(*key, column.label("leads_to")).where(lost))


def _dangling(survey: Survey, notes: Notes) -> None:
    for table, references, counts in _references():
        [counted] = survey.rows(counts)
        for one, used, lost in zip(references, counted[::2], counted[1::2], strict=True):
            notes.examined += used
            for row in survey.rows(one.broken) if lost else ():
                notes.violated(table=table.name, **row._mapping, by=one.column)


def _unreadable(survey: Survey, notes: Notes) -> None:
    for relation in RELATIONS:
        columns = [relation.table.c[name] for name in relation.columns]
        for row in survey.rows(select(*columns)):
            notes.examined += 1
            try:
                relation.codec.decode(row)
            except (ValueError, TypeError, KeyError) as error:
                key = {name: row._mapping[relation.table.c[name]] for name in relation.primary.columns}
                notes.violated(table=relation.name, **key, wrong=str(error)[:200])


@functools.cache
def _rules() -> tuple[tuple[sa.Table, str, Query], ...]:
    """Each CHECK with its table and the rows that break it."""
    return tuple(
        (table, str(rule.sqltext), select(*table.primary_key.columns).where(sa.text(f"NOT ({rule.sqltext})")))
        for table in metadata.sorted_tables
        for rule in table.constraints
        if isinstance(rule, sa.CheckConstraint)
    )


def _against_rules(survey: Survey, notes: Notes) -> None:
    """Every CHECK of every table, asked again: a copy, a restore or a repair may have gone around it."""
    for table, rule, broken in _rules():
        notes.examined += survey.count(table)
        for row in survey.rows(broken):
            notes.violated(table=table.name, **row._mapping, rule=rule)


@functools.cache
def _repetitions() -> tuple[tuple[sa.Table, str, Query], ...]:
    """Each unique key with its table and the values that stand there more than once."""
    found = []
    for table in metadata.sorted_tables:
        for name, columns, condition in _unique_keys(table):
            statement = select(*columns, func.count().label("rows")).group_by(*columns).having(func.count() > 1)
            found.append((table, name, statement if condition is None else statement.where(condition)))
    return tuple(found)


def _twice(survey: Survey, notes: Notes) -> None:
    """Every unique key of every table, the partial ones too."""
    for table, name, repeated in _repetitions():
        notes.examined += survey.count(table)
        for row in survey.rows(repeated):
            notes.violated(table=table.name, key=name, **row._mapping)


def _unique_keys(table: sa.Table) -> list[tuple[str, list[sa.Column[object]], sa.ColumnElement[bool] | None]]:
    keys: list[tuple[str, list[sa.Column[object]], sa.ColumnElement[bool] | None]] = [
        (str(rule.name), list(rule.columns), None)
        for rule in table.constraints
        if isinstance(rule, sa.UniqueConstraint)
    ]
    keys += [
        (str(index.name), list(index.columns), index.dialect_kwargs["sqlite_where"])
        for index in sorted(table.indexes, key=lambda index: str(index.name))
        if index.unique
    ]
    return keys


RULES: tuple[Rule, ...] = (
    Rule("S1", "Every reference leads to a row.", _dangling),
    Rule("S2", "Every row can be read: its enums are known, its documents have their shape.", _unreadable),
    Rule("S3", "Every row is within the rules of its table.", _against_rules),
    Rule("S4", "What must be unique stands once.", _twice),
)
