"""Records for tests that care about a few of their fields."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, TypeVar, get_type_hints

from comptoir_server.domain.sessions import Referral

R = TypeVar("R")

PLAIN: dict[Any, Any] = {int: 0, bool: False, bytes: b"", dict[str, str]: {}, Referral: Referral()}


def some(kind: type[R], **given: Any) -> R:
    """A record with what is given. Other texts are the name of their field, states the first, tuples empty."""
    hints = get_type_hints(kind)
    assert given.keys() <= hints.keys(), given.keys() - hints.keys()
    return kind(**({name: _plain(name, hint) for name, hint in hints.items()} | given))


def _plain(name: str, hint: Any) -> Any:
    if hint in PLAIN:
        return PLAIN[hint]
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return next(iter(hint))
    return name if hint is str else ()
