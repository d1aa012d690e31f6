"""Defects of defects: what the runner must tell apart from one that is caught. They are in no run but their own."""

from __future__ import annotations

import os

from comptoir_server.domain import money
from tests.defects.planting import rewrite, swap
from tests.defects.registry import DEFECTS, Kind, defect

GATE = "unit/test_money.py::test_amounts_of_two_currencies_are_never_added"


@defect(Kind.OWN, GATE)
def sample_caught() -> None:
    """Amounts of two currencies are added."""
    rewrite(money.Money._require_same, "if self.currency_code != other.currency_code:", "if False:")


@defect(Kind.OWN, GATE)
def sample_not_noticed() -> None:
    """Nothing is broken."""


@defect(Kind.OWN, GATE)
def sample_that_crashes_the_gate() -> None:
    """What the gate needs is not there at all."""
    swap(money, "Money", None)


@defect(Kind.OWN, GATE)
def sample_with_nothing_to_break() -> None:
    """The server no longer has what it breaks."""
    rewrite(money.checked, "this is not there", "")


@defect(Kind.OWN, GATE)
def sample_that_ends_the_process() -> None:
    """The process of the gate ends."""
    os._exit(1)


@defect(Kind.OWN, "unit/test_money.py::test_that_is_not_there")
def sample_without_a_gate() -> None:
    """There is no such gate."""


SAMPLES = [name for name in DEFECTS if name.startswith("sample-")]
