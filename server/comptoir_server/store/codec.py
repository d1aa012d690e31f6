"""Between a record's fields and the values of its columns, compiled once per record from its type hints.

A field of type str, int, bool, bytes or a StrEnum is a column of its own kind; `| None` makes it nullable. Anything
else (tuples, dicts, dataclasses, and what they hold) is one text column, a snapshot.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from operator import attrgetter
from typing import Any, Generic, TypeVar, Union

from comptoir_server.store import snapshots

R = TypeVar("R")
Convert = Callable[[Any], Any]

SCALARS: tuple[type, ...] = (str, int, bool, bytes)
_AS_IS: tuple[Any, ...] = (str, int, bool, float, object, Any)
_enum_value = attrgetter("_value_")


class Codec(Generic[R]):
    """Turns records into lists of column values and rows into records.

    `names` are the fields in order, `kinds` the kind of their columns (str, int, bool or bytes), `nullable` the
    names of those that may be None.
    """

    def __init__(self, record: type[R]) -> None:
        fields = dataclasses.fields(typing.cast(Any, record))
        hints = typing.get_type_hints(record)
        self._record = record
        self.names = tuple(field.name for field in fields)
        self.nullable = frozenset(name for name in self.names if type(None) in typing.get_args(hints[name]))
        columns = [_column(hints[name], f"{record.__name__}.{name}") for name in self.names]
        self.kinds = tuple(kind for kind, _, _ in columns)
        self.encoders: tuple[Convert | None, ...] = tuple(encode for _, encode, _ in columns)
        self._encoders = [(i, encode) for i, encode in enumerate(self.encoders) if encode]
        self._decoders = [(i, decode) for i, (_, _, decode) in enumerate(columns) if decode]
        getter = attrgetter(*self.names)
        self.fields: Callable[[R], tuple[Any, ...]] = getter if len(fields) > 1 else lambda record: (getter(record),)

    def encode(self, record: R) -> list[Any]:
        """The values of all columns: str, int, bytes or None (a bool is 0 or 1)."""
        values = list(self.fields(record))
        for i, convert in self._encoders:
            values[i] = convert(values[i])
        return values

    def decode(self, row: Sequence[Any]) -> R:
        """The record that was stored as `row`."""
        if not self._decoders:
            return self._record(*row)
        values = list(row)
        for i, convert in self._decoders:
            values[i] = convert(values[i])
        return self._record(*values)


class _Members(dict[str, StrEnum]):
    """Stored text to enum member."""

    def __init__(self, enum: type[StrEnum]) -> None:
        super().__init__((member.value, member) for member in enum)
        self._name = enum.__name__

    def __missing__(self, text: str) -> StrEnum:
        raise ValueError(f"the database holds {text!r}, which is no {self._name} that this version knows")


def unwrap_optional(hint: Any) -> tuple[Any, bool]:
    """The hint without None, and whether None was allowed."""
    if typing.get_origin(hint) not in (Union, types.UnionType):
        return hint, False
    options = [option for option in typing.get_args(hint) if option is not type(None)]
    if len(options) != 1:
        raise TypeError(f"{hint}: a stored field is of one type, or of one type or None")
    return options[0], len(options) < len(typing.get_args(hint))


def _optional(convert: Convert | None, optional: bool) -> Convert | None:
    if convert is None or not optional:
        return convert
    return lambda value: None if value is None else convert(value)


def _is_enum(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, StrEnum)


def _column(hint: Any, where: str) -> tuple[type, Convert | None, Convert | None]:
    """The kind of a field's column, and how it is encoded and decoded (None: as it is)."""
    hint, optional = unwrap_optional(hint)
    kind: type = str
    encode: Convert | None = None
    decode: Convert | None = None
    if _is_enum(hint):
        encode, decode = _enum_value, _Members(hint).__getitem__
    elif hint is bool:
        kind, encode, decode = bool, int, bool
    elif hint in SCALARS:
        kind = hint
    else:
        _require_storable(hint, where, set())
        encode, decode = snapshots.dump, snapshots.reader(hint)
    return kind, _optional(encode, optional), _optional(decode, optional)


def _require_storable(hint: Any, where: str, seen: set[type]) -> None:
    """Refuses, when the relation is made, what would not come back from JSON as it was."""
    hint, _ = unwrap_optional(hint)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint in _AS_IS or _is_enum(hint) or hint in seen:
        return
    if dataclasses.is_dataclass(hint):
        seen.add(typing.cast(type, hint))
        inside = typing.get_type_hints(hint)
        for field in dataclasses.fields(hint):
            _require_storable(inside[field.name], f"{where}.{field.name}", seen)
    elif origin is tuple or (origin in (dict, Mapping) and arguments[0] is str):
        for argument in arguments:
            if argument is not Ellipsis:
                _require_storable(argument, where, seen)
    else:
        raise TypeError(f"{where}: {hint} cannot be stored. Use str, int, bool, StrEnum, tuple, dict or a dataclass")
