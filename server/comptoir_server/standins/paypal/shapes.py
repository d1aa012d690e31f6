"""The forms of request bodies, checked as PayPal checks them: 400 INVALID_REQUEST with the field at fault.

Sources: order_request, order_capture_request, capture_request, reauthorize_request and refund_request
of the orders v2 and payments v2 documents, setup_token_request and payment_token_request of vault v3,
webhook of notifications v1. Members that stand in none of them are ignored. An explicit null is
no value anywhere.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from comptoir_server.standins.paypal.errors import Refusal


@dataclass(frozen=True, slots=True)
class Text:
    """A string of `shortest` to `longest` characters that `pattern` finds itself in, or one of `among`."""

    longest: int
    shortest: int = 1
    pattern: str = ""
    among: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Url:
    """An absolute http or https address."""


@dataclass(frozen=True, slots=True)
class Flag:
    """true or false."""


@dataclass(frozen=True, slots=True)
class Items:
    """A list of `shape`."""

    shape: Shape
    fewest: int = 0
    most: int = 500


@dataclass(frozen=True, slots=True)
class Object:
    """An object: the form of each member that is known, and the names that must be there."""

    members: Mapping[str, Shape] = field(default_factory=dict)
    required: tuple[str, ...] = ()


Shape = Text | Url | Flag | Items | Object


def check(shape: Shape, value: object, pointer: str = "") -> None:
    """Raises Refusal (400) for the first part of `value` that has not the form `shape`."""
    if isinstance(shape, Object):
        _check_object(shape, value, pointer)
    elif isinstance(shape, Items):
        _check_items(shape, value, pointer)
    elif isinstance(shape, Flag):
        if not isinstance(value, bool):
            raise Refusal("INVALID_PARAMETER_SYNTAX", pointer)
    elif isinstance(shape, Url):
        _check_url(value, pointer)
    else:
        _check_text(shape, value, pointer)


def _check_object(shape: Object, value: object, pointer: str) -> None:
    if not isinstance(value, dict):
        raise Refusal("INVALID_PARAMETER_SYNTAX", pointer or "/")
    for name in shape.required:
        if value.get(name) is None:
            raise Refusal("MISSING_REQUIRED_PARAMETER", f"{pointer}/{name}")
    for name, item in value.items():
        if item is None:
            raise Refusal("INVALID_PARAMETER_SYNTAX", f"{pointer}/{name}", "null")
        if name in shape.members:
            check(shape.members[name], item, f"{pointer}/{name}")


def _check_items(shape: Items, value: object, pointer: str) -> None:
    if not isinstance(value, list):
        raise Refusal("INVALID_PARAMETER_SYNTAX", pointer)
    if len(value) < shape.fewest:
        raise Refusal("INVALID_ARRAY_MIN_ITEMS", pointer)
    if len(value) > shape.most:
        raise Refusal("INVALID_ARRAY_MAX_ITEMS", pointer)
    for index, item in enumerate(value):
        check(shape.shape, item, f"{pointer}/{index}")


def _check_text(shape: Text, value: object, pointer: str) -> None:
    if not isinstance(value, str):
        raise Refusal("INVALID_PARAMETER_SYNTAX", pointer)
    if not shape.shortest <= len(value) <= shape.longest:
        raise Refusal("INVALID_STRING_LENGTH", pointer, value)
    if shape.among and value not in shape.among:
        raise Refusal("INVALID_PARAMETER_VALUE", pointer, value)
    if shape.pattern and not re.fullmatch(shape.pattern, value):
        raise Refusal("INVALID_PARAMETER_SYNTAX", pointer, value)


def _check_url(value: Any, pointer: str) -> None:
    _check_text(Text(4_000), value, pointer)
    try:
        parts = urlsplit(value)
    except ValueError:
        raise Refusal("INVALID_PARAMETER_SYNTAX", pointer, value) from None
    if parts.scheme not in {"http", "https"} or not parts.hostname or not value.isprintable():
        raise Refusal("INVALID_PARAMETER_SYNTAX", pointer, value)


MONEY = Object(
    {
        "currency_code": Text(3, 3),
        "value": Text(32, pattern=r"((-?[0-9]+)|(-?([0-9]+)?[.][0-9]+))"),
    },
    ("currency_code", "value"),
)
BREAKDOWN = ("item_total", "shipping", "handling", "tax_total", "insurance", "shipping_discount", "discount")
_AMOUNT = Object({**MONEY.members, "breakdown": Object(dict.fromkeys(BREAKDOWN, MONEY))}, MONEY.required)
_TOKEN_ID = Text(255, pattern=r"[0-9a-zA-Z_-]+")
_CONTEXT = Object(
    {
        "brand_name": Text(127),
        "return_url": Url(),
        "cancel_url": Url(),
        "shipping_preference": Text(24, among=("GET_FROM_FILE", "NO_SHIPPING", "SET_PROVIDED_ADDRESS")),
        "user_action": Text(8, among=("CONTINUE", "PAY_NOW")),
    }
)
_PAYMENT_SOURCE = Object(
    {
        "paypal": Object({"vault_id": _TOKEN_ID, "experience_context": _CONTEXT}),
        "token": Object({"id": _TOKEN_ID, "type": Text(255, among=("BILLING_AGREEMENT",))}, ("id", "type")),
        "card": Object(),
    }
)
_ITEM = Object(
    {
        "name": Text(127),
        "quantity": Text(10, pattern="[1-9][0-9]{0,9}"),
        "unit_amount": MONEY,
        "tax": MONEY,
        "description": Text(127, 0),
        "sku": Text(127, 0),
        "category": Text(20, among=("DIGITAL_GOODS", "PHYSICAL_GOODS", "DONATION")),
    },
    ("name", "quantity", "unit_amount"),
)
_UNIT = Object(
    {
        "reference_id": Text(256),
        "amount": _AMOUNT,
        "description": Text(127),
        "custom_id": Text(127),
        "invoice_id": Text(127),
        "soft_descriptor": Text(22),
        "items": Items(_ITEM),
        "shipping": Object(),
    },
    ("amount",),
)
_CUSTOMER = Object({"id": Text(22, pattern="[0-9a-zA-Z_-]+")})

ORDER = Object(
    {
        "intent": Text(255, among=("CAPTURE", "AUTHORIZE")),
        "purchase_units": Items(_UNIT, 1, 10),
        "payment_source": _PAYMENT_SOURCE,
        "application_context": Object({"return_url": Url(), "cancel_url": Url()}),
    },
    ("intent", "purchase_units"),
)
ORDER_PAYMENT = Object({"payment_source": _PAYMENT_SOURCE})
CAPTURE = Object(
    {
        "amount": MONEY,
        "invoice_id": Text(127, 0),
        "note_to_payer": Text(255, 0),
        "final_capture": Flag(),
        "soft_descriptor": Text(22, 0),
    }
)
REAUTHORIZATION = Object({"amount": MONEY})
VOID = Object()
REFUND = Object({"amount": MONEY, "custom_id": Text(127), "invoice_id": Text(127), "note_to_payer": Text(255)})
SETUP_TOKEN = Object(
    {
        "customer": _CUSTOMER,
        "payment_source": Object(
            {
                "paypal": Object(
                    {
                        "description": Text(128),
                        "usage_type": Text(255, among=("MERCHANT", "PLATFORM")),
                        "customer_type": Text(255, among=("CONSUMER", "BUSINESS")),
                        "permit_multiple_payment_tokens": Flag(),
                        "experience_context": Object(
                            {**_CONTEXT.members, "brand_name": Text(300)}, ("return_url", "cancel_url")
                        ),
                    },
                    ("usage_type", "experience_context"),
                )
            },
            ("paypal",),
        ),
    },
    ("payment_source",),
)
PAYMENT_TOKEN = Object(
    {
        "customer": _CUSTOMER,
        "payment_source": Object(
            {
                "token": Object(
                    {"id": Text(255, pattern="[0-9A-Z_-]+"), "type": Text(255, among=("SETUP_TOKEN",))}, ("id", "type")
                )
            },
            ("token",),
        ),
    },
    ("payment_source",),
)
WEBHOOK = Object(
    {"url": Url(), "event_types": Items(Object({"name": Text(255)}, ("name",)), 1)}, ("url", "event_types")
)
