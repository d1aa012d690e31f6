"""Sums, shares and prices: exact, or refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from comptoir_server.domain import ledger, money
from comptoir_server.domain.checkouts import Adjustment, AdjustmentKind, LineItem, require_sums
from comptoir_server.domain.errors import Reason, Refused
from comptoir_server.domain.ledger import AccountKind, Line, account_key, capture_lines, refund_lines
from comptoir_server.domain.money import MINOR_UNITS_MAX, Money

SHARES = [
    (24_000, 100, 240),
    (50, 100, 1),
    (49, 100, 0),
    (4_999, 1, 0),
    (333, 150, 5),
    (1, 5_000, 1),
    (-50, 100, -1),
    (-49, 100, 0),
    (-1, 10_000, -1),
    (0, 150, 0),
    (MINOR_UNITS_MAX, 10_000, MINOR_UNITS_MAX),
]


def item(amount: int, quantity: int = 1, unit_amount: int | None = None) -> LineItem:
    """A line of a price."""
    return LineItem("Flight", "", quantity, amount if unit_amount is None else unit_amount, amount, "CM417")


def refused(work: Callable[[], object]) -> Refused:
    """Why something is refused."""
    with pytest.raises(Refused) as refusal:
        work()
    assert refusal.value.reason == Reason.AMOUNT_MISMATCH
    return refusal.value


def test_no_amount_grows_beyond_what_every_language_keeps_exactly() -> None:
    assert money.total([MINOR_UNITS_MAX, -1, 1]) == MINOR_UNITS_MAX
    refused(lambda: money.total([MINOR_UNITS_MAX, 1]))
    refused(lambda: money.total([-MINOR_UNITS_MAX, -1]))
    refused(lambda: Money(MINOR_UNITS_MAX, "USD") + Money(1, "USD"))


def test_an_amount_may_be_as_large_as_a_number_of_javascript_is_exact() -> None:
    assert MINOR_UNITS_MAX == 9_007_199_254_740_991
    assert money.checked(MINOR_UNITS_MAX) == MINOR_UNITS_MAX
    assert money.checked(-MINOR_UNITS_MAX) == -MINOR_UNITS_MAX
    assert Money(1, "USD") + Money(2, "USD") == Money(3, "USD")


def test_amounts_of_two_currencies_are_never_added() -> None:
    refused(lambda: Money(1, "USD") + Money(1, "JPY"))
    refused(lambda: Money(1, "USD") - Money(1, "JPY"))
    assert Money(3, "USD") - Money(1, "USD") == Money(2, "USD")


@pytest.mark.parametrize(("amount", "basis_points", "share"), SHARES)
def test_a_fee_is_rounded_half_away_from_zero(amount: int, basis_points: int, share: int) -> None:
    assert money.share(amount, basis_points) == share


@pytest.mark.parametrize("amount", [1, 49, 50, 333, 10_050, MINOR_UNITS_MAX])
@pytest.mark.parametrize("basis_points", [0, 1, 150, 10_000])
def test_the_lines_of_the_books_are_zero_together_and_none_is_empty(amount: int, basis_points: int) -> None:
    for lines in (capture_lines("paypal", "prt", amount, basis_points), refund_lines("paypal", "prt", amount)):
        assert sum(line.minor_units for line in lines) == 0
        assert all(line.minor_units for line in lines)


def test_a_capture_is_held_by_the_provider_and_owed_to_the_partner_less_our_fee() -> None:
    assert capture_lines("paypal", "prt_1", 10_050, 150) == (
        Line(AccountKind.PROVIDER_CLEARING, "paypal", -10_050),
        Line(AccountKind.PARTNER_PAYABLE, "prt_1", 9_899),
        Line(AccountKind.PLATFORM_FEES, "", 151),
    )


def test_a_refund_is_taken_from_the_partner_and_leaves_our_fee_with_us() -> None:
    assert refund_lines("paypal", "prt_1", 333) == (
        Line(AccountKind.PROVIDER_CLEARING, "paypal", 333),
        Line(AccountKind.PARTNER_PAYABLE, "prt_1", -333),
    )


def test_lines_that_are_not_zero_together_are_never_written() -> None:
    with pytest.raises(AssertionError, match="must sum to zero"):
        ledger._balanced(Line(AccountKind.PLATFORM_FEES, "", 1))


def test_an_account_is_named_by_its_kind_its_owner_and_its_currency() -> None:
    assert account_key(AccountKind.PARTNER_PAYABLE, "prt_1", "JPY") == "PARTNER_PAYABLE:prt_1:JPY"
    assert account_key(AccountKind.PLATFORM_FEES, "", "USD") == "PLATFORM_FEES::USD"


def test_the_parts_of_a_price_make_its_total() -> None:
    items = (item(2_000, quantity=2, unit_amount=1_000), item(500))
    tax, discount = Adjustment(AdjustmentKind.TAX, "Tax", 250), Adjustment(AdjustmentKind.DISCOUNT, "Spring", 300)

    require_sums(items, (tax, discount), 2_450)

    assert refused(lambda: require_sums(items, (tax, discount), 2_451)).metadata == {
        "expected": "2450",
        "given": "2451",
    }
    assert refused(lambda: require_sums((item(1_999, 2, 1_000),), (), 1_999)).metadata["expected"] == "2000"


@pytest.mark.parametrize("discount", [500, 501])
def test_a_price_of_nothing_or_less_is_refused(discount: int) -> None:
    taken_off = (Adjustment(AdjustmentKind.DISCOUNT, "Spring", discount),)

    refusal = refused(lambda: require_sums((item(500),), taken_off, 500 - discount))

    assert refusal.metadata == {"expected": "1", "given": str(500 - discount)}
