"""The id fields of the contract's requests, wherever in a message they lie, and putting an id into one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from comptoir_server.transport.policy import FieldRule, field_rule

DRAWN_BY_THE_PLATFORM = frozenset(
    {
        "comptoir.v1.CheckoutCard",
        "comptoir.v1.PayButton",
        "comptoir.v1.ReceiptCard",
        "comptoir.v1.WalletLinkCard",
        "comptoir.v1.NoticeCard",
    }
)
"""Messages of answers that lie in requests too, where nobody may send them."""


@dataclass(frozen=True)
class IdField:
    """A field that holds an id of one of `prefixes`; `path` leads there from the request."""

    path: tuple[FieldDescriptor, ...]
    rule: FieldRule
    drawn: bool = False

    @property
    def name(self) -> str:
        """The path as the proto names it."""
        return ".".join(f"{each.name}[]" if each.is_repeated else each.name for each in self.path)

    def get(self, request: Message) -> str:
        """The id in the field, the first of several; empty where there is none."""
        value: Any = request
        for step in self.path:
            if step.message_type is not None and not step.is_repeated and not value.HasField(step.name):
                return ""
            value = getattr(value, step.name)
            if step.is_repeated:
                if not value:
                    return ""
                value = value[0]
        return str(value)

    def put(self, request: Message, value: str) -> None:
        """Puts an id into the field, in place of the first of several, and makes what it lies in."""
        *above, last = self.path
        holder: Any = request
        for step in above:
            held = getattr(holder, step.name)
            holder = (held[0] if held else held.add()) if step.is_repeated else held
        if last.is_repeated:
            getattr(holder, last.name)[:] = [value, *list(getattr(holder, last.name))[1:]]
        else:
            setattr(holder, last.name, value)


def id_fields(descriptor: Descriptor) -> tuple[IdField, ...]:
    """Every id field of a request."""
    return tuple(_within(descriptor, (), drawn=False))


def _within(descriptor: Descriptor, path: tuple[FieldDescriptor, ...], *, drawn: bool) -> Iterator[IdField]:
    drawn = drawn or descriptor.full_name in DRAWN_BY_THE_PLATFORM
    for field in descriptor.fields:
        rule = field_rule(field)
        if rule.prefixes:
            yield IdField((*path, field), rule, drawn)
        elif field.message_type is not None and field.message_type.full_name.startswith("comptoir."):
            yield from _within(field.message_type, (*path, field), drawn=drawn)
