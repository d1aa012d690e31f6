"""Finds card numbers in text, so that none is ever kept.

A run of digits counts as a card number when all three agree: the check digit (ISO/IEC 7812-1, annex B), the issuer's
range, and a length that the issuer uses. A run may be grouped by single spaces, hyphens or dots, as people write it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

LENGTH_MIN, LENGTH_MAX = 13, 19

_RUN = re.compile(r"\d+(?:[ \u00a0\u202f.\-\u2010\u2011]\d+)*")
_GROUP = re.compile(r"\d+")
_TICKET = re.compile(r"\d{3}\D\d{10}")
"""An electronic ticket as airlines print it: the airline's three digits, then ten. No card is grouped like that."""

_LONG = frozenset({16, 17, 18, 19})
_ISSUERS: tuple[tuple[int, int, frozenset[int]], ...] = (
    (3000, 3059, frozenset({14, *_LONG})),  # Diners Club
    (3095, 3095, frozenset({14, *_LONG})),
    (3600, 3699, frozenset({14, *_LONG})),
    (3800, 3999, frozenset({14, *_LONG})),
    (3400, 3499, frozenset({15})),  # American Express
    (3700, 3799, frozenset({15})),
    (3528, 3589, _LONG),  # JCB
    (2200, 2204, _LONG),  # Mir
    (2221, 2720, frozenset({16})),  # Mastercard
    (5100, 5599, frozenset({16})),
    (4000, 4999, frozenset({13, 16, 19})),  # Visa
    (5000, 5099, _LONG),  # Maestro, Elo, RuPay
    (5600, 5899, _LONG),  # Maestro
    (6000, 6999, _LONG),  # Discover, UnionPay, Maestro, RuPay, Troy
    (8100, 8199, _LONG),  # RuPay, UnionPay
    (9792, 9792, frozenset({16})),  # Troy
)
"""The first four digits, from and to, and the lengths that are issued under them."""

_DOUBLED = tuple(sum(divmod(2 * digit, 10)) for digit in range(10))

MASK = "•"


def contains(text: str) -> bool:
    """True when a card number stands in `text`."""
    return len(text) >= LENGTH_MIN and any(True for _ in _find(text))


def mask(text: str) -> str:
    """`text` with all but the last four digits of every card number in it replaced by dots; grouping stays."""
    if len(text) < LENGTH_MIN:
        return text
    characters = list(text)
    for start, end in _find(text):
        digits = [place for place in range(start, end) if text[place].isdecimal()]
        for place in digits[:-4]:
            characters[place] = MASK
    return "".join(characters)


def _find(text: str) -> Iterator[tuple[int, int]]:
    """Where card numbers stand: start and end.

    A card number is made of whole groups: a part of a longer unbroken number, such as an order's or a barcode's, is
    none; but other groups may be its neighbours (`order 12 4111 1111 1111 1111`).
    """
    for run in _RUN.finditer(text):
        if len(run[0]) < LENGTH_MIN:
            continue
        groups = [group.span() for group in _GROUP.finditer(text, *run.span())]
        first = 0
        while first < len(groups):
            last = _last_group(text, groups, first)
            if last >= 0:
                yield groups[first][0], groups[last][1]
            first = max(first, last) + 1


def _last_group(text: str, groups: list[tuple[int, int]], first: int) -> int:
    """The last group of the longest card number that begins with group `first`; -1 where none does."""
    digits, found = "", -1
    start = groups[first][0]
    for place, group in enumerate(groups[first:], first):
        digits += text[slice(*group)]
        if len(digits) > LENGTH_MAX:
            break
        if len(digits) >= LENGTH_MIN and _is_card_number(digits) and not _TICKET.fullmatch(text, start, group[1]):
            found = place
    return found


def _is_card_number(digits: str) -> bool:
    head, length = int(digits[:4]), len(digits)
    if not any(low <= head <= high and length in lengths for low, high, lengths in _ISSUERS):
        return False
    total = 0
    for place, character in enumerate(reversed(digits)):
        digit = int(character)
        total += _DOUBLED[digit] if place % 2 else digit
    return total % 10 == 0
