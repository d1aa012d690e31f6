"""PayPal's answers read as if an enemy had written them: bounded, typed, nothing assumed.

Every reader raises `Unreadable` where the text is not what the documents promise; what that means
(doubt, or a refused delivery) is for the caller to say.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

ANSWER_BYTES_MAX = 1_048_576
TEXT_MAX = 4_096
ITEMS_MAX = 500

Json = Mapping[str, Any]


class Unreadable(Exception):
    """An answer that is not what PayPal's documents promise; the text says which part, never its content."""


def parse_object(body: bytes) -> Json:
    """The JSON object in `body`. Refuses other values, NaN, a name given twice and anything over 1 MiB."""
    if len(body) > ANSWER_BYTES_MAX:
        raise Unreadable("too large")
    try:
        value = json.loads(body, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise Unreadable("not JSON") from None
    return as_object(value, "body")


def as_object(value: object, name: str) -> Json:
    """`value` as an object; `name` stands in the refusal."""
    if not isinstance(value, dict):
        raise Unreadable(name)
    return value


def part(container: Json, name: str) -> Json:
    """The object `container[name]`, empty when it is absent or null."""
    value = container.get(name)
    return {} if value is None else as_object(value, name)


def parts(container: Json, name: str) -> list[Json]:
    """The objects of the list `container[name]`, none when it is absent or null; at most 500."""
    value = container.get(name)
    if value is None:
        return []
    if not isinstance(value, list) or len(value) > ITEMS_MAX:
        raise Unreadable(name)
    return [as_object(item, name) for item in value]


def text(container: Json, name: str) -> str:
    """The string `container[name]`, empty when it is absent or null; at most 4,096 printable characters."""
    value = container.get(name)
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > TEXT_MAX or not value.isprintable():
        raise Unreadable(name)
    return value


def required_text(container: Json, name: str) -> str:
    """The string `container[name]`, which must be there and not be empty."""
    value = text(container, name)
    if not value:
        raise Unreadable(name)
    return value


def link(container: Json, *relations: str) -> str:
    """The address of the first HATEOAS link that has one of `relations`; empty when there is none."""
    found: Iterator[str] = (
        text(item, "href") for wanted in relations for item in parts(container, "links") if item.get("rel") == wanted
    )
    return next(found, "")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a name stands twice")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)
