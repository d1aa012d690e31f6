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
from comptoir_server.domain.transitions import allows, move

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

WAYS = {
    "BOT_TRANSITIONS": {
        "DRAFT": "SUBMIT>IN_REVIEW",
        "IN_REVIEW": "SUBMIT>IN_REVIEW APPROVE>LIVE",
        "SUSPENDED": "APPROVE>LIVE",
        "LIVE": "APPROVE>LIVE",
    },
    "CAPTURE_TRANSITIONS": {
        "PROCESSING": "DOUBT>IN_DOUBT SUCCEED>SUCCEEDED DECLINE>DECLINED FAIL>FAILED",
        "IN_DOUBT": "DOUBT>IN_DOUBT SUCCEED>SUCCEEDED DECLINE>DECLINED FAIL>FAILED",
    },
    "CHECKOUT_TRANSITIONS": {
        "OPEN": "UPDATE>OPEN CONFIRM>PROCESSING CANCEL>CANCELED EXPIRE>EXPIRED",
        "PROCESSING": "REQUIRE_ACTION>REQUIRES_ACTION SUCCEED>COMPLETED REOPEN>OPEN ABANDON>CANCELED",
        "REQUIRES_ACTION": "RESUME>PROCESSING SUCCEED>COMPLETED REOPEN>OPEN CANCEL>CANCELED ABANDON>CANCELED "
        "EXPIRE>EXPIRED",
        "CANCELED": "CANCEL>CANCELED",
    },
    "DELIVERY_TRANSITIONS": {"STORED": "PROCESS>PROCESSED DISOWN>FOREIGN", "FOREIGN": "PROCESS>PROCESSED"},
    "KEY_TRANSITIONS": {"ACTIVE": "REVOKE>REVOKED", "REVOKED": "REVOKE>REVOKED"},
    "LINK_TRANSITIONS": {
        "PENDING_APPROVAL": "APPROVE>PENDING_CONFIRMATION CANCEL>CANCELED EXPIRE>EXPIRED FAIL>FAILED",
        "PENDING_CONFIRMATION": "CONFIRM>COMPLETED CANCEL>CANCELED EXPIRE>EXPIRED FAIL>FAILED",
        "CANCELED": "CANCEL>CANCELED",
    },
    "OPERATION_TRANSITIONS": {
        "PROCESSING": "DOUBT>IN_DOUBT WAIT>WAITING FINISH>DONE",
        "IN_DOUBT": "DOUBT>IN_DOUBT WAIT>WAITING FINISH>DONE",
        "WAITING": "DOUBT>WAITING WAIT>WAITING FINISH>DONE",
    },
    "ORDER_TRANSITIONS": {"OPEN": "CANCEL>CANCELED", "CANCELED": "CANCEL>CANCELED"},
    "PAYMENT_TRANSITIONS": {
        "PROCESSING": "REQUIRE_ACTION>REQUIRES_ACTION AUTHORIZE>AUTHORIZED CAPTURE_ALL>CAPTURED DECLINE>DECLINED "
        "FAIL>FAILED",
        "REQUIRES_ACTION": "RESUME>PROCESSING AUTHORIZE>AUTHORIZED CAPTURE_ALL>CAPTURED DECLINE>DECLINED FAIL>FAILED",
        "AUTHORIZED": "CAPTURE_PART>PARTIALLY_CAPTURED CAPTURE_ALL>CAPTURED VOID>VOIDED EXPIRE>EXPIRED",
        "PARTIALLY_CAPTURED": "CAPTURE_PART>PARTIALLY_CAPTURED CAPTURE_ALL>CAPTURED EXPIRE>CAPTURED",
        "VOIDED": "VOID>VOIDED",
    },
    "REFUND_TRANSITIONS": {
        "PROCESSING": "DOUBT>IN_DOUBT SUCCEED>SUCCEEDED FAIL>FAILED",
        "IN_DOUBT": "DOUBT>IN_DOUBT SUCCEED>SUCCEEDED FAIL>FAILED",
    },
    "SESSION_TRANSITIONS": {"OPEN": "SPEAK>OPEN CLOSE>CLOSED", "CLOSED": "CLOSE>CLOSED"},
    "WALLET_TRANSITIONS": {
        "ACTIVE": "UNLINK>UNLINKED INVALIDATE>NEEDS_RELINK",
        "NEEDS_RELINK": "UNLINK>UNLINKED INVALIDATE>NEEDS_RELINK",
        "UNLINKED": "UNLINK>UNLINKED INVALIDATE>UNLINKED",
    },
}
"""Every way of every table, by the state that it leads out of: the command, and where it leads."""

OTHER_WORDS = {
    "Effect.CAPTURE": "capture",
    "Effect.REFUND": "refund",
    "PendingKind.NONE": "",
    "PendingState.NONE": "",
}
"""The members of enumerations that are not stored under their names."""


def tables() -> Iterator[tuple[str, Table]]:
    """Every table of the domain."""
    for module in pkgutil.iter_modules(domain.__path__):
        found = vars(importlib.import_module(f"{domain.__name__}.{module.name}"))
        yield from ((name, table) for name, table in found.items() if name.endswith("_TRANSITIONS"))


def words() -> dict[str, str]:
    """Every member of every enumeration of the domain, and the word that is stored of it."""
    modules = [
        importlib.import_module(f"{domain.__name__}.{one.name}") for one in pkgutil.iter_modules(domain.__path__)
    ]
    values = [value for module in modules for value in vars(module).values() if isinstance(value, type)]
    kinds: list[type[StrEnum]] = [value for value in values if issubclass(value, StrEnum)]
    return {f"{kind.__name__}.{member.name}": member.value for kind in kinds for member in kind}


def ways(table: Table) -> dict[tuple[str, str], str]:
    """What a table holds, in words."""
    return {(str(state), str(command)): str(after) for (state, command), after in table.items()}


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


def test_a_state_is_left_by_the_ways_that_are_written_here_and_by_no_other() -> None:
    written = {
        name: {
            (state, way.partition(">")[0]): way.partition(">")[2]
            for state, leading_out in states.items()
            for way in leading_out.split()
        }
        for name, states in WAYS.items()
    }

    assert {name: ways(table) for name, table in tables()} == written


def test_what_is_stored_of_a_state_or_kind_is_its_name() -> None:
    stored = words()

    assert len(stored) > 100
    assert {name: word for name, word in stored.items() if word != name.partition(".")[2]} == OTHER_WORDS


def test_a_way_leads_where_the_table_says_and_is_known_beforehand() -> None:
    assert move("payment", PAYMENT_TRANSITIONS, PaymentState.AUTHORIZED, PaymentCommand.VOID) == PaymentState.VOIDED
    assert allows(PAYMENT_TRANSITIONS, PaymentState.AUTHORIZED, PaymentCommand.VOID) is True
    assert allows(PAYMENT_TRANSITIONS, PaymentState.CAPTURED, PaymentCommand.VOID) is False


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
    assert refusal.value.message.startswith("The payment is DECLINED; this needs it to be REQUIRES_ACTION.")
