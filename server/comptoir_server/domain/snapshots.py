"""Snapshots: objects as canonical JSON with a schema number, written by the work that causes them.

Stored answers and event payloads are snapshots; they are turned into messages at the edge. Field types
are those of records: str, int, bool, bytes (base64), enums, tuples, dictionaries of strings, dataclasses.
"""

from __future__ import annotations

import base64
import dataclasses
import functools
import json
import types
import typing
from collections.abc import Callable, Hashable
from enum import StrEnum
from typing import Any, TypeVar

SCHEMA = 1
"""The number of the shape that is written now; a change of shape raises it and keeps reading the old."""

T = TypeVar("T")

_Convert = Callable[[Any], Any]


def dump(value: object) -> str:
    """The canonical JSON of a dataclass: sorted keys, no spaces, UTF-8 text."""
    return json.dumps(_encode(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def load(cls: type[T], text: str | bytes) -> T:
    """The object of `cls` that `dump` wrote."""
    return typing.cast(T, _decoder(typing.cast(Hashable, cls))(json.loads(text)))


def dump_named(objects: dict[str, object]) -> str:
    """Several objects under the names of their nouns, with the schema number."""
    body = {noun: _encode(value) for noun, value in objects.items()}
    return json.dumps({"schema": SCHEMA, **body}, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def load_named(classes: dict[str, type[Any]], text: str) -> dict[str, Any]:
    """The objects that `dump_named` wrote; `classes` gives the class of each noun."""
    body = json.loads(text)
    body.pop("schema")
    return {noun: _decoder(typing.cast(Hashable, classes[noun]))(value) for noun, value in body.items()}


def _encode(value: Any) -> Any:
    kind = type(value)
    if kind in _PLAIN:
        return value
    names = _field_names(typing.cast(Hashable, kind))
    if names is not None:
        return {name: _encode(getattr(value, name)) for name in names}
    if kind is tuple:
        return [_encode(item) for item in value]
    if kind is dict:
        return {key: _encode(item) for key, item in value.items()}
    if kind is bytes:
        return base64.b64encode(value).decode()
    if isinstance(value, StrEnum):
        return value.value
    raise TypeError(f"a snapshot cannot hold {kind.__name__}")


_PLAIN = frozenset({str, int, bool, type(None)})


@functools.cache
def _field_names(kind: Hashable) -> tuple[str, ...] | None:
    if not dataclasses.is_dataclass(kind):
        return None
    return tuple(field.name for field in dataclasses.fields(kind))


@functools.cache
def _decoder(hint: Hashable) -> _Convert:
    if dataclasses.is_dataclass(hint):
        return _dataclass_decoder(typing.cast(type[Any], hint))
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return hint
    if hint is bytes:
        return base64.b64decode
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple:
        item = _decoder(arguments[0])
        return lambda value: tuple(item(part) for part in value)
    if origin in (types.UnionType, typing.Union):
        inner = _decoder(next(argument for argument in arguments if argument is not type(None)))
        return lambda value: None if value is None else inner(value)
    return lambda value: value


def _dataclass_decoder(cls: type[Any]) -> _Convert:
    hints = typing.get_type_hints(cls)
    fields = [(field.name, _decoder(hints[field.name])) for field in dataclasses.fields(cls)]

    def decode(value: dict[str, Any]) -> Any:
        return cls(**{name: convert(value[name]) for name, convert in fields if name in value})

    return decode
