"""Running every invariant on one state of a database, beside a running server or on its own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from comptoir_server.store.checks import checkouts, events, ledger, payments, wallets
from comptoir_server.store.checks.invariant import OBJECT_ID, Invariant

INVARIANTS: tuple[Invariant, ...] = (
    *ledger.INVARIANTS,
    *payments.INVARIANTS,
    *checkouts.INVARIANTS,
    *events.INVARIANTS,
    *wallets.INVARIANTS,
)
"""Every invariant that the database can decide."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One invariant: how many rows it is about, and the ids of those that break it."""

    invariant: Invariant
    examined: int
    broken: tuple[str, ...]


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
        return 1 if any(finding.broken for finding in self.findings) else 0

    @property
    def broken(self) -> tuple[str, ...]:
        """The codes of the invariants that are broken."""
        return tuple(finding.invariant.code for finding in self.findings if finding.broken)

    def plain(self) -> dict[str, Any]:
        """The report for a program."""
        found = [
            {
                "code": finding.invariant.code,
                "invariant": finding.invariant.words,
                "examined": finding.examined,
                "broken": list(finding.broken),
            }
            for finding in self.findings
        ]
        return {"exit_code": self.exit_code, "failure": self.failure, "invariants": found}


def check_database(url: str) -> Report:
    """Checks every invariant on one committed state. Changes nothing."""
    driver = "postgresql+psycopg://"
    engine = sa.create_engine(
        url.replace("postgresql://", driver, 1).replace("postgres://", driver, 1), poolclass=sa.NullPool
    )
    try:
        with engine.connect() as connection:
            connection.execute(sa.text(_BEGIN[connection.dialect.name]))
            return Report(tuple(_finding(connection, invariant) for invariant in INVARIANTS))
    except sa.exc.OperationalError:
        return Report((), "The database cannot be opened: is the address right, and is it there?")
    except sa.exc.ProgrammingError:
        return Report((), "The database has other tables than this version: run comptoir-server migrate first.")


_OBJECT_ID = {"sqlite": "json_extract(payload, '$.id')", "postgresql": "payload::json ->> 'id'"}

_BEGIN = {
    "sqlite": "BEGIN",
    "postgresql": "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY",
}


def _finding(connection: sa.Connection, invariant: Invariant) -> Finding:
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
    driver = "postgresql+psycopg://"
    engine = sa.create_engine(url.replace("postgresql://", driver, 1), poolclass=sa.NullPool)
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
