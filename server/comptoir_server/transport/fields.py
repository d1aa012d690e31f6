"""Checks a request's fields by the contract's options: one compiled pass that touches only what was sent.

A check answers the problems that it finds, with paths relative to what it was given, and nothing on the usual way.
What was sent is never repeated in a problem: it may be a secret.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message

from comptoir_server.domain import card_numbers, ids
from comptoir_server.domain.errors import Reason, Refused, Violation
from comptoir_server.domain.money import MINOR_UNITS_MAX
from comptoir_server.transport.policy import ContractError, FieldRule, field_rule

MANY_LINES = frozenset(
    {
        "comptoir.v1.TextContent.text",
        "comptoir.v1.ItineraryCard.intro",
        "comptoir.v1.CreateBotRequest.greeting",
        "comptoir.v1.LineItem.description",
    }
)
"""Texts that may have several lines."""

MASKED = frozenset({"comptoir.v1.TextContent.text"})
"""What people type: card numbers in it are masked before it is stored, not refused."""

MAY_LOOK_LIKE_CARD_NUMBERS = frozenset(
    {
        "request_id",
        "page_token",
        "cursor",
        "ticket_number",
        "barcode",
        "booking_reference",
        "item_reference",
        "passenger_ref",
        "segment_ref",
    }
)
"""Tickets, barcodes and references of things: one number in ten passes the check digit of card numbers."""

VIOLATIONS_MAX = 20
"""How many violations an answer lists: more would not fit into the metadata that carries it."""

_UNWANTED = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]")
"""Control characters, line separators, and what turns the direction of writing so that names read as other names."""

_UNWANTED_IN_LINES = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufeff]")
_CURRENCY = re.compile(r"[A-Z]{3}")
_SECONDS_MAX = 253_402_300_799
"""The last second of the year 9999, where google.protobuf.Timestamp ends."""


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong in one field; `card` where it holds what looks like a card number."""

    path: str
    description: str
    card: bool = False


Problems = Sequence[Problem]
Check = Callable[[Any], Problems]

_FINE: Problems = ()


def compile_check(descriptor: Descriptor) -> Check:
    """The check of a request message and of all that lies in it. Raises ContractError."""
    return _message(descriptor, ())


def require_fine(problems: Problems) -> None:
    """FIELD_INVALID naming what is wrong, else CARD_DATA_REFUSED where a card number was found."""
    if not problems:
        return
    violations = tuple(Violation(problem.path, problem.description) for problem in problems if not problem.card)
    if not violations:
        field = problems[0].path
        raise Refused(
            Reason.CARD_DATA_REFUSED,
            f"{field} holds what looks like a card number. Comptoir never takes card numbers; leave it out.",
            field=field,
        )
    first, others = violations[0], len(violations) - 1
    more = f" {others} more are listed." if others else ""
    raise Refused(
        Reason.FIELD_INVALID,
        f"{first.field}: {first.description}{more}",
        violations=violations[:VIOLATIONS_MAX],
        field=first.field,
    )


def _message(descriptor: Descriptor, above: tuple[str, ...]) -> Check:
    if descriptor.full_name in above:
        raise ContractError(f"{descriptor.full_name} contains itself: requests must have a bounded depth.")
    above = (*above, descriptor.full_name)
    tests: dict[int, tuple[str, Check]] = {}
    required: dict[int, str] = {}
    for field in descriptor.fields:
        rule = field_rule(field)
        if rule.required:
            required[field.number] = field.name
        test = _field(field, rule, above)
        if test is not None:
            tests[field.number] = (field.name, test)
    choices = tuple((oneof.name, frozenset(field.number for field in oneof.fields)) for oneof in descriptor.oneofs)

    def check(message: Message) -> Problems:
        problems: list[Problem] = []
        present = set()
        for field, value in message.ListFields():
            number = field.number
            present.add(number)
            if number in tests:
                name, test = tests[number]
                found = test(value)
                if found:
                    problems += [replace(problem, path=f"{name}{problem.path}") for problem in found]
        if not required.keys() <= present:
            problems += [Problem(name, "is required.") for number, name in required.items() if number not in present]
        for name, numbers in choices:
            if not numbers & present:
                problems.append(Problem(name, "must be one of its kinds."))
        return problems

    return check


