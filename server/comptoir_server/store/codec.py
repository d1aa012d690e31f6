"""Between a record's fields and the values of its columns, compiled once per record from its type hints.

A field of type str, int, bool, bytes or a StrEnum is a column of its own kind; `| None` makes it nullable. Anything
else (tuples, dicts, dataclasses, and what they hold) is one text column of canonical JSON: sorted keys, no spaces.
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from operator import attrgetter
from typing import Any, Generic, TypeVar, Union

R = TypeVar("R")
Convert = Callable[[Any], Any]

SCALARS: tuple[type, ...] = (str, int, bool, bytes)
_AS_IS: tuple[Any, ...] = (str, int, bool, float, object, Any)
_write_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":")).encode
_read_json = json.loads
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


def _unwrap_optional(hint: Any) -> tuple[Any, bool]:
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
    hint, optional = _unwrap_optional(hint)
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
        to_plain, from_plain = _plain(hint, where, {})
        encode = _write_json if to_plain is None else lambda value: _write_json(to_plain(value))
        decode = _read_json if from_plain is None else lambda text: from_plain(_read_json(text))
    return kind, _optional(encode, optional), _optional(decode, optional)


Pair = tuple[Convert | None, Convert | None]


def _plain(hint: Any, where: str, seen: dict[type, Pair]) -> Pair:
    """How a value inside JSON becomes what `json` writes, and how it is rebuilt (None: as it is)."""
    hint, optional = _unwrap_optional(hint)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint in _AS_IS:
        return None, None
    if _is_enum(hint):
        pair: Pair = _enum_value, _Members(hint).__getitem__
    elif dataclasses.is_dataclass(hint):
        pair = _plain_dataclass(typing.cast(type, hint), where, seen)
    elif origin is tuple:
        pair = _plain_tuple(arguments, where, seen)
    elif origin in (dict, Mapping) and arguments[0] is str:
        pair = _plain_dict(arguments[1], where, seen)
    else:
        raise TypeError(f"{where}: {hint} cannot be stored. Use str, int, bool, StrEnum, tuple, dict or a dataclass")
    return _optional(pair[0], optional), _optional(pair[1], optional)


def _plain_tuple(arguments: tuple[Any, ...], where: str, seen: dict[type, Pair]) -> Pair:
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        write, read = _plain(arguments[0], where, seen)
        return (
            None if write is None else lambda values: [write(value) for value in values],
            tuple if read is None else lambda values: tuple([read(value) for value in values]),
        )
    pairs = [_plain(argument, where, seen) for argument in arguments]

    def convert_each(side: int) -> Convert:
        converts = [pair[side] or _same for pair in pairs]
        return lambda values: tuple([convert(value) for convert, value in zip(converts, values, strict=True)])

    return convert_each(0), convert_each(1)


def _same(value: Any) -> Any:
    return value


def _plain_dict(hint: Any, where: str, seen: dict[type, Pair]) -> Pair:
    write, read = _plain(hint, where, seen)
    return (
        None if write is None else lambda values: {key: write(value) for key, value in values.items()},
        None if read is None else lambda values: {key: read(value) for key, value in values.items()},
    )


def _plain_dataclass(record: type, where: str, seen: dict[type, Pair]) -> Pair:
    """A JSON object of the fields. A missing one takes its default, an unknown one (of a newer version) is left out."""
    if record in seen:
        return seen[record]
    writers: list[tuple[str, Convert | None]] = []
    readers: list[tuple[str, Convert]] = []
    names = frozenset(field.name for field in dataclasses.fields(record))

    def write(value: Any) -> dict[str, Any]:
        return {
            name: getattr(value, name) if convert is None else convert(getattr(value, name))
            for name, convert in writers
        }

    def read(plain: dict[str, Any]) -> Any:
        for name, convert in readers:
            if name in plain:
                plain[name] = convert(plain[name])
        if not names.issuperset(plain):
            plain = {name: value for name, value in plain.items() if name in names}
        return record(**plain)

    seen[record] = (write, read)
    hints = typing.get_type_hints(record)
    for field in dataclasses.fields(record):
        to_plain, from_plain = _plain(hints[field.name], f"{where}.{field.name}", seen)
        writers.append((field.name, to_plain))
        if from_plain is not None:
            readers.append((field.name, from_plain))
    return write, read
