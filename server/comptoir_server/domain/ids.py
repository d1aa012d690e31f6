"""Opaque, prefixed, time-sortable ids: `pay_` and 26 characters of lower-case Crockford base32."""

from __future__ import annotations

import functools
import re

PREFIXES: dict[str, str] = {
    "usr": "user",
    "prt": "partner",
    "chn": "channel",
    "bot": "bot",
    "key": "API key",
    "ses": "session",
    "msg": "message",
    "evt": "event",
    "wlk": "wallet link",
    "wal": "wallet",
    "chk": "checkout",
    "ord": "order",
    "pay": "payment",
    "cap": "capture",
    "rfd": "refund",
    "txn": "journal transaction",
    "acc": "account",
    "bsu": "bot-scoped user",
    "opn": "operation",
}
"""Every prefix with the noun it stands for, in the caller's words. `opn` never leaves the server."""

RANDOM_BYTES = 10
"""How much randomness is in an id."""

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS = tuple(a + b for a in _ALPHABET for b in _ALPHABET)
_is_tail = re.compile(f"[{_ALPHABET}]{{26}}").fullmatch


def build(prefix: str, milliseconds: int, randomness: bytes) -> str:
    """The id made of `prefix`, 48 bits of `milliseconds` and the 80 bits of `randomness`."""
    return f"{prefix}_{_time(milliseconds)}{_forty_bits(randomness[:5])}{_forty_bits(randomness[5:])}"


@functools.lru_cache(maxsize=2)
def _time(milliseconds: int) -> str:
    """The first ten characters, which all ids of a millisecond share."""
    shifts = (40, 30, 20, 10, 0)
    return "".join(_PAIRS[(milliseconds & 0xFFFFFFFFFFFF) >> shift & 1023] for shift in shifts)


def _forty_bits(part: bytes) -> str:
    number = int.from_bytes(part, "big")
    return _PAIRS[number >> 30] + _PAIRS[number >> 20 & 1023] + _PAIRS[number >> 10 & 1023] + _PAIRS[number & 1023]


def is_valid(prefix: str, text: str) -> bool:
    """True when `text` has the shape of an id of the kind that `prefix` names."""
    head, separator, tail = text.partition("_")
    return head == prefix and bool(separator) and _is_tail(tail) is not None
