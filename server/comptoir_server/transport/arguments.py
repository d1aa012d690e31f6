"""Turns requests into the keyword arguments of the use cases behind them, compiled once for each method.

The type hints of the use case say what each field becomes; where a hint and a field do not fit, the server does not
start. Requests have passed their checks before they come here.
"""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from collections.abc import AsyncIterator, Callable, Mapping
from enum import StrEnum
from operator import attrgetter
from typing import Any

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message

from comptoir_server.domain.errors import invalid_field
from comptoir_server.transport.policy import ContractError, Method, message_type

Get = Callable[[Any], Any]
"""From the message that holds a field to the field's value in our words."""

MICROSECONDS = 1_000_000
_SCALARS: dict[int, type] = {
    FieldDescriptor.CPPTYPE_STRING: str,
    FieldDescriptor.CPPTYPE_INT32: int,
    FieldDescriptor.CPPTYPE_INT64: int,
    FieldDescriptor.CPPTYPE_BOOL: bool,
}


class _Wrong(Exception):
    """A field that the checks let pass and the use case cannot take."""

    def __init__(self, path: str, description: str) -> None:
        super().__init__(path)
        self.path = path
        self.description = description


def compile_arguments(method: Method, function: Callable[..., Any]) -> Callable[[Message], dict[str, Any]]:
    """What turns a request of `method` into the keyword arguments of `function`. Raises ContractError."""
    names = [field.name for field in method.request_type.fields if field.name != "request_id"]
    where = f"{function.__module__}.{function.__qualname__}"
    parameters = list(inspect.signature(function).parameters.values())
    keywords = {parameter.name for parameter in parameters if parameter.kind is inspect.Parameter.KEYWORD_ONLY}
    if [parameter.name for parameter in parameters[:2]] != ["deps", "call"]:
        raise ContractError(f"{where} must take `deps` and `call` first.")
    if keywords != set(names):
        raise ContractError(
            f"{where} does not fit {method.path}: missing {sorted(set(names) - keywords)}, too many "
            f"{sorted(keywords - set(names))}. Its keyword arguments are the request's fields without request_id."
        )
    hints = typing.get_type_hints(function)
    fields = method.request_type.fields_by_name
    getters = [(name, _getter(fields[name], hints[name], f"{where}({name})")) for name in names]

    def arguments(request: Message) -> dict[str, Any]:
        try:
            return {name: get(request) for name, get in getters}
        except _Wrong as wrong:
            raise invalid_field(wrong.path, wrong.description) from None

    return arguments


def compile_requests(method: Method, function: Callable[..., Any]) -> Callable[[Message], Any]:
    """What turns each request of a stream into what `function` reads from its third argument. Raises ContractError."""
    where = f"{function.__module__}.{function.__qualname__}"
    names = list(inspect.signature(function).parameters)
    hint = typing.get_type_hints(function).get("requests")
    if names != ["deps", "call", "requests"] or typing.get_origin(hint) is not AsyncIterator:
        raise ContractError(f"{where} must take `deps`, `call` and `requests`, an AsyncIterator of {method.path}'s.")
    build = _builder(method.request_type, typing.get_args(hint)[0], where)

    def convert(request: Message) -> Any:
        try:
            return build(request)
        except _Wrong as wrong:
            raise invalid_field(wrong.path, wrong.description) from None

    return convert


def _getter(field: FieldDescriptor, hint: Any, where: str) -> Get:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        if typing.get_origin(hint) not in (dict, Mapping):
            raise ContractError(f"{where} must be dict[str, str], not {hint}.")
        return lambda message: dict(getattr(message, field.name))
    if field.is_repeated:
        return _tuple(field, hint, where)
    if field.message_type is not None:
        return _submessage(field, hint, where)
    get: Get = attrgetter(field.name)
    if field.enum_type is None:
        _require(hint is _SCALARS[field.cpp_type], where, _SCALARS[field.cpp_type].__name__, hint)
        return get
    table = _members(field.enum_type, hint, where)

    def member(message: Message) -> Any:
        try:
            return table[get(message)]
        except KeyError:
            raise _Wrong(field.name, "is required, with a value that this server uses.") from None

    return member


def _tuple(field: FieldDescriptor, hint: Any, where: str) -> Get:
    arguments = typing.get_args(hint)
    fits = typing.get_origin(hint) is tuple and len(arguments) == 2 and arguments[1] is Ellipsis
    _require(fits, where, "tuple[…, ...]", hint)
    name = field.name
    if field.message_type is None:
        _require(arguments[0] is _SCALARS.get(field.cpp_type), where, "a tuple of the field's own type", hint)
        return lambda message: tuple(getattr(message, name))
    build = _builder(field.message_type, arguments[0], where)

    def convert(message: Message) -> Any:
        values: list[Any] = []
        for place, value in enumerate(getattr(message, name)):
            try:
                values.append(build(value))
            except _Wrong as wrong:
                raise _Wrong(f"{name}[{place}].{wrong.path}", wrong.description) from None
        return tuple(values)

    return convert


