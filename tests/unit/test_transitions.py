"""The tables of states: what has ended stays as it is, but for the few ways on that the contract knows."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from enum import StrEnum

import pytest

from comptoir_server import domain
from comptoir_server.domain.errors import Reason, Refused
from comptoir_server.domain.payments import PAYMENT_TRANSITIONS, PaymentCommand, PaymentState
from comptoir_server.domain.transitions import move

Table = Mapping[tuple[StrEnum, StrEnum], StrEnum]

ENDED = {
    "BOT_TRANSITIONS": "LIVE",
    "CAPTURE_TRANSITIONS": "SUCCEEDED DECLINED FAILED",
    "CHECKOUT_TRANSITIONS": "COMPLETED CANCELED EXPIRED",
    "DELIVERY_TRANSITIONS": "PROCESSED",
    "KEY_TRANSITIONS": "REVOKED",
    "LINK_TRANSITIONS": "COMPLETED CANCELED EXPIRED FAILED",
    "OPERATION_TRANSITIONS": "DONE",
    "ORDER_TRANSITIONS": "CANCELED",
    "PAYMENT_TRANSITIONS": "CAPTURED VOIDED DECLINED FAILED EXPIRED",
    "REFUND_TRANSITIONS": "SUCCEEDED FAILED",
    "SESSION_TRANSITIONS": "CLOSED",
    "WALLET_TRANSITIONS": "UNLINKED",
}
"""For each table the states that nothing leads out of."""


def tables() -> Iterator[tuple[str, Table]]:
    """Every table of the domain."""
    for module in pkgutil.iter_modules(domain.__path__):
        found = vars(importlib.import_module(f"{domain.__name__}.{module.name}"))
        yield from ((name, table) for name, table in found.items() if name.endswith("_TRANSITIONS"))


def ways_out(table: Table, ended: str) -> list[tuple[str, str, str]]:
    """What leads from an end to something else."""
    return [
        (state, command, after)
        for (state, command), after in table.items()
        if state.value in ended.split() and after != state
    ]


def test_a_way_out_of_an_end_is_noticed() -> None:
    assert ways_out({(PaymentState.CAPTURED, PaymentCommand.FAIL): PaymentState.FAILED}, "CAPTURED") == [
        ("CAPTURED", "FAIL", "FAILED")
    ]


def test_every_table_is_looked_at() -> None:
    assert {name for name, _ in tables()} == set(ENDED)


def test_what_has_ended_stays_as_it_is() -> None:
    assert {name: ways_out(table, ENDED[name]) for name, table in tables()} == {name: [] for name in ENDED}


def test_every_state_that_is_no_end_leads_somewhere_else() -> None:
    for name, table in tables():
        states = {state.value for state, _ in table} | {after.value for after in table.values()}
        stuck = {
            state
            for state in states - set(ENDED[name].split())
            if not any(before == state and after != state for (before, _), after in table.items())
        }
        assert stuck == set(), name


def test_what_the_table_does_not_have_is_refused_and_names_what_is_allowed() -> None:
    with pytest.raises(Refused) as refusal:
        move("payment", PAYMENT_TRANSITIONS, PaymentState.DECLINED, PaymentCommand.RESUME)

    assert refusal.value.reason == Reason.INVALID_STATE
    assert refusal.value.metadata == {"state": "DECLINED", "allowed": "REQUIRES_ACTION"}
