"""Money that moved or is about to: payments, captures, refunds."""

from __future__ import annotations

from enum import StrEnum

from comptoir_server.domain import transitions
from comptoir_server.domain.checkouts import CaptureMode
from comptoir_server.domain.errors import Reason, Refused
from comptoir_server.domain.records import record, replace


class PaymentState(StrEnum):
    """What is certain about a payment."""

    PROCESSING = "PROCESSING"
    REQUIRES_ACTION = "REQUIRES_ACTION"
    AUTHORIZED = "AUTHORIZED"
    PARTIALLY_CAPTURED = "PARTIALLY_CAPTURED"
    CAPTURED = "CAPTURED"
    VOIDED = "VOIDED"
    DECLINED = "DECLINED"
    FAILED = "FAILED"
    EXPIRED = "EXPIRED"


class PaymentCommand(StrEnum):
    """What moves a payment."""

    REQUIRE_ACTION = "REQUIRE_ACTION"
    RESUME = "RESUME"
    AUTHORIZE = "AUTHORIZE"
    CAPTURE_ALL = "CAPTURE_ALL"
    CAPTURE_PART = "CAPTURE_PART"
    VOID = "VOID"
    DECLINE = "DECLINE"
    FAIL = "FAIL"
    EXPIRE = "EXPIRE"


_S, _C = PaymentState, PaymentCommand

PAYMENT_TRANSITIONS: dict[tuple[PaymentState, PaymentCommand], PaymentState] = {
    (_S.PROCESSING, _C.REQUIRE_ACTION): _S.REQUIRES_ACTION,
    (_S.PROCESSING, _C.AUTHORIZE): _S.AUTHORIZED,
    (_S.PROCESSING, _C.CAPTURE_ALL): _S.CAPTURED,
    (_S.PROCESSING, _C.DECLINE): _S.DECLINED,
    (_S.PROCESSING, _C.FAIL): _S.FAILED,
    (_S.REQUIRES_ACTION, _C.RESUME): _S.PROCESSING,
    (_S.REQUIRES_ACTION, _C.AUTHORIZE): _S.AUTHORIZED,
    (_S.REQUIRES_ACTION, _C.CAPTURE_ALL): _S.CAPTURED,
    (_S.REQUIRES_ACTION, _C.DECLINE): _S.DECLINED,
    (_S.REQUIRES_ACTION, _C.FAIL): _S.FAILED,
    (_S.AUTHORIZED, _C.CAPTURE_PART): _S.PARTIALLY_CAPTURED,
    (_S.AUTHORIZED, _C.CAPTURE_ALL): _S.CAPTURED,
    (_S.AUTHORIZED, _C.VOID): _S.VOIDED,
    (_S.AUTHORIZED, _C.EXPIRE): _S.EXPIRED,
    (_S.PARTIALLY_CAPTURED, _C.CAPTURE_PART): _S.PARTIALLY_CAPTURED,
    (_S.PARTIALLY_CAPTURED, _C.CAPTURE_ALL): _S.CAPTURED,
    (_S.PARTIALLY_CAPTURED, _C.EXPIRE): _S.CAPTURED,
    (_S.VOIDED, _C.VOID): _S.VOIDED,
}

LIVE = frozenset({_S.PROCESSING, _S.REQUIRES_ACTION})
"""A checkout has at most one payment in these."""

SUCCESSFUL = frozenset({_S.AUTHORIZED, _S.PARTIALLY_CAPTURED, _S.CAPTURED})
"""A checkout has at most one payment that is, or was before it was undone, in these."""


class PendingKind(StrEnum):
    """What is under way on a payment, in the contract's words."""

    NONE = ""
    AUTHORIZE = "AUTHORIZE"
    CAPTURE = "CAPTURE"
    VOID = "VOID"


class PendingState(StrEnum):
    """How much is known of what is under way."""

    NONE = ""
    PROCESSING = "PROCESSING"
    IN_DOUBT = "IN_DOUBT"


@record
class Payment:
    """One attempt to pay one checkout with one wallet. Amounts in minor units of `currency_code`.

    `capturing` and `refunding` are what operations under way have reserved. `order_reference` and
    `reference` are the provider's ids of the order and of the hold or capture. `request_key` is unique for
    ever: owner, method and request id of the confirm. `pending_*` describe the operation under way.
    """

    id: str
    checkout_id: str
    checkout_version: int
    partner_id: str
    bot_id: str
    session_id: str
    user_id: str
    bot_user_id: str
    channel_id: str
    wallet_id: str
    wallet_label: str
    provider: str
    request_key: str
    state: PaymentState
    capture_mode: CaptureMode
    currency_code: str
    amount: int
    authorized: int
    captured: int
    capturing: int
    refunded: int
    refunding: int
    decline_code: str
    action_url: str
    order_reference: str
    reference: str
    pending_operation_id: str
    pending_kind: PendingKind
    pending_state: PendingState
    pending_since: int
    reversal_reason: str
    create_time: int
    update_time: int
    authorization_expire_time: int

    def move(self, command: PaymentCommand, now: int) -> Payment:
        """This payment after `command`; INVALID_STATE where the table has no way."""
        state = transitions.move("payment", PAYMENT_TRANSITIONS, self.state, command)
        return replace(self, state=state, update_time=now)

    def pending(self, operation_id: str, kind: PendingKind, now: int) -> Payment:
        """This payment with an operation under way."""
        return replace(
            self,
            pending_operation_id=operation_id,
            pending_kind=kind,
            pending_state=PendingState.PROCESSING,
            pending_since=now,
            update_time=now,
        )

    def settled(self) -> Payment:
        """This payment with nothing under way."""
        return replace(
            self,
            pending_operation_id="",
            pending_kind=PendingKind.NONE,
            pending_state=PendingState.NONE,
            pending_since=0,
        )

    def require_idle(self) -> None:
        """INVALID_STATE while an operation is under way: its outcome decides what is possible."""
        if self.pending_operation_id:
            raise Refused(
                Reason.INVALID_STATE,
                f"A {self.pending_kind} of this payment is being confirmed. Wait for its event, then decide.",
                state=f"{self.state} with {self.pending_kind} {self.pending_state}",
                allowed="no pending operation",
            )

    @property
    def capturable(self) -> int:
        """What is held and neither taken nor being taken."""
        if self.state not in (PaymentState.AUTHORIZED, PaymentState.PARTIALLY_CAPTURED):
            return 0
        return self.authorized - self.captured - self.capturing

    @property
    def refundable(self) -> int:
        """What was taken and is neither given back nor being given back."""
        return self.captured - self.refunded - self.refunding


