"""What was bought, as it was agreed to."""

from __future__ import annotations

from enum import StrEnum

from comptoir_server.domain.checkouts import Adjustment, LineItem
from comptoir_server.domain.records import record


class OrderState(StrEnum):
    """Where an order stands."""

    OPEN = "OPEN"
    CANCELED = "CANCELED"


class OrderCommand(StrEnum):
    """What moves an order."""

    CANCEL = "CANCEL"


ORDER_TRANSITIONS: dict[tuple[OrderState, OrderCommand], OrderState] = {
    (OrderState.OPEN, OrderCommand.CANCEL): OrderState.CANCELED,
    (OrderState.CANCELED, OrderCommand.CANCEL): OrderState.CANCELED,
}


@record
class Order:
    """What was bought; `total` is never rewritten, `refunded` grows beside it. Minor units of `currency_code`."""

    id: str
    checkout_id: str
    payment_id: str
    partner_id: str
    bot_id: str
    session_id: str
    user_id: str
    channel_id: str
    state: OrderState
    partner_reference: str
    currency_code: str
    total: int
    refunded: int
    items: tuple[LineItem, ...]
    adjustments: tuple[Adjustment, ...]
    create_time: int
