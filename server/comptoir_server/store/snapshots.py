"""Snapshots: records as canonical JSON with a schema number, written by the work that causes them.

Stored answers and event payloads are snapshots; they are turned into messages at the edge. Keys are sorted, there are
no spaces, text is UTF-8, bytes are base64. Fields are those of records: str, int, bool, bytes, StrEnums, tuples,
dictionaries of strings, records, and None where a field allows it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Mapping
from typing import Any, TypeVar, cast

import msgspec

SCHEMA = 1
"""The number of the shape that is written now; a change of shape raises it and keeps reading the old."""

T = TypeVar("T")

_encode = msgspec.json.Encoder(order="sorted").encode


def dump(value: object) -> str:
    """The canonical JSON of a record, or of anything that a record may hold."""
    return _encode(value).decode()


def load(cls: type[T], text: str | bytes) -> T:
    """What `dump` wrote of a `cls`: a missing field takes its default, an unknown one (of a newer version) is left out.

    Raises ValueError where it is another class's.
    """
    return cast(T, reader(cast(Hashable, cls))(text))


@functools.cache
def reader(hint: Hashable) -> Callable[[str | bytes], Any]:
    """What reads values of a type, as it is written in a type hint."""
    return msgspec.json.Decoder(cast(Any, hint)).decode


def dump_named(objects: Mapping[str, object]) -> str:
    """Several objects under the names of their nouns, with the schema number."""
    return dump({"schema": SCHEMA, **objects})


def load_named(classes: Mapping[str, type[Any]], text: str) -> dict[str, Any]:
    """The objects that `dump_named` wrote; `classes` gives the class of each noun."""
    parts = cast(dict[str, msgspec.Raw], reader(cast(Hashable, dict[str, msgspec.Raw]))(text))
    del parts["schema"]
    return {noun: load(classes[noun], bytes(part)) for noun, part in parts.items()}
