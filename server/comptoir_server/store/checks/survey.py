"""Rules that take more than one query in plain SQL: what they look at, and how they say what they found."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from comptoir_server.vault import Vault

CHUNK = 1_000
"""How many rows are held at once."""

Query = sa.Select[*tuple[Any, ...]]


@dataclass(slots=True)
class Survey:
    """One state of one database. `now` is in microseconds; without a vault nothing is opened."""

    connection: sa.Connection
    now: int
    vault: Vault | None = None
    _counts: dict[sa.FromClause, int] = field(default_factory=dict)

    def rows(self, statement: Query) -> Iterator[sa.Row[*tuple[Any, ...]]]:
        """The rows of a SELECT, however many, a chunk at a time."""
        yield from self.connection.execute(statement, execution_options={"yield_per": CHUNK})

    def chunks(self, statement: Query) -> Iterator[Sequence[sa.Row[*tuple[Any, ...]]]]:
        """As `rows`, in sequences of at most `CHUNK`."""
        yield from self.connection.execute(statement, execution_options={"yield_per": CHUNK}).partitions()

    def count(self, examined: sa.FromClause) -> int:
        """How many rows there are; a table, which many rules are about, is counted once."""
        if examined not in self._counts:
            counted = self.connection.execute(sa.select(sa.func.count()).select_from(examined)).scalar_one()
            self._counts[examined] = int(counted)
        return self._counts[examined]


@dataclass(slots=True)
class Notes:
    """How many rows were examined, and a line for each violation: the rows at fault and what they hold."""

    examined: int = 0
    broken: list[str] = field(default_factory=list)

    def violated(self, **facts: Any) -> None:
        """Notes one violation."""
        self.broken.append(" ".join(f"{name}={'' if value is None else value}" for name, value in facts.items()))


@dataclass(frozen=True, slots=True)
class Rule:
    """An invariant that `find` looks for. A warning is shown and breaks nothing."""

    code: str
    words: str
    find: Callable[[Survey, Notes], None]
    warning: bool = False
    needs_vault: bool = False


def by_query(code: str, words: str, examined: Sequence[sa.FromClause], *broken: Query) -> Rule:
    """A rule of SELECTs that answer only the rows that break it; the names of their columns are shown."""

    def find(survey: Survey, notes: Notes) -> None:
        notes.examined = sum(survey.count(source) for source in examined)
        for statement in broken:
            for row in survey.rows(statement):
                notes.violated(**row._mapping)

    return Rule(code, words, find)


def rows_where(table: sa.Table, *conditions: sa.ColumnElement[bool]) -> sa.FromClause:
    """Some rows of a table, to be counted."""
    return sa.select(sa.literal(1).label("one")).select_from(table).where(*conditions).subquery()


def total(amount: sa.ColumnElement[int]) -> sa.ColumnElement[int]:
    """The sum of a group, 0 for an empty one, as an integer on both databases."""
    return sa.cast(sa.func.coalesce(sa.func.sum(amount), 0), sa.BigInteger)
