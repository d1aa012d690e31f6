"""Snapshots: objects as canonical JSON with a schema number, written by the work that causes them.

Stored answers and event payloads are snapshots; they are turned into messages at the edge. Field types
are those of records: str, int, bool, bytes (base64), enums, tuples, dictionaries of strings, dataclasses.
"""

from __future__ import annotations

import base64
import dataclasses
import functools
import json
import operator
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
    return _write(_plain(value))


def load(cls: type[T], text: str | bytes) -> T:
    """The object of `cls` that `dump` wrote."""
    return typing.cast(T, _decoder(typing.cast(Hashable, cls))(json.loads(text)))


def dump_named(objects: dict[str, object]) -> str:
    """Several objects under the names of their nouns, with the schema number."""
    return _write({"schema": SCHEMA, **{noun: _plain(value) for noun, value in objects.items()}})


def load_named(classes: dict[str, type[Any]], text: str) -> dict[str, Any]:
    """The objects that `dump_named` wrote; `classes` gives the class of each noun."""
    body = json.loads(text)
    body.pop("schema")
    return {noun: _decoder(typing.cast(Hashable, classes[noun]))(value) for noun, value in body.items()}


_write = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode


def _plain(value: object) -> Any:
    """`value` as the encoder takes it."""
    convert = _encoder(typing.cast(Hashable, type(value)))
    return value if convert is None else convert(value)


@functools.cache
def _encoder(hint: Hashable) -> _Convert | None:
    """How a value of that type becomes what JSON knows; None: it is that already, as text, numbers and enums are."""
    if dataclasses.is_dataclass(hint):
        return _dataclass_encoder(typing.cast(type[Any], hint))
    if hint is bytes:
        return lambda value: base64.b64encode(value).decode()
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple:
        item = _encoder(arguments[0])
        return None if item is None else lambda value: [item(part) for part in value]
    if origin in (types.UnionType, typing.Union):
        inner = _encoder(next(argument for argument in arguments if argument is not type(None)))
        return None if inner is None else lambda value: None if value is None else inner(value)
    return None


def _dataclass_encoder(cls: type[Any]) -> _Convert:
    hints = typing.get_type_hints(cls)
    names = tuple(field.name for field in dataclasses.fields(cls))
    values = operator.attrgetter(*names) if len(names) > 1 else lambda value: (getattr(value, names[0]),)
    special = [(name, convert) for name in names if (convert := _encoder(hints[name])) is not None]

    def encode(value: Any) -> dict[str, Any]:
        plain = dict(zip(names, values(value), strict=True))
        for name, convert in special:
            plain[name] = convert(plain[name])
        return plain

    return encode


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
