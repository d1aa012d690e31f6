"""How people write money and dates, and where they are: language tags, time zones, markets, currencies."""

from __future__ import annotations

import functools
import unicodedata
import zoneinfo
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import iso4217
from babel import Locale, UnknownLocaleError
from babel.core import parse_locale
from babel.dates import format_date, format_time, get_datetime_format
from babel.numbers import NumberPattern, get_currency_symbol, parse_pattern

from comptoir_server.domain.errors import invalid_field
from comptoir_server.domain.money import Money
from comptoir_server.domain.records import record, replace
from comptoir_server.runtime import MICROSECONDS

DEFAULT_LOCALE = "en-US"
DEFAULT_TIME_ZONE = "UTC"

TIME_MAX = 253_370_764_800 * MICROSECONDS
"""The beginning of the year 9999 in UTC: whatever is earlier can be shown in every time zone."""

_SIGN = "¤"
_NO_BREAK_SPACE = "\u00a0"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_NOT_COUNTRIES = frozenset("AC CP CQ DG EA EU EZ IC QO TA UN XA XB XK ZZ".split())
"""Codes of two letters that the Unicode CLDR knows as territories and ISO 3166-1 has not assigned to a country."""


def canonical_locale(tag: str) -> str | None:
    """`tag` as RFC 5646, 2.1.1 writes it (`fr-FR`, `zh-Hant-TW`); None where its money and dates are not known."""
    try:
        language, territory, script, variant = parse_locale(tag, sep="-")[:4]
        known = Locale.parse(tag, sep="-")
    except (ValueError, UnknownLocaleError):
        return None
    if variant or known.language == "root" or not tag.replace("-", "").isalnum():
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
    codes = (str(code) for code in Locale("en").territories)
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


def require_currency(currency_code: str, field: str) -> None:
    """FIELD_INVALID for `field` unless the code is that of a currency with minor units."""
    if decimals(currency_code) is None:
        raise invalid_field(field, "must be an ISO 4217 code of a currency that people pay with, such as EUR.")


@record
class Writer:
    """Writes money and times as one person reads them: `locale` is their BCP 47 tag, `time_zone` an IANA name."""

    locale: str
    time_zone: str

    def money(self, amount: Money) -> str:
        """The amount with all its decimals by ISO 4217, whatever the CLDR would leave out for the currency."""
        pattern, exponent = _money_pattern(self.locale, amount.currency_code)
        value = Decimal(amount.minor_units).scaleb(-exponent)
        text: str = pattern.apply(
            value, babel_locale(self.locale), currency=amount.currency_code, currency_digits=False
        )
        return text

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
def _money_pattern(tag: str, currency_code: str) -> tuple[NumberPattern, int]:
    """How an amount of the currency is written, and its exponent. Raises ValueError for what is no money.

    A letter and a digit do not touch: `KWD 1.500` (Unicode TR 35, part 3, currencySpacing), which Babel leaves out.
    """
    exponent = decimals(currency_code)
    if exponent is None:
        raise ValueError(f"{currency_code} is no currency of ISO 4217 that has minor units")
    locale = babel_locale(tag)
    pattern = parse_pattern(locale.currency_formats["standard"].pattern)
    pattern.frac_prec = (exponent, exponent)
    symbol = get_currency_symbol(currency_code, locale)
    if not unicodedata.category(symbol[-1]).startswith("S"):
        positive, negative = pattern.prefix
        pattern.prefix = (_spaced_after(positive), _spaced_after(negative))
    if not unicodedata.category(symbol[0]).startswith("S"):
        positive, negative = pattern.suffix
        pattern.suffix = (_spaced_before(positive), _spaced_before(negative))
    return pattern, exponent


def _spaced_after(prefix: str) -> str:
    return prefix + _NO_BREAK_SPACE if prefix.endswith(_SIGN) else prefix


def _spaced_before(suffix: str) -> str:
    return _NO_BREAK_SPACE + suffix if suffix.startswith(_SIGN) else suffix