class CaptureState(StrEnum):
    """Where a capture stands."""

    PROCESSING = "PROCESSING"
    IN_DOUBT = "IN_DOUBT"
    SUCCEEDED = "SUCCEEDED"
    DECLINED = "DECLINED"
    FAILED = "FAILED"


class CaptureCommand(StrEnum):
    """What moves a capture."""

    DOUBT = "DOUBT"
    SUCCEED = "SUCCEED"
    DECLINE = "DECLINE"
    FAIL = "FAIL"


CAPTURE_TRANSITIONS: dict[tuple[CaptureState, CaptureCommand], CaptureState] = {
    (CaptureState.PROCESSING, CaptureCommand.DOUBT): CaptureState.IN_DOUBT,
    (CaptureState.PROCESSING, CaptureCommand.SUCCEED): CaptureState.SUCCEEDED,
    (CaptureState.PROCESSING, CaptureCommand.DECLINE): CaptureState.DECLINED,
    (CaptureState.PROCESSING, CaptureCommand.FAIL): CaptureState.FAILED,
    (CaptureState.IN_DOUBT, CaptureCommand.DOUBT): CaptureState.IN_DOUBT,
    (CaptureState.IN_DOUBT, CaptureCommand.SUCCEED): CaptureState.SUCCEEDED,
    (CaptureState.IN_DOUBT, CaptureCommand.DECLINE): CaptureState.DECLINED,
    (CaptureState.IN_DOUBT, CaptureCommand.FAIL): CaptureState.FAILED,
}


@record
class Capture:
    """Money that was taken, or is being. `reference` is the provider's id of it."""

    id: str
    payment_id: str
    partner_id: str
    bot_id: str
    session_id: str
    user_id: str
    channel_id: str
    request_key: str
    state: CaptureState
    currency_code: str
    amount: int
    refunded: int
    refunding: int
    final: bool
    decline_code: str
    reference: str
    create_time: int
    update_time: int

    def move(self, command: CaptureCommand, now: int) -> Capture:
        """This capture after `command`; INVALID_STATE where the table has no way."""
        state = transitions.move("capture", CAPTURE_TRANSITIONS, self.state, command)
        return replace(self, state=state, update_time=now)

    @property
    def refundable(self) -> int:
        """What is left of it to give back."""
        return self.amount - self.refunded - self.refunding if self.state == CaptureState.SUCCEEDED else 0


class RefundState(StrEnum):
    """Where a refund stands."""

    PROCESSING = "PROCESSING"
    IN_DOUBT = "IN_DOUBT"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"


class RefundCommand(StrEnum):
    """What moves a refund."""

    DOUBT = "DOUBT"
    SUCCEED = "SUCCEED"
    FAIL = "FAIL"


REFUND_TRANSITIONS: dict[tuple[RefundState, RefundCommand], RefundState] = {
    (RefundState.PROCESSING, RefundCommand.DOUBT): RefundState.IN_DOUBT,
    (RefundState.PROCESSING, RefundCommand.SUCCEED): RefundState.SUCCEEDED,
    (RefundState.PROCESSING, RefundCommand.FAIL): RefundState.FAILED,
    (RefundState.IN_DOUBT, RefundCommand.DOUBT): RefundState.IN_DOUBT,
    (RefundState.IN_DOUBT, RefundCommand.SUCCEED): RefundState.SUCCEEDED,
    (RefundState.IN_DOUBT, RefundCommand.FAIL): RefundState.FAILED,
}


class RefundOrigin(StrEnum):
    """Who wanted a refund."""

    PARTNER = "PARTNER"
    PLATFORM = "PLATFORM"
    PROVIDER = "PROVIDER"


@record
class Refund:
    """Money that was given back, or is being. `reference` is the provider's id of it."""

    id: str
    payment_id: str
    capture_id: str
    partner_id: str
    bot_id: str
    session_id: str
    user_id: str
    channel_id: str
    request_key: str
    state: RefundState
    origin: RefundOrigin
    currency_code: str
    amount: int
    reason: str
    decline_code: str
    reference: str
    create_time: int
    update_time: int

    def move(self, command: RefundCommand, now: int) -> Refund:
        """This refund after `command`; INVALID_STATE where the table has no way."""
        state = transitions.move("refund", REFUND_TRANSITIONS, self.state, command)
        return replace(self, state=state, update_time=now)
