"""Turns what use cases answer into response bytes, by the contract's descriptors and the tables of `views.py`.

For each message, class of object and kind of caller one writer is compiled when the server starts; it makes the nested
dictionary from which protobuf builds the whole response in one step, which is twice as fast as message by message.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import types
import typing
from collections.abc import Callable, Mapping
from enum import StrEnum
from operator import attrgetter
from typing import Any

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from comptoir_server.app.call import Caller
from comptoir_server.domain.cards import KIND_OF
from comptoir_server.domain.money import Money
from comptoir_server.transport.arguments import enum_names
from comptoir_server.transport.policy import ContractError, Method, message_type
from comptoir_server.transport.views import DERIVED, DERIVED_FOR, HIDDEN, MESSAGES, RENAMED, UNKNOWN, Derived, timestamp

Fields = dict[str, Any]
Writer = Callable[[Any, str], Any]
"""From a value, and the currency of the object that holds it, to what protobuf takes."""

TIMESTAMP = "google.protobuf.Timestamp"
MONEY = "comptoir.v1.Money"


class Answers:
    """Writes answers for one kind of caller. Raises ContractError where an object cannot fill its message."""

    def __init__(self, caller: Caller, messages: Mapping[str, tuple[type, ...]] = MESSAGES) -> None:
        self._caller = caller
        self._messages = messages
        self._writers: dict[tuple[str, type], Writer] = {}

    def compile(self, method: Method) -> Callable[[Fields], bytes]:
        """What turns an answer, objects under the names of the response's fields, into bytes."""
        writers = {field.name: self._of_answer(field) for field in method.response_type.fields}
        response = method.response

        def write(answer: Fields) -> bytes:
            message = response(**{name: writers[name](value, "") for name, value in answer.items()})
            return message.SerializeToString()

        return write

    def _of_answer(self, field: FieldDescriptor) -> Writer:
        """The writer of a field of the response itself: the class of the object is known when it is there."""
        if field.message_type is None:
            if field.enum_type is not None:
                return _enum(field.enum_type, str, field.full_name)
            return _same
        if field.message_type.full_name == TIMESTAMP:
            return _timestamp
        one = self._by_class(field.message_type)
        return _each(one) if field.is_repeated else one

    def _by_class(self, descriptor: Descriptor) -> Writer:
        """A writer that goes by the class of the value, one of those that `messages` lists."""
        if descriptor.name not in self._messages:
            raise ContractError(f"{descriptor.full_name} is made from nothing: list it in transport/views.MESSAGES.")
        writers: dict[type, Writer] = {types.NoneType: _same}
        for kind in self._messages[descriptor.name]:
            writers[kind] = _same if kind is dict else self._object(descriptor, kind)

        def write(value: Any, currency: str) -> Any:
            writer = writers.get(type(value))
            if writer is None:
                raise TypeError(f"{descriptor.name} is not made from {type(value).__name__}; list it in views.MESSAGES")
            return writer(value, currency)

        return write

    def _object(self, descriptor: Descriptor, kind: type) -> Writer:
        """The writer of a message from objects of a class."""
        key = (descriptor.full_name, kind)
        if key not in self._writers:
            self._writers[key] = self._compile(descriptor, kind)
        return self._writers[key]

    def _compile(self, descriptor: Descriptor, kind: type) -> Writer:
        plain: dict[str, str] = {}
        made: list[tuple[str, Callable[[Any], Any], Writer]] = []
        choices = {field.name for oneof in descriptor.oneofs for field in oneof.fields}
        for field in descriptor.fields:
            if f"{descriptor.name}.{field.name}" in HIDDEN[self._caller] or field.name in choices:
                continue
            source = self._source(descriptor, field, kind)
            if source is None:
                continue
            get, hint = source
            writer = _same if isinstance(get, Derived) else self._writer(field, hint)
            if isinstance(get, Derived):
                made.append((field.name, _compose(_path_to(kind, get.source), get.compute), writer))
            elif writer is _same:
                plain[field.name] = get
            else:
                made.append((field.name, attrgetter(get), writer))
        if choices:
            made.append(("", *self._choice(descriptor, kind)))
        return _writer_of(plain, made, _find(kind, "currency_code"))

    def _source(self, descriptor: Descriptor, field: FieldDescriptor, kind: type) -> tuple[Any, Any] | None:
        """Where a field comes from: the path to it in objects of the class, or how it is derived; None for nowhere."""
        name = f"{descriptor.name}.{field.name}"
        own_id = field.name == f"{_snake(descriptor.name)}_id"
        if (self._caller, name) in DERIVED_FOR:
            return DERIVED_FOR[self._caller, name], None
        found = _find(kind, "id" if own_id and _find(kind, field.name) is None else RENAMED.get(name, field.name))
        if found is not None:
            return found
        if name in DERIVED:
            return DERIVED[name], None
        if (kind, field.name) in UNKNOWN:
            return None
        raise ContractError(f"{kind.__name__} has no {field.name} for {name}: add it, or say in transport/views.py.")

    def _choice(self, descriptor: Descriptor, kind: type) -> tuple[Callable[[Any], Any], Writer]:
        """The one oneof of a message: from the attribute of its name, by the class of what stands there."""
        [oneof] = descriptor.oneofs
        found = _find(kind, oneof.name)
        if found is None:
            raise ContractError(f"{kind.__name__} has no {oneof.name} for {descriptor.full_name}.")
        writers: dict[type, tuple[str, Writer]] = {}
        for field in oneof.fields:
            descriptor = message_type(field)
            for each in self._messages.get(descriptor.name, ()):
                writers[each] = field.name, self._object(descriptor, each)

        def write(value: Any, currency: str) -> Fields:
            if value is None:
                return {}
            name, writer = writers[type(value)]
            return {name: writer(value, currency)}

        return attrgetter(found[0]), write

    def _writer(self, field: FieldDescriptor, hint: Any) -> Writer:
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            return _same
        if field.is_repeated:
            inside = typing.get_args(hint)[0]
            one = self._one(field, inside)
            return _same if one is _same else _each(one)
        return self._one(field, hint)

    def _one(self, field: FieldDescriptor, hint: Any) -> Writer:
        hint, optional = _without_none(hint)
        if field.enum_type is not None:
            return _enum(field.enum_type, hint, field.full_name)
        if field.message_type is None:
            return _same
        writer = self._message(field.message_type, hint, field.full_name)
        return (lambda value, currency: None if value is None else writer(value, currency)) if optional else writer

    def _message(self, descriptor: Descriptor, hint: Any, where: str) -> Writer:
        if descriptor.full_name == TIMESTAMP:
            return _timestamp
        if descriptor.full_name == MONEY and hint is int:
            return _amount
        if typing.get_origin(hint) is types.UnionType:
            return self._content(descriptor, typing.get_args(hint))
        if hint is Any or hint is object:
            return self._by_class(descriptor)
        if not dataclasses.is_dataclass(hint):
            raise ContractError(f"{where} is made from a dataclass, not from {hint}.")
        return self._object(descriptor, typing.cast(type, hint))

    def _content(self, descriptor: Descriptor, kinds: tuple[type, ...]) -> Writer:
        """A message that is nothing but one choice, from a union of dataclasses."""
        fields = {field.name: message_type(field) for field in descriptor.fields}
        writers = {kind: (KIND_OF[kind], self._object(fields[KIND_OF[kind]], kind)) for kind in kinds}

        def write(value: Any, currency: str) -> Fields:
            name, writer = writers[type(value)]
            return {name: writer(value, currency)}

        return write


