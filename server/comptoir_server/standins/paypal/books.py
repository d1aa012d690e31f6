"""The stand-in's own books: what exists at "PayPal", which is the truth that a client's books are held against.

Amounts are integers in ISO 4217 minor units, times microseconds since the epoch.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from comptoir_server.standins.paypal.accounts import Account
from comptoir_server.standins.paypal.wire import Json


@dataclass(slots=True, eq=False)
class SetupToken:
    """A payer's permission being asked for: PAYER_ACTION_REQUIRED, APPROVED or VAULTED."""

    id: str
    customer_id: str
    wallet: Json
    return_url: str
    cancel_url: str
    create_time: int
    status: str = "PAYER_ACTION_REQUIRED"
    account: Account | None = None


@dataclass(slots=True, eq=False)
class PaymentToken:
    """A permission given: what `vault_id` names, until it is deleted."""

    id: str
    customer_id: str
    wallet: Json
    account: Account
    create_time: int
    deleted: bool = False


@dataclass(slots=True, eq=False)
class Unit:
    """A purchase unit and what was paid for it. `asked` is what the caller sent."""

    reference_id: str
    minor_units: int
    currency_code: str
    asked: Json
    authorizations: list[Authorization] = field(default_factory=list)
    captures: list[Capture] = field(default_factory=list)
    refunds: list[Refund] = field(default_factory=list)

    @property
    def custom_id(self) -> str:
        """The caller's own reference, "" for none."""
        return str(self.asked.get("custom_id", ""))

    @property
    def invoice_id(self) -> str:
        """The caller's invoice number, "" for none."""
        return str(self.asked.get("invoice_id", ""))


@dataclass(slots=True, eq=False)
class Order:
    """An order. `account` is the payer once there is one; `expire_time` ends it while it is unpaid."""

    id: str
    intent: str
    units: list[Unit]
    create_time: int
    expire_time: int
    update_time: int
    status: str = "CREATED"
    account: Account | None = None
    return_url: str = ""
    cancel_url: str = ""

    def expired(self, now: int) -> bool:
        """Whether nobody paid it in time; PayPal then forgets it."""
        return self.status != "COMPLETED" and now >= self.expire_time


@dataclass(slots=True, eq=False)
class Authorization:
    """A hold: CREATED, PARTIALLY_CAPTURED, CAPTURED or VOIDED. `expired` tells why it is VOIDED."""

    id: str
    order: Order
    unit: Unit
    minor_units: int
    create_time: int
    expire_time: int
    update_time: int
    status: str = "CREATED"
    expired: bool = False
    parent: Authorization | None = None
    captures: list[Capture] = field(default_factory=list)

    @property
    def captured(self) -> int:
        """What its captures took, in minor units, those still pending included."""
        return sum(capture.minor_units for capture in self.captures if capture.status != "DECLINED")


@dataclass(slots=True, eq=False)
class Capture:
    """Money taken: PENDING, COMPLETED, DECLINED, PARTIALLY_REFUNDED or REFUNDED."""

    id: str
    order: Order
    unit: Unit
    minor_units: int
    create_time: int
    update_time: int
    status: str
    reason: str
    invoice_id: str
    final: bool
    authorization: Authorization | None = None
    refunds: list[Refund] = field(default_factory=list)

    @property
    def given_back(self) -> int:
        """What refunds and reversals gave back, in minor units, those still pending included."""
        return sum(refund.minor_units for refund in self.refunds if refund.status != "FAILED")

    @property
    def reversed(self) -> bool:
        """Whether PayPal took the money back itself."""
        return any(refund.reversal for refund in self.refunds)


@dataclass(slots=True, eq=False)
class Refund:
    """Money given back: PENDING, COMPLETED or FAILED. A `reversal` was PayPal's decision, not the merchant's."""

    id: str
    capture: Capture
    minor_units: int
    create_time: int
    update_time: int
    status: str
    custom_id: str = ""
    invoice_id: str = ""
    note: str = ""
    reversal: bool = False


@dataclass(frozen=True, slots=True)
class Effect:
    """One thing that happened to money, counted once and never changed."""

    time: int
    kind: str
    id: str
    minor_units: int
    currency_code: str
    custom_id: str
    invoice_id: str
    request_id: str


@dataclass(slots=True)
class Books:
    """Everything there is, by id."""

    orders: dict[str, Order] = field(default_factory=dict)
    authorizations: dict[str, Authorization] = field(default_factory=dict)
    captures: dict[str, Capture] = field(default_factory=dict)
    refunds: dict[str, Refund] = field(default_factory=dict)
    setup_tokens: dict[str, SetupToken] = field(default_factory=dict)
    payment_tokens: dict[str, PaymentToken] = field(default_factory=dict)
    effects: list[Effect] = field(default_factory=list)
    paid_invoice_ids: set[str] = field(default_factory=set)
    """Invoice numbers that a hold or a capture used up."""
    refund_invoice_ids: set[str] = field(default_factory=set)
    """Invoice numbers that a refund used up."""

    def note(
        self, time: int, kind: str, thing: Authorization | Capture | Refund, request_id: str, minor_units: int = -1
    ) -> None:
        """Counts an effect; `minor_units` defaults to the thing's own amount."""
        unit = thing.capture.unit if isinstance(thing, Refund) else thing.unit
        invoice_id = unit.invoice_id if isinstance(thing, Authorization) else thing.invoice_id
        custom_id = unit.custom_id
        amount = thing.minor_units if minor_units < 0 else minor_units
        self.effects.append(Effect(time, kind, thing.id, amount, unit.currency_code, custom_id, invoice_id, request_id))
