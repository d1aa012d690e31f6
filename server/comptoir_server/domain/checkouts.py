"""What a partner asks a person to pay, and the person's yes to one version of it."""

from __future__ import annotations

from enum import StrEnum

from comptoir_server.domain import money, transitions
from comptoir_server.domain.errors import Reason, Refused
from comptoir_server.domain.records import record, replace


class CheckoutState(StrEnum):
    """Where a checkout stands."""

    OPEN = "OPEN"
    PROCESSING = "PROCESSING"
    REQUIRES_ACTION = "REQUIRES_ACTION"
    COMPLETED = "COMPLETED"
    CANCELED = "CANCELED"
    EXPIRED = "EXPIRED"


class CheckoutCommand(StrEnum):
    """What moves a checkout."""

    UPDATE = "UPDATE"
    CONFIRM = "CONFIRM"
    REQUIRE_ACTION = "REQUIRE_ACTION"
    RESUME = "RESUME"
    SUCCEED = "SUCCEED"
    REOPEN = "REOPEN"
    CANCEL = "CANCEL"
    ABANDON = "ABANDON"
    EXPIRE = "EXPIRE"


_S, _C = CheckoutState, CheckoutCommand

CHECKOUT_TRANSITIONS: dict[tuple[CheckoutState, CheckoutCommand], CheckoutState] = {
    (_S.OPEN, _C.UPDATE): _S.OPEN,
    (_S.OPEN, _C.CONFIRM): _S.PROCESSING,
    (_S.OPEN, _C.CANCEL): _S.CANCELED,
    (_S.OPEN, _C.EXPIRE): _S.EXPIRED,
    (_S.PROCESSING, _C.REQUIRE_ACTION): _S.REQUIRES_ACTION,
    (_S.PROCESSING, _C.SUCCEED): _S.COMPLETED,
    (_S.PROCESSING, _C.REOPEN): _S.OPEN,
    (_S.PROCESSING, _C.ABANDON): _S.CANCELED,
    (_S.REQUIRES_ACTION, _C.RESUME): _S.PROCESSING,
    (_S.REQUIRES_ACTION, _C.SUCCEED): _S.COMPLETED,
    (_S.REQUIRES_ACTION, _C.REOPEN): _S.OPEN,
    (_S.REQUIRES_ACTION, _C.CANCEL): _S.CANCELED,
    (_S.REQUIRES_ACTION, _C.ABANDON): _S.CANCELED,
    (_S.REQUIRES_ACTION, _C.EXPIRE): _S.EXPIRED,
    (_S.CANCELED, _C.CANCEL): _S.CANCELED,
}
"""ABANDON is a cancel that was asked for while a payment was being confirmed and acts on evidence."""

TERMINAL = frozenset({_S.COMPLETED, _S.CANCELED, _S.EXPIRED})

DEFAULT_SECONDS = 30 * 60
"""How long a checkout can be confirmed where its maker does not say."""

SECONDS_MAX = 7 * 24 * 3600
"""The longest that a checkout can be confirmed."""


class CaptureMode(StrEnum):
    """When the money is taken."""

    AUTOMATIC = "AUTOMATIC"
    MANUAL = "MANUAL"


class AdjustmentKind(StrEnum):
    """What is added to the items, or taken off them."""

    TAX = "TAX"
    SHIPPING = "SHIPPING"
    FEE = "FEE"
    DISCOUNT = "DISCOUNT"


@record
class LineItem:
    """One thing that is bought; amounts in minor units of the checkout's currency."""

    title: str
    description: str
    quantity: int
    unit_amount: int
    amount: int
    item_reference: str


@record
class Adjustment:
    """What is added, or taken off where it is a DISCOUNT; 0 or more, in minor units."""

    kind: AdjustmentKind
    label: str
    amount: int


@record
class Checkout:
    """What is to be paid. `attempt_version` is the version that the last attempt said yes to, 0 before the first."""

    id: str
    partner_id: str
    bot_id: str
    session_id: str
    user_id: str
    bot_user_id: str
    channel_id: str
    state: CheckoutState
    version: int
    attempt_version: int
    partner_reference: str
    statement_descriptor: str
    metadata: dict[str, str]
    currency_code: str
    total: int
    items: tuple[LineItem, ...]
    adjustments: tuple[Adjustment, ...]
    capture_mode: CaptureMode
    payment_ids: tuple[str, ...]
    order_id: str
    replaces_checkout_id: str
    cancel_requested: bool
    create_time: int
    update_time: int
    expire_time: int

    def move(self, command: CheckoutCommand, now: int) -> Checkout:
        """This checkout after `command`; INVALID_STATE where the table has no way."""
        state = transitions.move("checkout", CHECKOUT_TRANSITIONS, self.state, command)
        return replace(self, state=state, update_time=now)

    def require_version(self, version: int) -> None:
        """VERSION_STALE unless `version` is the current one."""
        if version != self.version:
            raise Refused(
                Reason.VERSION_STALE,
                f"The checkout is at version {self.version}, not {version}; nothing was charged. "
                "Show the new version and ask again.",
                version=version,
                current_version=self.version,
            )

    def require_unexpired(self, now: int) -> None:
        """CHECKOUT_EXPIRED once the clock has passed `expire_time`."""
        if now >= self.expire_time:
            raise expired(self)


def expired(checkout: Checkout) -> Refused:
    """The refusal of a checkout whose time ran out."""
    return Refused(
        Reason.CHECKOUT_EXPIRED,
        "The checkout's time ran out before it was confirmed; nothing was charged. Make a new checkout.",
        expire_time=checkout.expire_time,
    )


def require_sums(items: tuple[LineItem, ...], adjustments: tuple[Adjustment, ...], total: int) -> None:
    """AMOUNT_MISMATCH unless quantity times unit is each amount, and items and adjustments make `total`, above 0."""
    for number, item in enumerate(items):
        _require_equal(f"items[{number}].amount", money.checked(item.quantity * item.unit_amount), item.amount)
    signed = [-a.amount if a.kind == AdjustmentKind.DISCOUNT else a.amount for a in adjustments]
    expected = money.total([*(item.amount for item in items), *signed])
    _require_equal("total", expected, total)
    if total <= 0:
        raise Refused(Reason.AMOUNT_MISMATCH, "The total must be more than 0.", expected=1, given=total)


def _require_equal(what: str, expected: int, given: int) -> None:
    if expected != given:
        raise Refused(
            Reason.AMOUNT_MISMATCH,
            f"{what} should be {expected} minor units, not {given}. Mend the sums.",
            expected=expected,
            given=given,
        )
