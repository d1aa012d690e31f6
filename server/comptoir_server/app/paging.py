"""Opaque page tokens: where the next page of one list starts."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

from comptoir_server.app.call import CallContext
from comptoir_server.app.deps import Deps
from comptoir_server.domain.errors import invalid_field

PAGE_SIZE = 50
PAGE_SIZE_MAX = 100


class Identified(Protocol):
    """A record with a time-sortable id."""

    @property
    def id(self) -> str: ...


R = TypeVar("R", bound=Identified)


def size(page_size: int, largest: int = PAGE_SIZE_MAX, default: int = PAGE_SIZE) -> int:
    """The number of rows to read for a `page_size` of a request, 0 for the default. Raises FIELD_INVALID."""
    if not 0 <= page_size <= largest:
        raise invalid_field("page_size", f"must be 1 to {largest}, or 0 for {default}.")
    return page_size or default


def position(deps: Deps, call: CallContext, page_token: str) -> str:
    """The id that the page starts below, empty for the first. FIELD_INVALID for a token of another list or caller."""
    if not page_token:
        return ""
    try:
        text = base64.urlsafe_b64decode(page_token + "=" * (-len(page_token) % 4)).decode("ascii")
    except ValueError:
        text = ""
    place, _, mark = text.partition("~")
    if not place or not deps.vault.matches("page token", _scope(call, place), mark):
        raise invalid_field("page_token", "is not one that this list gave you. Start without it.")
    return place


def page(deps: Deps, call: CallContext, name: str, rows: Sequence[R], wanted: int) -> dict[str, Any]:
    """The answer of a list: `wanted` of the rows, of which one more was read where there is one, and the next token."""
    shown = tuple(rows[:wanted])
    token = _token(deps, call, shown[-1].id) if len(rows) > wanted else ""
    return {name: shown, "next_page_token": token}


def _token(deps: Deps, call: CallContext, place: str) -> str:
    mark = deps.vault.hash("page token", _scope(call, place))
    return base64.urlsafe_b64encode(f"{place}~{mark}".encode()).rstrip(b"=").decode()


def _scope(call: CallContext, place: str) -> str:
    return f"{call.method}|{call.owner}|{call.bot_id}|{place}"
