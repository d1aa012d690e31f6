"""PayPal's money, `{"currency_code": "EUR", "value": "12.50"}`, to integers in ISO 4217 minor units and back.

PayPal takes no decimals for HUF, JPY and TWD and at most two elsewhere, whereas ISO 4217 gives HUF
and TWD two. The books count in ISO minor units, so that they can be compared with a ledger that does.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import Any

from comptoir_server.standins.paypal.errors import Refusal
from comptoir_server.standins.paypal.wire import Json

_TWO_DECIMALS = "AUD BRL CAD CHF CNY CZK DKK EUR GBP HKD ILS MXN MYR NOK NZD PHP PLN SEK SGD THB USD"

PAYPAL_DECIMALS = MappingProxyType({**dict.fromkeys(_TWO_DECIMALS.split(), 2), "HUF": 0, "JPY": 0, "TWD": 0})
ISO_DECIMALS = MappingProxyType({**dict.fromkeys(PAYPAL_DECIMALS, 2), "JPY": 0})

VALUE_MAX = Decimal("999999999999999.99")
FEE_PERMILLE = 29
FEE_FIXED = 30


def read_money(money: Mapping[str, Any], pointer: str, *, zero: bool = False, without_decimals: str) -> tuple[int, str]:
    """Minor units and currency of a `money` whose form was checked already.

    `without_decimals` is the issue for decimals in a currency that has none: the documents list
    DECIMALS_NOT_SUPPORTED for payments, and DECIMAL_PRECISION for orders. Raises Refusal.
    """
    code, written = str(money["currency_code"]), str(money["value"])
    if code not in PAYPAL_DECIMALS:
        raise Refusal("INVALID_CURRENCY_CODE", f"{pointer}/currency_code", code)
    value = Decimal(written)
    if value < 0 and zero:
        raise Refusal("CANNOT_BE_NEGATIVE", f"{pointer}/value", written)
    if value <= 0 and not zero:
        raise Refusal("CANNOT_BE_ZERO_OR_NEGATIVE", f"{pointer}/value", written)
    if value > VALUE_MAX:
        raise Refusal("MAX_VALUE_EXCEEDED", f"{pointer}/value", written)
    if "." in written and PAYPAL_DECIMALS[code] == 0:
        raise Refusal(without_decimals, f"{pointer}/value", written)
    if len(written.partition(".")[2]) > PAYPAL_DECIMALS[code]:
        raise Refusal("DECIMAL_PRECISION", f"{pointer}/value", written)
    return int(value.scaleb(ISO_DECIMALS[code])), code


def write_money(minor_units: int, currency_code: str) -> Json:
    """The `money` of an amount in minor units."""
    value = Decimal(minor_units).scaleb(-ISO_DECIMALS[currency_code])
    return {"currency_code": currency_code, "value": f"{value:.{PAYPAL_DECIMALS[currency_code]}f}"}


def smallest(currency_code: str) -> int:
    """PayPal's smallest amount of a currency in minor units: 100 for HUF and TWD, 1 for the others."""
    return int(10 ** (ISO_DECIMALS[currency_code] - PAYPAL_DECIMALS[currency_code]))


def fee_of(minor_units: int, currency_code: str) -> int:
    """The stand-in's fee: 2.9 per cent, halves up, and 30 of PayPal's smallest unit; never more than the amount."""
    unit = smallest(currency_code)
    fee = (minor_units // unit * FEE_PERMILLE + 500) // 1_000 + FEE_FIXED
    return min(fee * unit, minor_units)
