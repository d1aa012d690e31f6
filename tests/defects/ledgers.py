"""Defects in amounts: what may be given back, how it is booked, and how it is counted."""

from __future__ import annotations

from comptoir_server.app import books, payments, refunding
from comptoir_server.domain import checkouts, ledger, money
from comptoir_server.providers.paypal import amounts
from comptoir_server.store.tables import CAPTURES, JOURNAL, PAYMENTS, REFUNDS
from comptoir_server.transport import fields
from tests.defects.planting import drop_constraint, rewrite
from tests.defects.registry import Kind, defect

TRAFFIC = "integration/test_check.py::test_real_traffic_breaks_nothing_and_every_invariant_has_rows[sqlite]"
LAST_WORD = "integration/test_last_word.py::test_the_database_itself_refuses_what_must_never_be[sqlite]"
REFUND_RACE = (
    "integration/test_confirm.py::test_two_refunds_of_the_rest_at_once_never_give_back_more_than_was_taken[sqlite]"
)


@defect(Kind.REFUNDED_TOO_MUCH, REFUND_RACE)
def refund_is_not_reserved() -> None:
    """What a refund under way will take is free for the next one."""
    rewrite(refunding.reserve, "refunding=payment.refunding + amount", "refunding=payment.refunding")
    rewrite(refunding.reserve, "refunding=capture.refunding + amount", "refunding=capture.refunding")


@defect(Kind.REFUNDED_TOO_MUCH, LAST_WORD)
def refund_over_captured() -> None:
    """The database keeps refunds beyond what was captured."""
    drop_constraint(PAYMENTS, "payments_refund_within_capture")


@defect(Kind.WRONG_SIGN, "integration/test_evidence.py::test_a_refund_of_nothing_or_less_is_refused_and_nothing_moves")
def refunds_of_less_than_nothing() -> None:
    """A negative refund always fits."""
    rewrite(payments._amount, "if amount.minor_units <= 0:", "if False:")
    rewrite(payments._refundable_capture, "if 0 < wanted <= capture.refundable:", "if wanted <= capture.refundable:")
    drop_constraint(REFUNDS, "refunds_amount")


@defect(Kind.WRONG_SIGN, "unit/test_boundary_fields.py::test_money_is_exact_in_every_language_and_has_a_currency")
def negative_money_passes_the_door() -> None:
    """Amounts below zero are let in."""
    rewrite(fields._money, "not 0 <= value", "not -MINOR_UNITS_MAX <= value")


@defect(Kind.WRONG_SIGN, "unit/test_money.py::test_a_price_of_nothing_or_less_is_refused")
def free_checkouts() -> None:
    """A discount may eat up the price, and more."""
    rewrite(checkouts.require_sums, "if total <= 0:", "if False:")


@defect(Kind.OWN, "unit/test_money.py::test_the_parts_of_a_price_make_its_total")
def sums_are_not_checked() -> None:
    """The total is whatever the partner says."""
    rewrite(checkouts.require_sums, '    _require_equal("total", expected, total)\n', "")


@defect(Kind.OWN, "unit/test_money.py::test_no_amount_grows_beyond_what_every_language_keeps_exactly")
def sums_overflow() -> None:
    """Sums grow beyond what partners can read exactly."""
    rewrite(money.checked, "if not -MINOR_UNITS_MAX <= minor_units <= MINOR_UNITS_MAX:", "if False:")


@defect(Kind.MINOR_UNITS, "unit/test_money.py::test_a_fee_is_rounded_half_away_from_zero")
def fee_is_rounded_down() -> None:
    """A fee loses its half cent."""
    rewrite(money.share, "product + 5_000", "product")


@defect(Kind.MINOR_UNITS, "unit/test_paypal_convert.py::test_an_amount_is_said_in_the_decimals_that_paypal_takes")
def yen_times_a_hundred() -> None:
    """Yen are asked for a hundred times."""
    rewrite(
        amounts.to_money,
        "-iso_decimals(currency_code)",
        '2 if currency_code == "JPY" else -iso_decimals(currency_code)',
    )


@defect(
    Kind.MINOR_UNITS,
    "unit/test_paypal_convert.py::test_an_amount_that_paypal_cannot_take_is_refused_and_never_rounded",
)
def amounts_are_rounded() -> None:
    """What a provider cannot be asked for is rounded to what it can."""
    rewrite(amounts.to_money, "context=_EXACT)", "context=Context(prec=40))")


@defect(Kind.COMPLETED_TWICE, TRAFFIC)
def double_posting() -> None:
    """An effect is booked twice, and the database lets it."""
    drop_constraint(JOURNAL, "journal_one_effect")
    rewrite(
        books.post,
        '    transaction_id = tx.new_id("txn")\n',
        "    if not hasattr(lines, 'again'):\n"
        "        class Again(tuple):\n            again = True\n"
        "        await post(tx, object_id, effect, currency_code, Again(lines))\n"
        '    transaction_id = tx.new_id("txn")\n',
    )


@defect(Kind.COMPLETED_TWICE, LAST_WORD)
def double_posting_is_not_refused() -> None:
    """The database keeps two journal transactions of one effect."""
    drop_constraint(JOURNAL, "journal_one_effect")


@defect(Kind.OWN, "integration/test_ledgers.py::test_a_capture_and_its_refund_leave_every_currency_at_zero[sqlite]")
def unbalanced_posting() -> None:
    """What we owe the partner and our fee are more than was taken."""
    rewrite(ledger._balanced, "if money.total(line.minor_units for line in lines) != 0:", "if False:")
    rewrite(ledger.capture_lines, "amount - fee", "amount")


@defect(
    Kind.OWN, "integration/test_evidence.py::test_a_refund_of_more_than_is_left_is_refused_and_nothing_moves[sqlite]"
)
def refunds_are_not_held_against_the_capture() -> None:
    """Whatever is asked for is given back."""
    rewrite(payments._refundable_capture, "if 0 < wanted <= capture.refundable:", "if True:")
    drop_constraint(PAYMENTS, "payments_refund_within_capture")
    drop_constraint(CAPTURES, "captures_refund_within_capture")
