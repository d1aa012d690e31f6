"""Values that fit a field's type and nothing else: at every limit, of the wrong kind, of somebody else."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from comptoir_server.domain.money import MINOR_UNITS_MAX
from comptoir_server.transport.policy import field_rule
from tests.hostile.place import START, Pools
from tests.support.door import absent_id

Rng = random.Random
CARDS = (
    "4111111111111111",
    "4111 1111 1111 1111",
    "5500-0000-0000-0004",
    "378282246310005",
    "４１１１１１１１１１１１１１１１",
    "4\u200b111111111111111",
    "0" * 19,
)
"""Texts that look like card numbers, some of them in other digits or with nothing between."""

TEXTS: tuple[str, ...] = (
    "",
    " ",
    "\x00",
    "a\x00b",
    "\n",
    "\r\n",
    "\t",
    "\x7f\x9f",
    "\ufeff",
    "\u202eevil\u202c",
    "\u2066\u2069",
    "\u200b\u200d\u2060",
    "\u2028\u2029",
    "\ufffd\uffff",
    "e\u0301" + "\u0301" * 200,
    "👩\u200d👩\u200d👧\u200d👦" * 20,
    "\U0010ffff",
    "ﷺ" * 100,
    "İıſK",
    "'; DROP TABLE payments; --",
    '"}]}',
    "{0.__class__}",
    "%s%n%x",
    "${jndi:ldap://x}",
    "<script>alert(1)</script>",
    "../../../../etc/passwd",
    "\\\\server\\share",
    "-1",
    "1e308",
    "NaN",
    "null",
    "true",
    "*",
    *CARDS,
)

NAMES: dict[str, tuple[str, ...]] = {
    "locale": (
        "C",
        "en_US.UTF-8",
        "xx-XX",
        "zz",
        "en-",
        "-US",
        "i-klingon",
        "en-US-x-private",
        "ar-EG",
        "EN-us",
        "root",
    ),
    "market": ("us", "ZZ", "USA", "U", "EU", "001", "U\u017f", "ＵＳ"),
    "time_zone": (
        "../UTC",
        "/etc/localtime",
        "UTC\x00",
        "posixrules",
        "Factory",
        "localtime",
        "GMT+99",
        "america/new_york",
    ),
    "currency_code": ("usd", "US", "USDD", "XXX", "XAU", "ZZZ", "JPY", "TND", "CLF", "BTC", "ＵＳＤ", "US\n"),
    "provider": ("PayPal", "paypal ", "alipay", "paypa\u0131", "../paypal"),
    "type": ("checkout.completed", "checkout", ".", "*", "a.b.c"),
    "scopes": ("*", "everything", "message.write", "payout.write", "MESSAGE.READ", "message.write "),
    "page_token": ("AAAA", "=", "====", "fn4", "fg", "4pyT", "a" * 256, "-_-_", "\u2713"),
    "cursor": ("MA", "MH4", "LTF-", "OTk5OTk5OTk5OTk5OTk5OTk5OTk5fg", "a", "\u0660~"),
    "confirmation_code": ("000000", "AAAA-AAAA", "０", "-"),
    "button_payload": ("pay:1", "v1", "{}", "AAAA"),
}
"""Values of fields that are more than text."""

INTEGERS = (
    *(0, 1, -1, 2, 3, 99, 100, 101, 1_000, 1_001, 10_000, 10_001),
    *(2**31 - 1, 2**31, -(2**31), 2**32, MINOR_UNITS_MAX, MINOR_UNITS_MAX + 1, 2**62, 2**63 - 1, -(2**63)),
)
SECONDS = (0, -1, 1, 253_402_300_799, 253_402_300_800, -62_135_596_801, 2**63 - 1, -(2**63), 2**53, 9_223_372_036_854)
NANOS = (0, 1, -1, 999_999_999, 1_000_000_000, 2**31 - 1, -(2**31))
ENUM_NUMBERS = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 50, 99, -1, 2**31 - 1, -(2**31))
COUNTS = (0, 1, 2, 12, 19, 20, 21, 99, 100, 101, 400, 401)
MANY = (10_000, 30_000, 60_000, 100_000)

MANY_SHARE = 0.02
"""How often a wild one gives a repeated field ten thousand elements and more."""

TAME_TEXTS = ("", "a", "Ada", "KX7QPL", "paypal", "US", "USD", "EUR", "en-US", "UTC", "till", "7")
DEPTH_MAX = 6
GIVEN_AS = {"page_token": "next_page_token", "cursor": "next_cursor", "button_payload": "payload"}
"""Under which name the server gives out what it takes under another."""


@dataclass(frozen=True, slots=True)
class Spoiler:
    """Spoils messages. A wild one takes anything that fits a type; a tame one what might pass a glance."""

    rng: Rng
    own: Pools
    foreign: Pools
    wild: bool = True

    def spoil(self, message: Message, depth: int = 0) -> None:
        """Gives a few fields of a message, or of those within, hostile values."""
        fields: list[Any] = list(message.DESCRIPTOR.fields)
        for _ in range(self.rng.choice((1, 1, 1, 2, 3, 6)) if fields else 0):
            self._field(message, self.rng.choice(fields), depth)

    def fill(self, message: Message, depth: int = 0) -> None:
        """Gives most fields of a message some value."""
        fields: list[Any] = list(message.DESCRIPTOR.fields)
        for field in fields:
            if self.rng.random() < 0.75 / (1 + depth / 3):
                self._field(message, field, depth + 1)

    def _field(self, message: Message, field: FieldDescriptor, depth: int) -> None:
        if self.rng.random() < 0.1:
            message.ClearField(field.name)
        elif field.message_type is not None and field.message_type.GetOptions().map_entry:
            self._map(getattr(message, field.name))
        elif field.is_repeated:
            self._repeated(message, field, depth)
        elif field.message_type is not None:
            self._inside(getattr(message, field.name), field.message_type, depth)
        else:
            setattr(message, field.name, self._scalar(field))

    def _inside(self, inside: Any, descriptor: Descriptor, depth: int) -> None:
        rng = self.rng
        inside.SetInParent()
        if descriptor.full_name == "google.protobuf.Timestamp":
            soon = START // 1_000_000 + rng.randint(0, 10**6)
            inside.seconds = rng.choice((*SECONDS, soon)) if self.wild else soon
            inside.nanos = rng.choice(NANOS if self.wild else NANOS[:2])
        elif self.wild and rng.random() < 0.15:
            inside.Clear()
            inside.SetInParent()
        elif depth > DEPTH_MAX or rng.random() < 0.5:
            self.spoil(inside, depth + 1)
        else:
            self.fill(inside, depth)

    def _repeated(self, message: Message, field: FieldDescriptor, depth: int) -> None:
        rng, values = self.rng, getattr(message, field.name)
        if len(values) and rng.random() < 0.5:
            if field.message_type is not None:
                self._inside(rng.choice(values), field.message_type, depth)
            else:
                values[rng.randrange(len(values))] = self._scalar(field)
            return
        many = self.wild and rng.random() < MANY_SHARE
        count = rng.choice(MANY if many else COUNTS if self.wild and rng.random() < 0.3 else COUNTS[:3])
        kept = list(values)[:1]
        del values[:]
        if field.message_type is None:
            values.extend([""] * count if many else [self._scalar(field) for _ in range(count)])
            return
        for _ in range(count):
            one = values.add()
            if kept and not many and rng.random() < 0.7:
                one.CopyFrom(kept[0])
            elif not many and depth < DEPTH_MAX:
                self.fill(one, depth)

    def _map(self, values: Any) -> None:
        rng = self.rng
        count = rng.choice(MANY[:2] if rng.random() < MANY_SHARE else COUNTS[:8])
        for number in range(count):
            odd = self.wild and rng.random() < 0.3
            values[rng.choice(TEXTS) if odd else str(number)] = rng.choice(TEXTS) if odd and count < 400 else ""

    def _scalar(self, field: FieldDescriptor) -> Any:
        kind = field.cpp_type
        if kind == FieldDescriptor.CPPTYPE_STRING:
            return self._text(field)
        if kind == FieldDescriptor.CPPTYPE_BOOL:
            return self.rng.random() < 0.5
        if kind == FieldDescriptor.CPPTYPE_ENUM:
            return self.rng.choice(ENUM_NUMBERS if self.wild else ENUM_NUMBERS[:6])
        number = self.rng.choice(INTEGERS if self.wild else INTEGERS[:8])
        return number if kind == FieldDescriptor.CPPTYPE_INT64 else max(min(number, 2**31 - 1), -(2**31))

    def _text(self, field: FieldDescriptor) -> str:
        rng, rule = self.rng, field_rule(field)
        dice = rng.random()
        if rule.prefixes and (dice < 0.7 or not self.wild):
            return self._id(rule.prefixes)
        if dice < 0.35 and field.name in NAMES:
            return rng.choice(NAMES[field.name])
        given = self._given(field.name)
        if given and (dice < 0.45 or not self.wild):
            return self._bent(given)
        if not self.wild:
            return rng.choice(TAME_TEXTS)
        if dice < 0.55:
            unit = rng.choice(("x", "é", "漢", "👍", " ", "0", "4111111111111111"))
            length = rng.choice((rule.max_length, rule.max_length + 1, 10 * rule.max_length, 70_000))
            return (unit * length)[:length]
        return rng.choice(TEXTS) + rng.choice(("", "", "", rng.choice(TEXTS)))

    def _id(self, prefixes: tuple[str, ...]) -> str:
        """An id of the right kind or the wrong one, ours or somebody else's or nobody's."""
        dice, kind = self.rng.random(), self.rng.choice(prefixes)
        right = self._given(kind) or absent_id(kind)
        if dice < (0.6 if self.wild else 0.9):
            return right
        if dice < 0.75:
            kinds = sorted(self.own.keys() | self.foreign.keys())
            return self._given(self.rng.choice(kinds)) if kinds else ""
        return absent_id(kind) if dice < 0.9 else self._bent(right)

    def _given(self, kind: str) -> str:
        """A text of a kind that the server gave out, more often to us than to somebody else; empty for none."""
        kind = GIVEN_AS.get(kind, kind)
        first, second = (self.own, self.foreign) if self.rng.random() < 0.6 else (self.foreign, self.own)
        values = first.get(kind) or second.get(kind)
        return self.rng.choice(values) if values else ""

    def _bent(self, text: str) -> str:
        """The same text, or hardly another."""
        at = self.rng.randint(0, len(text))
        bent = (text.upper(), text[:-1], text + "\n", " " + text, text + text, text[:at] + "0" + text[at:])
        return self.rng.choice(bent) if self.wild and self.rng.random() < 0.6 else text