def _writer_of(
    plain: dict[str, str], made: list[tuple[str, Callable[[Any], Any], Writer]], currency_at: tuple[str, Any] | None
) -> Writer:
    names = tuple(plain)
    values = _all_of(tuple(plain.values()))
    own_currency = attrgetter(currency_at[0]) if currency_at is not None else None

    def write(value: Any, currency: str) -> Fields:
        if own_currency is not None:
            currency = own_currency(value)
        fields = dict(zip(names, values(value), strict=True))
        for name, get, writer in made:
            written = writer(get(value), currency)
            if name:
                fields[name] = written
            else:
                fields.update(written)
        return fields

    return write


def _all_of(paths: tuple[str, ...]) -> Callable[[Any], tuple[Any, ...]]:
    if not paths:
        return lambda value: ()
    get = attrgetter(*paths)
    return get if len(paths) > 1 else lambda value: (get(value),)


def _compose(first: Callable[[Any], Any], then: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: then(first(value))


def _same(value: Any, currency: str) -> Any:
    return value


def _timestamp(value: int, currency: str) -> dict[str, int] | None:
    return timestamp(value)


def _amount(value: int, currency: str) -> Fields:
    return {"minor_units": value, "currency_code": currency}


def _each(one: Writer) -> Writer:
    return lambda values, currency: [one(value, currency) for value in values]


def _enum(descriptor: EnumDescriptor, hint: Any, where: str) -> Writer:
    """By name; an empty text is the value 0. Every member must have a number, or the server does not start."""
    numbers = enum_names(descriptor)
    numbers[""] = 0
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        strange = [member.value for member in hint if member.value not in numbers]
        if strange:
            raise ContractError(f"{where} has no value for {strange[0]} of {hint.__name__}: add it to the contract.")
    elif hint is not str:
        raise ContractError(f"{where} is made from a StrEnum or its text, not from {hint}.")
    return lambda value, currency: numbers[value]


@functools.cache
def _find(kind: type, name: str) -> tuple[str, Any] | None:
    """The path and type of an attribute: of objects of the class, else of an object that they hold."""
    if not dataclasses.is_dataclass(kind):
        return None
    hints = typing.get_type_hints(kind)
    if name in hints:
        return name, hints[name]
    for holder, hint in hints.items():
        if dataclasses.is_dataclass(hint) and hint is not Money and isinstance(hint, type):
            found = _find(hint, name)
            if found is not None:
                return f"{holder}.{found[0]}", found[1]
    return None


def _path_to(kind: type, wanted: type) -> Callable[[Any], Any]:
    """From objects of a class to the object of the wanted class: itself, or one that it holds."""
    if kind is wanted:
        return lambda value: value
    for name, hint in typing.get_type_hints(kind).items():
        if hint is wanted:
            return attrgetter(name)
    raise ContractError(f"{kind.__name__} neither is nor holds a {wanted.__name__}.")


def _without_none(hint: Any) -> tuple[Any, bool]:
    if typing.get_origin(hint) is not types.UnionType or types.NoneType not in typing.get_args(hint):
        return hint, False
    inside = [option for option in typing.get_args(hint) if option is not types.NoneType]
    return functools.reduce(lambda one, other: one | other, inside), True


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
