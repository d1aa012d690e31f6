"""Money: an integer number of minor units and one ISO 4217 currency. Never a float."""

from __future__ import annotations

from collections.abc import Iterable

from comptoir_server.domain.errors import Reason, Refused
from comptoir_server.domain.records import record

MINOR_UNITS_MAX = 2**53 - 1
"""The largest amount that every language of a partner reads exactly (JSON numbers in JavaScript)."""


@record
class Money:
    """An amount in the minor unit of its currency: 1250 EUR is 12.50 euro, 1250 JPY is 1250 yen."""

    minor_units: int
    currency_code: str

    def __add__(self, other: Money) -> Money:
        self._require_same(other)
        return Money(checked(self.minor_units + other.minor_units), self.currency_code)

    def __sub__(self, other: Money) -> Money:
        self._require_same(other)
        return Money(checked(self.minor_units - other.minor_units), self.currency_code)

    def _require_same(self, other: Money) -> None:
        if self.currency_code != other.currency_code:
            raise Refused(
                Reason.AMOUNT_MISMATCH,
                f"{self.currency_code} and {other.currency_code} cannot be added: use one currency a checkout.",
            )


def checked(minor_units: int) -> int:
    """`minor_units` unchanged, or AMOUNT_MISMATCH when it is larger than any amount we can keep exactly."""
    if not -MINOR_UNITS_MAX <= minor_units <= MINOR_UNITS_MAX:
        raise Refused(Reason.AMOUNT_MISMATCH, f"The amount is larger than {MINOR_UNITS_MAX} minor units.")
    return minor_units


def total(parts: Iterable[int]) -> int:
    """The sum of `parts` in minor units, checked where it is made."""
    return checked(sum(parts))


def share(minor_units: int, basis_points: int) -> int:
    """`basis_points` hundredths of a percent of `minor_units`, halves away from zero, in minor units.

    `share(x, b)` and `x - share(x, b)` always add up to `x`: no minor unit is lost.
    """
    product = abs(minor_units) * basis_points
    part = (product + 5_000) // 10_000
    return part if minor_units >= 0 else -part
