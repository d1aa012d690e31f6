"""Protobuf's wire format by hand, so that it can be written wrongly: what no library would send."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

VARINT, I64, LEN, START, END, I32 = range(6)
RESERVED = (6, 7)

NOT_UTF8 = (b"\xff\xfe", b"\xc0\xaf", b"\xed\xa0\x80", b"\xed\xa0\xbd\xed\xb8\x80", b"\xf8\x88\x80\x80\x80")
"""Bytes that are no text: among them halves of surrogate pairs, alone and both."""

NUMBERS = (0, 1, 2, 127, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 53, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)

Rng = random.Random


@dataclass(frozen=True, slots=True)
class Field:
    """One field as it stands in a message; `payload` is what follows the tag, without the length of a LEN."""

    number: int
    kind: int
    payload: bytes

    def encoded(self) -> bytes:
        """Its bytes."""
        length = varint(len(self.payload)) if self.kind == LEN else b""
        return varint(self.number << 3 | self.kind) + length + self.payload


def varint(value: int) -> bytes:
    """The shortest varint of a number of any size."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def parse(raw: bytes) -> list[Field] | None:
    """The fields of a message; None where these are not the bytes of one."""
    fields: list[Field] = []
    at = 0
    while at < len(raw):
        tag, at = _varint(raw, at)
        number, kind = tag >> 3, tag & 7
        if kind == VARINT:
            value, end = _varint(raw, at)
            payload = varint(value)
        elif kind == LEN:
            length, at = _varint(raw, at)
            end = at + length
            payload = raw[at:end]
        elif kind in (I64, I32):
            end = at + (8 if kind == I64 else 4)
            payload = raw[at:end]
        else:
            return None
        if not 0 < number < 1 << 29 or end > len(raw) or end < at:
            return None
        fields.append(Field(number, kind, payload))
        at = end
    return fields


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(raw):
        byte = raw[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            return value, at
    return value, len(raw) + 1


def join(fields: list[Field]) -> bytes:
    """The message of these fields."""
    return b"".join(field.encoded() for field in fields)


def noise(rng: Rng) -> bytes:
    """Random bytes, mostly few."""
    return rng.randbytes(rng.choice((0, 1, 2, 3, 5, 8, 16, 40, 200, 2_000, 60_000)))


def mutant(rng: Rng, raw: bytes) -> bytes:
    """A valid message spoiled once or a few times, anywhere in it."""
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        raw = _inside(rng, raw) if rng.random() < 0.8 else rng.choice(_BYTES)(rng, raw)
    return raw


def _inside(rng: Rng, raw: bytes) -> bytes:
    """Spoils one field, or one of a message within."""
    fields = parse(raw)
    if not fields:
        return rng.choice(_BYTES)(rng, raw)
    place = rng.randrange(len(fields))
    field = fields[place]
    if field.kind == LEN and len(field.payload) > 1 and parse(field.payload) and rng.random() < 0.6:
        fields[place] = replace(field, payload=_inside(rng, field.payload))
        return join(fields)
    before, after = join(fields[:place]), join(fields[place + 1 :])
    return before + rng.choice(_FIELDS)(rng, field) + after


# What can happen to one field.


def _drop(_rng: Rng, _field: Field) -> bytes:
    return b""


def _double(rng: Rng, field: Field) -> bytes:
    return field.encoded() * rng.choice((2, 2, 3, 50))


def _rename(rng: Rng, field: Field) -> bytes:
    number = rng.choice((field.number + 1, field.number - 1, 99, 18_999, 19_000, (1 << 29) - 1, 1 << 29, 0))
    return replace(field, number=max(number, 0)).encoded()


def _retype(rng: Rng, field: Field) -> bytes:
    return replace(field, kind=rng.choice((VARINT, I64, LEN, START, END, I32, *RESERVED))).encoded()


def _relength(rng: Rng, field: Field) -> bytes:
    """A length that is not the payload's: a little off, or beyond all there is."""
    size = len(field.payload)
    length = rng.choice((size + 1, max(size - 1, 0), 0, 1 << 20, (1 << 31) - 1, 1 << 31, (1 << 63) - 1, (1 << 64) - 1))
    return varint(field.number << 3 | LEN) + varint(length) + field.payload


def _overlong(rng: Rng, field: Field) -> bytes:
    """A tag or number with more bytes than it needs, up to more than any number has."""
    padding = b"\x80" * rng.choice((1, 3, 8, 9, 10, 30)) + b"\x00"
    tag = varint(field.number << 3 | field.kind)
    if rng.random() < 0.5:
        return tag[:-1] + bytes([tag[-1] | 0x80]) + padding + field.payload
    return varint(field.number << 3 | VARINT) + b"\xff" * rng.choice((1, 9, 10, 11)) + padding


def _not_utf8(rng: Rng, field: Field) -> bytes:
    spoiled = rng.choice(
        (b"\xff\xfe", b"\xc0\xaf", b"\xed\xa0\x80", b"\xed\xa0\xbd\xed\xb8\x80", b"\xf8\x88\x80\x80\x80")
    )
    at = rng.randint(0, len(field.payload))
    return Field(field.number, LEN, field.payload[:at] + spoiled + field.payload[at:]).encoded()


def _nested(rng: Rng, field: Field) -> bytes:
    """The field within itself, deeper than any message of ours is."""
    payload = field.payload if field.kind == LEN else b""
    for _ in range(rng.choice((3, 50, 99, 101, 2_000))):
        payload = Field(field.number, LEN, payload).encoded()
    return payload


def _groups(rng: Rng, field: Field) -> bytes:
    """Groups, which proto3 only skips: nested deeply, not ended, ended without a start."""
    depth = rng.choice((1, 90, 101, 5_000, 40_000))
    start, end = varint(field.number << 3 | START), varint(field.number << 3 | END)
    return rng.choice((start * depth + end * depth, start * depth, end, start + field.encoded() + end))


def _unknown(rng: Rng, field: Field) -> bytes:
    extra = Field(rng.randint(100, 10_000), rng.choice((VARINT, LEN, I64, I32)), rng.randbytes(8))
    count = rng.choice((1, 1, 10, 5_000))
    return field.encoded() + (replace(extra, payload=b"\x01") if extra.kind == VARINT else extra).encoded() * count


def _number(rng: Rng, field: Field) -> bytes:
    value = rng.choice(
        (0, 1, 2, 127, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, (1 << 53), (1 << 63) - 1, 1 << 63, (1 << 64) - 1)
    )
    return Field(field.number, VARINT, varint(value)).encoded()


_FIELDS: tuple[Callable[[Rng, Field], bytes], ...] = (
    _drop,
    _double,
    _rename,
    _retype,
    _relength,
    _overlong,
    _not_utf8,
    _nested,
    _groups,
    _unknown,
    _number,
)

# What can happen to the bytes, whatever they mean.


def _cut(rng: Rng, raw: bytes) -> bytes:
    return raw[: rng.randint(0, len(raw))]


def _flip(rng: Rng, raw: bytes) -> bytes:
    if not raw:
        return b"\x00"
    spoiled = bytearray(raw)
    spoiled[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
    return bytes(spoiled)


def _splice(rng: Rng, raw: bytes) -> bytes:
    at = rng.randint(0, len(raw))
    return raw[:at] + rng.randbytes(rng.randint(1, 4)) + raw[at + rng.randint(0, 4) :]


def _repeat(rng: Rng, raw: bytes) -> bytes:
    return raw * rng.choice((2, 3, 20))


def _swell(rng: Rng, raw: bytes) -> bytes:
    """Valid still, and around the largest size that is taken."""
    return raw + Field(9_999, LEN, bytes(rng.choice((200_000, 262_100, 262_144, 300_000)))).encoded()


_BYTES: tuple[Callable[[Rng, bytes], bytes], ...] = (_cut, _cut, _flip, _flip, _flip, _splice, _splice, _repeat, _swell)
