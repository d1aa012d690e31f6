"""Every planted defect: its name, what it breaks, where it comes from, and the gate that must catch it."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from tests.support import altered

ASSERTION = "AssertionError"
"""What a gate that catches a defect fails with, where nothing else is said."""


class Kind(StrEnum):
    """Fifteen classes of defects that users of payment systems report, and those that are our own."""

    COMPLETED_TWICE = "webhook and reply both complete a payment"
    NO_KEY = "no key at the provider, so a repetition charges again"
    ERROR_AFTER_SUCCESS = "an error is shown after a success, so people pay again"
    DROPPED_WEBHOOK = "a webhook that comes early is acknowledged and gone"
    SKIPPED_EVENT = "a cursor skips what is committed late"
    REFUNDED_TOO_MUCH = "refunds at once exceed what was taken"
    WRONG_SIGN = "negative or zero amounts pass"
    STUCK_OR_GUESSED = "stuck in doubt, or failed without evidence"
    NO_FOLLOW_UP = "what a janitor decides is told to nobody"
    MINOR_UNITS = "minor units are counted wrongly, or a cent is lost"
    DEADLOCK = "transfers that meet end in a deadlock"
    BUSY = "the database is locked in spite of every time-out"
    DELIVERY_STOPS = "deliveries stop, or vanish"
    UNKNOWN_STATUS = "order of events, and statuses that nobody handles"
    REPLAY = "an old webhook is taken again"
    OWN = "our own"


@dataclass(frozen=True)
class Defect:
    """One planted defect. `symptom` is how its gate fails: by an assertion of the test, or by the error named."""

    name: str
    kind: Kind
    what: str
    gate: str
    plant: Callable[[], None] = field(repr=False)
    symptom: str = ASSERTION


DEFECTS: dict[str, Defect] = {}

HOMES = ("access", "consent", "doubt", "events", "keeping", "ledgers", "owed", "privacy", "providers", "webhooks")
"""The modules of this package that hold defects."""

SAMPLES = "tests.defects.samples"
"""The module of those that only show what the runner notices."""


def defect(kind: Kind, gate: str, symptom: str = ASSERTION) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """Registers a function that plants a defect, under its own name; its first line says what it breaks."""

    def registered(plant: Callable[[], None]) -> Callable[[], None]:
        name = plant.__name__.strip("_").replace("_", "-")
        assert name not in DEFECTS, f"two defects are called {name}"
        assert plant.__doc__, f"{name} does not say what it breaks"
        DEFECTS[name] = Defect(name, kind, plant.__doc__.strip(), f"tests/{gate}", plant, symptom)
        return plant

    return registered


def load() -> dict[str, Defect]:
    """All of them, without the samples."""
    for home in HOMES:
        importlib.import_module(f"tests.defects.{home}")
    return {name: one for name, one in DEFECTS.items() if one.plant.__module__ != SAMPLES}


def found(name: str) -> Defect:
    """The defect of that name."""
    load()
    if name not in DEFECTS:
        importlib.import_module(SAMPLES)
    return DEFECTS[name]


def plant(names: list[str]) -> dict[str, str]:
    """Plants defects in this process, and answers the variables by which its servers are altered alike."""
    for name in names:
        found(name).plant()
    return altered.written({"defects": names} if names else {})
