"""Opaque, prefixed, time-sortable ids: `pay_` and 26 characters of lower-case Crockford base32."""

from __future__ import annotations

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

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS = tuple(a + b for a in _ALPHABET for b in _ALPHABET)
_LENGTH = 26


def build(prefix: str, milliseconds: int, randomness: bytes) -> str:
    """The id made of `prefix`, 48 bits of `milliseconds` and the 80 bits of `randomness`."""
    number = (milliseconds & 0xFFFFFFFFFFFF) << 80 | int.from_bytes(randomness, "big")
    pairs = [_PAIRS[number >> shift & 1023] for shift in range(120, -1, -10)]
    return f"{prefix}_{''.join(pairs)}"


def is_valid(prefix: str, text: str) -> bool:
    """True when `text` has the shape of an id of the kind that `prefix` names."""
    head, separator, tail = text.partition("_")
    return head == prefix and bool(separator) and len(tail) == _LENGTH and all(c in _ALPHABET for c in tail)
