"""State changes only through a table: `TRANSITIONS[(state, command)] -> state`."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

from comptoir_server.domain.errors import Reason, Refused

State = TypeVar("State", bound=StrEnum)
Command = TypeVar("Command", bound=StrEnum)


def move(noun: str, table: Mapping[tuple[State, Command], State], state: State, command: Command) -> State:
    """The state that `command` leads to from `state`; INVALID_STATE, naming the allowed ones, where there is none."""
    target = table.get((state, command))
    if target is None:
        allowed = ", ".join(sorted(before for before, accepted in table if accepted == command))
        raise Refused(
            Reason.INVALID_STATE,
            f"The {noun} is {state}; this needs it to be {allowed}. Read it again and decide.",
            state=state,
            allowed=allowed,
        )
    return target


def allows(table: Mapping[tuple[State, Command], State], state: State, command: Command) -> bool:
    """True when the table has a way from `state` by `command`."""
    return (state, command) in table
