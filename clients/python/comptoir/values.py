"""Messages of the contract that take more than one line to build right: money, and what a checkout adds up to."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from comptoir.v1 import Adjustment, Button, LineItem, MessageContent, Money, TextContent


def money(minor_units: int, currency_code: str) -> Money:
    """An amount in minor units: `money(1250, "EUR")` is 12.50 euro, `money(1250, "JPY")` is 1250 yen.

    Raises TypeError for anything but a whole number, and ValueError for a code that is not three upper-case letters.

    >>> money(1250, "EUR").minor_units
    1250
    """
    if type(minor_units) is not int:
        raise TypeError(f"minor_units must be a whole number of minor units such as cents, not {minor_units!r}")
    if not re.fullmatch(r"[A-Z]{3}", currency_code):
        raise ValueError(f"currency_code must be three upper-case letters such as EUR, not {currency_code!r}")
    return Money(minor_units=minor_units, currency_code=currency_code)


def line_item(
    title: str, unit_amount: Money, quantity: int = 1, *, description: str = "", item_reference: str = ""
) -> LineItem:
    """One thing that is bought, with its amount worked out: quantity times the price of one.

    >>> line_item("Espresso", money(250, "EUR"), 2).amount.minor_units
    500
    """
    return LineItem(
        title=title,
        description=description,
        quantity=quantity,
        unit_amount=unit_amount,
        amount=money(unit_amount.minor_units * quantity, unit_amount.currency_code),
        item_reference=item_reference,
    )


def total_of(items: Iterable[LineItem], adjustments: Iterable[Adjustment] = ()) -> Money:
    """What items and adjustments come to: everything added, discounts taken off.

    Raises ValueError where currencies are mixed, or where there is nothing to add.

    >>> total_of([line_item("Espresso", money(250, "EUR"), 2)]).minor_units
    500
    """
    amounts = [(1, item.amount) for item in items]
    amounts += [(-1 if each.kind == Adjustment.KIND_DISCOUNT else 1, each.amount) for each in adjustments]
    currencies = {amount.currency_code for _, amount in amounts}
    if len(currencies) != 1:
        raise ValueError(f"amounts must be in one currency, not in {sorted(currencies) or 'none'}")
    return money(sum(sign * amount.minor_units for sign, amount in amounts), currencies.pop())


def text_content(words: str, buttons: Sequence[Button | tuple[str, str]] = ()) -> MessageContent:
    """Plain words, with buttons under them: pairs of what the person reads and what the bot gets back.

    >>> text_content("Window or aisle?", [("Window", "seat:window"), ("Aisle", "seat:aisle")]).text.buttons[1].payload
    'seat:aisle'
    """
    drawn = [each if isinstance(each, Button) else Button(title=each[0], payload=each[1]) for each in buttons]
    return MessageContent(text=TextContent(text=words, buttons=drawn))
