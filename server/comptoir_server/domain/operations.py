"""What we asked a provider to do, and how sure we are of what became of it."""

from __future__ import annotations

from enum import StrEnum

from comptoir_server.domain import transitions
from comptoir_server.domain.records import record, replace


class OperationState(StrEnum):
    """How much is known. Never leaves the server; payment, capture and refund show it in their own words."""

    PROCESSING = "PROCESSING"
    IN_DOUBT = "IN_DOUBT"
    WAITING = "WAITING"
    DONE = "DONE"


class OperationCommand(StrEnum):
    """What moves an operation."""

    DOUBT = "DOUBT"
    WAIT = "WAIT"
    FINISH = "FINISH"


_S, _C = OperationState, OperationCommand

OPERATION_TRANSITIONS: dict[tuple[OperationState, OperationCommand], OperationState] = {
    (_S.PROCESSING, _C.DOUBT): _S.IN_DOUBT,
    (_S.PROCESSING, _C.WAIT): _S.WAITING,
    (_S.PROCESSING, _C.FINISH): _S.DONE,
    (_S.IN_DOUBT, _C.DOUBT): _S.IN_DOUBT,
    (_S.IN_DOUBT, _C.WAIT): _S.WAITING,
    (_S.IN_DOUBT, _C.FINISH): _S.DONE,
    (_S.WAITING, _C.DOUBT): _S.WAITING,
    (_S.WAITING, _C.WAIT): _S.WAITING,
    (_S.WAITING, _C.FINISH): _S.DONE,
}
"""WAITING: the provider has it for certain and decides later (pending, or the payer must act); that is no doubt."""

SCHEDULE_SECONDS = (5, 15, 60, 300, 900, 3600)
"""When the reconciler looks again after each try; after the last, every hour."""


@record
class Operation:
    """One instruction to a provider. `id` is our idempotency key there, stored before the first byte is sent.

    `object_id` is what it makes (payment, capture or refund). No send may start after `send_before`;
    `sends` counts how many may have started, `last_send_time` when the last one may have; by `watch_clock`, the
    monotonic clock of whoever found nothing of them first ("" for nobody), they were over at `watch_start`, in
    microseconds. `lease_owner` drives it until `lease_until`; only then may the reconciler, at `next_time`.
    `evidence` says what ended it.
    """

    id: str
    kind: str
    state: OperationState
    payment_id: str
    object_id: str
    provider: str
    wallet_id: str
    currency_code: str
    amount: int
    final: bool
    order_reference: str
    target_reference: str
    statement_descriptor: str
    send_before: int
    sends: int
    last_send_time: int
    watch_clock: str
    watch_start: int
    lease_owner: str
    lease_until: int
    next_time: int
    tries: int
    evidence: str
    outcome: str
    provider_code: str
    debug_id: str
    create_time: int
    update_time: int

    def move(self, command: OperationCommand, now: int) -> Operation:
        """This operation after `command`; INVALID_STATE where the table has no way."""
        state = transitions.move("operation", OPERATION_TRANSITIONS, self.state, command)
        return replace(self, state=state, update_time=now)


def delay_seconds(tries: int) -> int:
    """How long the reconciler waits after `tries` tries, before jitter."""
    return SCHEDULE_SECONDS[min(tries, len(SCHEDULE_SECONDS) - 1)]
