"""What an invariant is: a rule in words, the rows it is about, and a query that finds those that break it."""

from __future__ import annotations

from dataclasses import dataclass

OBJECT_ID = "{object_id}"
"""In a query: the id of the object that an event tells about, which each database reads from the payload in its way."""


@dataclass(frozen=True, slots=True)
class Invariant:
    """`examined` counts the rows that the rule is about; `broken` selects the id of each row that breaks it.

    Both are SQL that means the same on SQLite and PostgreSQL, and that the tables alone decide.
    """

    code: str
    words: str
    examined: str
    broken: str


def rows_of(table: str, condition: str = "") -> str:
    """The count of a table's rows, or of those that `condition` describes."""
    return f"SELECT count(*) FROM {table}{f' WHERE {condition}' if condition else ''}"  # noqa: S608 - our own words


def gapless(code: str, words: str, table: str, number: str, scope: str, condition: str = "1 = 1") -> Invariant:
    """The rule that `number` runs from 1 without gap or repeat within each `scope` of a table."""
    return Invariant(
        code,
        words,
        rows_of(table, condition),
        f"SELECT {scope} FROM {table} WHERE {condition} GROUP BY {scope} "  # noqa: S608 - our own words
        f"HAVING min({number}) <> 1 OR max({number}) <> count(*) OR count(DISTINCT {number}) <> count(*)",
    )
