"""What PayPal can do: currencies with their decimals, how long it remembers a key, how long a call may take.

Sources: the server's texts of PayPal-Request-Id (6 hours on orders, 45 days on payments) in the
orders v2 and payments v2 documents; PayPal's page of currency codes.
"""

from __future__ import annotations

from types import MappingProxyType

from iso4217 import Currency

from comptoir_server.app.ports import Capabilities, OperationKind

HOUR_SECONDS = 3_600
DAY_SECONDS = 24 * HOUR_SECONDS

CURRENCY_CODES = ("AUD BRL CAD CHF CZK DKK EUR GBP HKD HUF ILS JPY MXN MYR NOK NZD PHP PLN SEK SGD THB TWD USD").split()

WITHOUT_DECIMALS = frozenset({"HUF", "JPY", "TWD"})
"""PayPal takes no decimals for these, although ISO 4217 gives HUF and TWD two."""

DECIMALS_MAX = 2


def iso_decimals(currency_code: str) -> int:
    """The number of decimals of `currency_code` in ISO 4217, which is what our minor units count in."""
    return int(Currency(currency_code).exponent or 0)


def _decimals(currency_code: str) -> int:
    if currency_code in WITHOUT_DECIMALS:
        return 0
    return min(DECIMALS_MAX, iso_decimals(currency_code))


CURRENCIES = MappingProxyType({code: _decimals(code) for code in CURRENCY_CODES})
"""Currency code to the number of decimals that PayPal accepts."""

KEY_TTL_SECONDS = MappingProxyType(
    {
        OperationKind.CHARGE: 6 * HOUR_SECONDS,
        OperationKind.AUTHORIZE: 6 * HOUR_SECONDS,
        OperationKind.CAPTURE: 45 * DAY_SECONDS,
        OperationKind.VOID: 45 * DAY_SECONDS,
        OperationKind.REFUND: 45 * DAY_SECONDS,
    }
)


def paypal_capabilities(call_limit_seconds: float, settle_seconds: int) -> Capabilities:
    """PayPal's capabilities, with the limit of one call and the time until absence is proof as configured."""
    return Capabilities(
        name="paypal",
        display_name="PayPal",
        key_ttl_seconds=KEY_TTL_SECONDS,
        settle_seconds=settle_seconds,
        call_limit_seconds=call_limit_seconds,
        prepares=True,
        currencies=CURRENCIES,
    )
