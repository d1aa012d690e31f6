"""What providers told us, kept before it is acknowledged."""

from __future__ import annotations

from enum import StrEnum

from comptoir_server.domain.records import record


class DeliveryState(StrEnum):
    """Where a delivery stands."""

    STORED = "STORED"
    PROCESSED = "PROCESSED"
    FOREIGN = "FOREIGN"


class DeliveryCommand(StrEnum):
    """What moves a delivery."""

    PROCESS = "PROCESS"
    DISOWN = "DISOWN"


DELIVERY_TRANSITIONS: dict[tuple[DeliveryState, DeliveryCommand], DeliveryState] = {
    (DeliveryState.STORED, DeliveryCommand.PROCESS): DeliveryState.PROCESSED,
    (DeliveryState.STORED, DeliveryCommand.DISOWN): DeliveryState.FOREIGN,
    (DeliveryState.FOREIGN, DeliveryCommand.PROCESS): DeliveryState.PROCESSED,
}

FOREIGN_SECONDS = 7 * 24 * 3600
"""How long a delivery about an unknown object waits for it before it is listed as foreign."""


@record
class Delivery:
    """One verified webhook: its notice in our words, canonical JSON. `next_time` is when to try it again."""

    provider: str
    event_id: str
    event_type: str
    state: DeliveryState
    notice: str
    tries: int
    next_time: int
    create_time: int
