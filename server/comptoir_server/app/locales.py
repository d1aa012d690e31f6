"""How people write money and dates, and where they are: language tags, time zones, markets, currencies."""

from __future__ import annotations

import functools
import zoneinfo
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import iso4217
from babel import Locale, UnknownLocaleError
from babel.core import parse_locale
from babel.dates import format_date, format_time, get_datetime_format
from babel.numbers import NumberPattern, parse_pattern

from comptoir_server.domain.money import Money
from comptoir_server.runtime import MICROSECONDS

DEFAULT_LOCALE = "en-US"
DEFAULT_TIME_ZONE = "UTC"

TIME_MAX = 253_370_764_800 * MICROSECONDS
"""The beginning of the year 9999 in UTC: whatever is earlier can be shown in every time zone."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_NOT_COUNTRIES = frozenset("AC CP CQ DG EA EU EZ IC QO TA UN XA XB XK ZZ".split())
"""Codes of two letters that the Unicode CLDR knows as territories and ISO 3166-1 has not assigned to a country."""


def canonical_locale(tag: str) -> str | None:
    """`tag` as RFC 5646, 2.1.1 writes it (`fr-FR`, `zh-Hant-TW`); None where its money and dates are not known."""
    try:
        parts = parse_locale(tag, sep="-")
        known = Locale(*parts[:4])
    except (ValueError, UnknownLocaleError):
        return None
    language, territory, script, variant = parts[:4]
    if variant or str(known) == "root" or not tag.replace("-", "").isalnum():
        return None
    return "-".join(part for part in (language, script, territory) if part)


@functools.cache
def babel_locale(tag: str) -> Locale:
    """What is known of a tag that `canonical_locale` has answered. Raises UnknownLocaleError for any other."""
    return Locale.parse(tag, sep="-")


@functools.cache
def _time_zones() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones())


def is_time_zone(name: str) -> bool:
    """True for an IANA time zone name."""
    return name in _time_zones()


@functools.cache
def _markets() -> frozenset[str]:
    codes = Locale("en").territories
    return frozenset(code for code in codes if len(code) == 2 and code.isalpha()) - _NOT_COUNTRIES


def is_market(code: str) -> bool:
    """True for an ISO 3166-1 alpha-2 code, in upper case."""
    return code in _markets()


@functools.cache
def decimals(currency_code: str) -> int | None:
    """The exponent of the currency in ISO 4217: 2 for EUR, 0 for JPY, 3 for KWD; None where it is no money."""
    try:
        currency = iso4217.Currency(currency_code)
    except ValueError:
        return None
    return None if currency.exponent is None else int(currency.exponent)


@dataclass(frozen=True, slots=True)
class Writer:
    """Writes money and times as one person reads them: `locale` is their BCP 47 tag, `time_zone` an IANA name."""

    locale: str
    time_zone: str

    def money(self, amount: Money) -> str:
        """The amount with all its decimals by ISO 4217, whatever the CLDR would leave out for the currency."""
        exponent = decimals(amount.currency_code)
        if exponent is None:
            raise ValueError(f"{amount.currency_code} is no currency of ISO 4217 that has minor units")
        value = Decimal(amount.minor_units).scaleb(-exponent)
        pattern = _money_pattern(self.locale, exponent)
        return pattern.apply(value, babel_locale(self.locale), currency=amount.currency_code, currency_digits=False)

    def moment(self, time: int) -> str:
        """The instant `time` (microseconds, before TIME_MAX) on the person's calendar and clock, to the minute.

        UTC is named: it is where people are whose time zone nobody told, and they must be able to see that.
        """
        locale = babel_locale(self.locale)
        zone = zoneinfo.ZoneInfo(self.time_zone or DEFAULT_TIME_ZONE)
        local = (_EPOCH + timedelta(microseconds=time)).astimezone(zone)
        glue = str(get_datetime_format("medium", locale=locale)).replace("'", "")
        clock = format_time(local, "short", tzinfo=zone, locale=locale)
        text = glue.replace("{0}", clock).replace("{1}", format_date(local, "medium", locale=locale))
        return text if zone.key != DEFAULT_TIME_ZONE else f"{text} UTC"

    def at(self, time_zone: str) -> Writer:
        """The same person, reading the clocks of another place."""
        return replace(self, time_zone=time_zone)


@functools.cache
def _money_pattern(tag: str, exponent: int) -> NumberPattern:
    pattern = parse_pattern(babel_locale(tag).currency_formats["standard"].pattern)
    pattern.frac_prec = (exponent, exponent)
    return pattern