def _submessage(field: FieldDescriptor, hint: Any, where: str) -> Get:
    name, descriptor = field.name, message_type(field)
    if descriptor.full_name == "google.protobuf.Timestamp":
        _require(hint is int, where, "int (microseconds)", hint)
        return lambda message: _microseconds(getattr(message, name))
    inside, optional = _without_none(hint)
    build = _builder(descriptor, inside, where)
    default = _default(inside)

    def convert(message: Message) -> Any:
        if not message.HasField(name):
            if optional:
                return None
            if default is None:
                raise _Wrong(name, "is required.")
            return default()
        try:
            return build(getattr(message, name))
        except _Wrong as wrong:
            raise _Wrong(f"{name}.{wrong.path}", wrong.description) from None

    return convert


def _microseconds(value: Any) -> int:
    return int(value.seconds * MICROSECONDS + value.nanos // 1_000)


def _default(hint: Any) -> Callable[[], Any] | None:
    """A dataclass all of whose fields have defaults stands for the absent message."""
    if not dataclasses.is_dataclass(hint):
        return None
    parameters = inspect.signature(typing.cast(type, hint)).parameters.values()
    if any(parameter.default is inspect.Parameter.empty for parameter in parameters):
        return None
    return typing.cast(Callable[[], Any], hint)


def _builder(descriptor: Descriptor, hint: Any, where: str) -> Get:
    """What builds a dataclass from a message: by its fields, or by the kind that its one choice holds."""
    if descriptor.oneofs and typing.get_origin(hint) in (types.UnionType, typing.Union):
        return _choice(descriptor, typing.get_args(hint), where)
    if not dataclasses.is_dataclass(hint):
        raise ContractError(f"{where}: {descriptor.name} becomes a dataclass, not {hint}.")
    names = [field.name for field in dataclasses.fields(hint)]
    if set(names) != set(descriptor.fields_by_name):
        difference = sorted(set(names) ^ set(descriptor.fields_by_name))
        raise ContractError(f"{where}: {hint} and {descriptor.full_name} differ in {difference}.")
    hints = typing.get_type_hints(hint)
    getters = [_getter(descriptor.fields_by_name[name], hints[name], f"{where}.{name}") for name in names]
    build = typing.cast(Callable[..., Any], hint)
    return lambda message: build(*[get(message) for get in getters])


def _choice(descriptor: Descriptor, kinds: tuple[Any, ...], where: str) -> Get:
    """A oneof of messages, each of which is a dataclass of the same name."""
    oneof = descriptor.oneofs[0]
    by_name = {kind.__name__: kind for kind in kinds}
    fields = {message_type(field).name: field for field in oneof.fields}
    if set(by_name) != set(fields) or len(fields) != len(descriptor.fields):
        raise ContractError(f"{where}: {descriptor.full_name} may hold {sorted(fields)}, not {sorted(by_name)}.")
    getters = {field.name: _submessage(field, by_name[name], where) for name, field in fields.items()}
    return lambda message: getters[message.WhichOneof(oneof.name)](message)


def _members(descriptor: EnumDescriptor, hint: Any, where: str) -> dict[int, Any]:
    """The member for each number. 0 is None where the hint allows it, or a member named UNSPECIFIED."""
    enum, optional = _without_none(hint)
    if not (isinstance(enum, type) and issubclass(enum, StrEnum)):
        raise ContractError(f"{where}: {descriptor.full_name} becomes a StrEnum, not {hint}.")
    table: dict[int, Any] = {0: None} if optional else {}
    for name, number in enum_names(descriptor).items():
        if name in enum.__members__:
            table[number] = enum[name]
    return table


def enum_names(descriptor: EnumDescriptor) -> dict[str, int]:
    """The numbers by name, without the prefix that protobuf demands."""
    prefix = descriptor.values_by_number[0].name.removesuffix("UNSPECIFIED")
    return {value.name.removeprefix(prefix): value.number for value in descriptor.values}


def _without_none(hint: Any) -> tuple[Any, bool]:
    """A hint without None, and whether None was in it."""
    if typing.get_origin(hint) not in (types.UnionType, typing.Union):
        return hint, False
    options = [option for option in typing.get_args(hint) if option is not types.NoneType]
    if len(options) == len(typing.get_args(hint)):
        return hint, False
    return (options[0] if len(options) == 1 else typing.Union[tuple(options)]), True  # noqa: UP007 - built at run time


def _require(fits: bool, where: str, wanted: str, hint: Any) -> None:
    if not fits:
        raise ContractError(f"{where} must be {wanted}, not {hint}.")
