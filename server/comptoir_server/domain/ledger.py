"""The books: double entry, append-only, zero-sum per currency."""

from __future__ import annotations

from enum import StrEnum

from comptoir_server.domain import money
from comptoir_server.domain.records import record


class AccountKind(StrEnum):
    """What an account holds."""

    PROVIDER_CLEARING = "PROVIDER_CLEARING"
    PARTNER_PAYABLE = "PARTNER_PAYABLE"
    PLATFORM_FEES = "PLATFORM_FEES"


class Effect(StrEnum):
    """What caused a journal transaction; one of each an object, ever."""

    CAPTURE = "capture"
    REFUND = "refund"


@record
class Account:
    """One account in one currency. `key` names it uniquely: kind, owner and currency."""

    id: str
    key: str
    kind: AccountKind
    partner_id: str
    provider: str
    currency_code: str


@record
class JournalTransaction:
    """What one effect of one object did to the books. `position` is its place in commit order."""

    id: str
    object_id: str
    effect: Effect
    currency_code: str
    position: int
    create_time: int


@record
class Posting:
    """One line: positive `minor_units` credit the account. The lines of a transaction sum to zero."""

    transaction_id: str
    line: int
    account_id: str
    currency_code: str
    minor_units: int


@record
class Line:
    """One line before its account has an id."""

    kind: AccountKind
    owner: str
    minor_units: int


def account_key(kind: AccountKind, owner: str, currency_code: str) -> str:
    """The unique name of an account; `owner` is the partner or the provider, empty for fees."""
    return f"{kind}:{owner}:{currency_code}"


def capture_lines(provider: str, partner_id: str, amount: int, fee_basis_points: int) -> tuple[Line, ...]:
    """A capture: the provider holds `amount` for us, we owe the partner that less the fee."""
    fee = money.share(amount, fee_basis_points)
    return _balanced(
        Line(AccountKind.PROVIDER_CLEARING, provider, -amount),
        Line(AccountKind.PARTNER_PAYABLE, partner_id, amount - fee),
        Line(AccountKind.PLATFORM_FEES, "", fee),
    )


def refund_lines(provider: str, partner_id: str, amount: int) -> tuple[Line, ...]:
    """A refund: the provider gave `amount` back, we owe the partner that much less; the fee is kept."""
    return _balanced(
        Line(AccountKind.PROVIDER_CLEARING, provider, amount),
        Line(AccountKind.PARTNER_PAYABLE, partner_id, -amount),
    )


def _balanced(*lines: Line) -> tuple[Line, ...]:
    if money.total(line.minor_units for line in lines) != 0:
        raise AssertionError("the lines of a journal transaction must sum to zero")
    return tuple(line for line in lines if line.minor_units)