def _field(field: FieldDescriptor, rule: FieldRule, above: tuple[str, ...]) -> Check | None:
    """The check of a field's value, repeated or not; None where every value will do."""
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return _map(field, rule)
    one = _single(field, rule, above)
    if not field.is_repeated:
        return one
    return _many(one, rule.max_items)


def _single(field: FieldDescriptor, rule: FieldRule, above: tuple[str, ...]) -> Check | None:
    if field.message_type is not None:
        special = _SPECIAL.get(field.message_type.full_name)
        inside = special or _message(field.message_type, above)
        return lambda value: _below(inside(value))
    if field.enum_type is not None:
        return _enum(field.enum_type)
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        if field.name == "request_id":
            return _request_id(rule.max_length)
        return _id(rule.prefixes) if rule.prefixes else _text(field, rule)
    return None


def _below(problems: Problems) -> Problems:
    return [replace(problem, path=f".{problem.path}") for problem in problems] if problems else _FINE


def _many(one: Check | None, max_items: int) -> Check:
    def check(values: Sequence[Any]) -> Problems:
        if len(values) > max_items:
            return (Problem("", f"must have at most {max_items} elements."),)
        if one is None:
            return _FINE
        problems: list[Problem] = []
        for place, value in enumerate(values):
            found = one(value)
            if found:
                problems += [replace(problem, path=f"[{place}]{problem.path}") for problem in found]
        return problems

    return check


def _map(field: FieldDescriptor, rule: FieldRule) -> Check:
    """Keys and values are texts; neither is named in a problem, for they are the caller's own."""
    text = _text(field, rule)

    def check(values: dict[str, str]) -> Problems:
        if len(values) > rule.max_items:
            return (Problem("", f"must have at most {rule.max_items} entries."),)
        return [problem for entry in values.items() for part in entry for problem in text(part)]

    return check


def _enum(descriptor: EnumDescriptor) -> Check:
    known = frozenset(value.number for value in descriptor.values)
    return lambda number: _FINE if number in known else (Problem("", "is not a value that this server knows."),)


def _id(prefixes: tuple[str, ...]) -> Check:
    kinds = " or ".join(ids.PREFIXES[prefix] for prefix in prefixes)
    shape = " or ".join(f"`{prefix}_…`" for prefix in prefixes)
    wrong = (Problem("", f"must be the id of a {kinds}, {shape}."),)

    def check(value: str) -> Problems:
        for prefix in prefixes:
            if ids.is_valid(prefix, value):
                return _FINE
        return wrong

    return check


def _request_id(max_length: int) -> Check:
    wrong = (Problem("", f"must be 1 to {max_length} printable ASCII characters."),)
    return lambda value: _FINE if len(value) <= max_length and value.isascii() and value.isprintable() else wrong


def _text(field: FieldDescriptor, rule: FieldRule) -> Check:
    many_lines = field.full_name in MANY_LINES
    unwanted = _UNWANTED_IN_LINES if many_lines else _UNWANTED
    too_long = (Problem("", f"must have at most {rule.max_length} characters."),)
    where = "other than tabs and line feeds " if many_lines else ""
    not_text = (Problem("", f"must not hold control characters {where}or marks that turn the direction of writing."),)
    has_card = (Problem("", "looks like a card number.", card=True),)
    exempt = rule.secret or field.full_name in MASKED or field.name in MAY_LOOK_LIKE_CARD_NUMBERS

    def check(value: str) -> Problems:
        if len(value) > rule.max_length:
            return too_long
        if not value.isprintable() and unwanted.search(value):
            return not_text
        if not exempt and card_numbers.contains(value):
            return has_card
        return _FINE

    return check


def _money(value: Any) -> Problems:
    problems: list[Problem] = []
    if not 0 <= value.minor_units <= MINOR_UNITS_MAX:
        problems.append(Problem("minor_units", f"must be 0 to {MINOR_UNITS_MAX}."))
    if not _CURRENCY.fullmatch(value.currency_code):
        problems.append(Problem("currency_code", "must be three upper-case letters, an ISO 4217 code."))
    return problems


def _timestamp(value: Any) -> Problems:
    if 0 < value.seconds <= _SECONDS_MAX and 0 <= value.nanos < 1_000_000_000:
        return _FINE
    return (Problem("seconds", "must be an instant after 1970-01-01 and before the year 10000."),)


_SPECIAL: dict[str, Check] = {
    "comptoir.v1.Money": _money,
    "google.protobuf.Timestamp": _timestamp,
}
"""Messages whose rules no option expresses."""
