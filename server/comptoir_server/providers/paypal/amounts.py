"""Amounts: our integer minor units to PayPal's decimal strings and back, exactly or not at all.

Our minor unit is ISO 4217's; PayPal's decimals differ for some currencies (HUF, TWD), so 12.50 HUF
exists in ISO 4217 and cannot be said to PayPal: it is refused, never rounded.
"""

from __future__ import annotations

import re
from decimal import Context, Decimal, Inexact, InvalidOperation

from comptoir_server.domain.money import MINOR_UNITS_MAX
from comptoir_server.providers.paypal.answers import Json, Unreadable, required_text
from comptoir_server.providers.paypal.capabilities import CURRENCIES, iso_decimals

VALUE_MAX = Decimal("999999999999999.99")
"""The largest amount that PayPal takes: 15 digits before the point."""

# The money schema of orders v2, without the sign: nothing that we read may be negative.
_VALUE = re.compile(r"([0-9]+)|([0-9]*[.][0-9]+)")
_EXACT = Context(prec=40, traps=[Inexact, InvalidOperation])


class NotRepresentable(ValueError):
    """An amount that PayPal cannot be asked for in this currency; the text says why."""


def to_money(minor_units: int, currency_code: str) -> dict[str, str]:
    """PayPal's money object for a positive amount. Raises NotRepresentable, never rounds."""
    decimals = CURRENCIES.get(currency_code)
    if decimals is None:
        raise NotRepresentable(f"PayPal does not take {currency_code}.")
    if not 0 < minor_units <= MINOR_UNITS_MAX:
        raise NotRepresentable("The amount must be positive and at most 2^53 - 1 minor units.")
    amount = Decimal(minor_units).scaleb(-iso_decimals(currency_code), _EXACT)
    try:
        value = amount.quantize(Decimal(1).scaleb(-decimals), context=_EXACT)
    except Inexact:
        raise NotRepresentable(f"PayPal takes {currency_code} with {decimals} decimals only.") from None
    if value > VALUE_MAX:
        raise NotRepresentable(f"PayPal takes at most {VALUE_MAX} {currency_code}.")
    return {"currency_code": currency_code, "value": format(value, "f")}


def from_money(money: Json) -> tuple[int, str]:
    """Minor units and currency code of PayPal's money object. Raises Unreadable, never rounds."""
    currency_code = required_text(money, "currency_code")
    value = required_text(money, "value")
    if currency_code not in CURRENCIES or len(value) > 32 or not _VALUE.fullmatch(value):
        raise Unreadable("amount")
    scaled = Decimal(value).scaleb(iso_decimals(currency_code), _EXACT)
    minor_units = int(scaled)
    if minor_units != scaled or minor_units > MINOR_UNITS_MAX:
        raise Unreadable("amount")
    return minor_units, currency_code
