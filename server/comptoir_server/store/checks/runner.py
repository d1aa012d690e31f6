"""Running every invariant on one state of a database, beside a running server or on its own."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from comptoir_server.runtime import Runtime
from comptoir_server.store.backend import SQLITE, new_engine
from comptoir_server.store.checks import (
    amounts,
    answers,
    checkouts,
    consent,
    events,
    ledger,
    operations,
    owners,
    payments,
    sealed,
    secrets,
    storage,
    telling,
    tokens,
    wallets,
)
from comptoir_server.store.checks.invariant import OBJECT_ID, Invariant
from comptoir_server.store.checks.survey import Notes, Rule, Survey
from comptoir_server.vault import Vault

INVARIANTS: tuple[Invariant | Rule, ...] = (
    *ledger.INVARIANTS,
    *amounts.RULES,
    *payments.INVARIANTS,
    *operations.RULES,
    *consent.RULES,
    *checkouts.INVARIANTS,
    *answers.RULES,
    *events.INVARIANTS,
    *telling.RULES,
    *wallets.INVARIANTS,
    *tokens.RULES,
    *owners.RULES,
    *secrets.RULES,
    *storage.RULES,
    *sealed.RULES,
)
"""Every invariant that the database can decide."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One invariant: how many rows it is about, and the rows that break it: their ids, and what is wrong in them."""

    invariant: Invariant | Rule
    examined: int
    broken: tuple[str, ...]

    @property
    def is_warning(self) -> bool:
        """Whether it only says what an operator should look at."""
        return isinstance(self.invariant, Rule) and self.invariant.warning


@dataclass(frozen=True, slots=True)
class Report:
    """What was found; `failure` says why nothing could be."""

    findings: tuple[Finding, ...]
    failure: str = ""

    @property
    def exit_code(self) -> int:
        """0 where every invariant holds, 1 where one is broken, 2 where it could not be told."""
        if self.failure:
            return 2
        return 1 if self.broken else 0

    @property
    def broken(self) -> tuple[str, ...]:
        """The codes of the invariants that are broken."""
        return tuple(found.invariant.code for found in self.findings if found.broken and not found.is_warning)

    @property
    def warnings(self) -> tuple[str, ...]:
        """The codes of what an operator should look at."""
        return tuple(found.invariant.code for found in self.findings if found.broken and found.is_warning)

    def plain(self) -> dict[str, Any]:
        """The report for a program."""
        found = [
            {
                "code": finding.invariant.code,
                "invariant": finding.invariant.words,
                "examined": finding.examined,
                "broken": list(finding.broken),
                "warning": finding.is_warning,
            }
            for finding in self.findings
        ]
        return {"exit_code": self.exit_code, "failure": self.failure, "invariants": found}


def check_database(url: str, *, vault: Vault | None = None) -> Report:
    """Checks every invariant on one committed state. Changes nothing.

    With a vault also that what is sealed opens, and that no provider's token stands anywhere in plain text.
    """
    if url.startswith(SQLITE) and not Path(url.removeprefix(SQLITE)).exists():
        return Report((), "The database cannot be opened: there is no such file.")
    engine = new_engine(url)
    try:
        with engine.connect() as connection:
            connection.execute(sa.text(_BEGIN[connection.dialect.name]))
            return check_connection(connection, Runtime().now(), vault=vault)
    except sa.exc.OperationalError as error:
        if "no such" in str(error.orig):
            return Report((), _OTHER_TABLES)
        return Report((), "The database cannot be opened: is the address right, and is it there?")
    except sa.exc.ProgrammingError:
        return Report((), _OTHER_TABLES)
    except sa.exc.DatabaseError:
        return Report((), "The database cannot be read: is it one of ours?")


_OTHER_TABLES = "The database has other tables than this version: run comptoir-server migrate first."

_OBJECT_ID = {
    "sqlite": "CAST(CASE WHEN json_valid(payload) THEN json_extract(payload, '$.id') END AS TEXT)",
    "postgresql": "CASE WHEN payload IS JSON THEN payload::json ->> 'id' END",
}
"""What is no document has no id here; that it is none, another invariant tells. Without its type SQLite finds no row by
it, and a check of so many payments takes their square."""

_BEGIN = {
    "sqlite": "BEGIN",
    "postgresql": "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY",
}


def check_connection(
    connection: sa.Connection, now: int, *, vault: Vault | None = None, codes: Collection[str] = ()
) -> Report:
    """As `check_database`, on a connection that is in a transaction; `now` in microseconds. Raises SQLAlchemyError.

    With `codes` only the invariants of these.
    """
    survey = Survey(connection, now, vault)
    wanted = [
        found
        for found in INVARIANTS
        if (not codes or found.code in codes) and (vault or not (isinstance(found, Rule) and found.needs_vault))
    ]
    return Report(tuple(_finding(survey, invariant) for invariant in wanted))


def _finding(survey: Survey, invariant: Invariant | Rule) -> Finding:
    if isinstance(invariant, Rule):
        notes = Notes()
        invariant.find(survey, notes)
        return Finding(invariant, notes.examined, tuple(notes.broken))
    connection = survey.connection
    examined = connection.scalar(sa.text(invariant.examined)) or 0
    query = invariant.broken.replace(OBJECT_ID, _OBJECT_ID[connection.dialect.name])
    broken = tuple(str(row[0]) for row in connection.execute(sa.text(query)))
    return Finding(invariant, examined, broken)


@dataclass(frozen=True, slots=True, order=True)
class Moved:
    """One movement of money: `capture` or `refund`, the provider's reference, minor units and currency."""

    kind: str
    reference: str
    amount: int
    currency_code: str


def compare_books(url: str, books: Iterable[Moved]) -> list[str]:
    """What the provider's books have and ours have not, and the other way round, in words; empty where they agree."""
    engine = new_engine(url)
    statement = (
        "SELECT 'capture', reference, amount, currency_code FROM captures WHERE state = 'SUCCEEDED' "
        "UNION ALL SELECT 'refund', reference, amount, currency_code FROM refunds WHERE state = 'SUCCEEDED'"
    )
    with engine.connect() as connection:
        ours = {Moved(*row) for row in connection.execute(sa.text(statement))}
    theirs = set(books)
    missing = [
        f"the provider has a {m.kind} {m.reference} of {m.amount} {m.currency_code}, we have not"
        for m in sorted(theirs - ours)
    ]
    invented = [
        f"we have a {m.kind} {m.reference} of {m.amount} {m.currency_code}, the provider has not"
        for m in sorted(ours - theirs)
    ]
    return missing + invented
