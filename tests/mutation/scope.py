"""What is mutated: the code that decides about money, states, repetition and rights, and the tests that must notice."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """A module below `comptoir_server`, and the tests that must kill its mutants, named as for pytest."""

    module: str
    tests: tuple[str, ...]


KILLED_LEAST = 0.9
"""The share of a module's mutants that tests must kill."""


def _target(module: str, *tests: str) -> Target:
    return Target(module, tuple(f"tests/{test}" for test in tests))


DOMAIN = ("unit/test_money.py", "unit/test_states.py", "unit/test_transitions.py")
DOUBT = tuple(
    f"integration/test_{noun}.py" for noun in ("attempts", "confirm", "doubt", "evidence", "owed", "preparing")
)
SCOPE: tuple[Target, ...] = (
    _target("domain.money", *DOMAIN),
    _target("domain.ledger", *DOMAIN),
    _target("domain.payments", *DOMAIN),
    _target("domain.checkouts", *DOMAIN),
    _target("domain.operations", *DOMAIN),
    _target("domain.wallets", *DOMAIN),
    _target("domain.orders", *DOMAIN),
    _target("domain.partners", *DOMAIN),
    _target("domain.transitions", *DOMAIN),
    _target("domain.requests", *DOMAIN),
    _target("app.once", "integration/test_request_ids.py"),
    _target("app.access", "unit/test_rights.py"),
    _target("app.credentials", "unit/test_boundary_credentials.py"),
    _target("app.api_keys", "integration/test_partners.py"),
    _target("app.books", "integration/test_ledgers.py"),
    _target("app.payments", "integration/test_taking.py"),
    _target("app.refunding", "integration/test_taking.py", "integration/test_giving_back.py"),
    _target("app.operations", *DOUBT),
    _target("app.settlement", *DOUBT),
    _target("app.sightings", *DOUBT),
    _target("store.ownership", "unit/test_ownership.py"),
)

_SAMPLE = "mutation/sample_tests.py::test_that"

SAMPLES: tuple[Target, ...] = (
    _target("domain.requests", f"{_SAMPLE}_looks_at_a_number"),
    _target("domain.requests", f"{_SAMPLE}_looks_at_nothing"),
)
"""What shows that survivors are noticed."""

UNFIT: Target = _target("domain.requests", f"{_SAMPLE}_fails_without_any_mutant")
"""What shows that tests which fail anyway prove nothing."""
