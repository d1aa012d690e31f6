"""The refusals of the contract: each reason once, with what its error carries.

`error.proto` documents the same reasons to callers; a test holds the two together.
"""

from __future__ import annotations

from enum import StrEnum

from comptoir_server.domain.records import record


class Reason(StrEnum):
    """Why a request was refused; the wire's ErrorInfo.reason."""

    FIELD_INVALID = "FIELD_INVALID"
    AMOUNT_MISMATCH = "AMOUNT_MISMATCH"
    CURRENCY_UNSUPPORTED = "CURRENCY_UNSUPPORTED"
    CARD_DATA_REFUSED = "CARD_DATA_REFUSED"
    REQUEST_ID_REUSED = "REQUEST_ID_REUSED"
    REFERENCE_ALREADY_PAID = "REFERENCE_ALREADY_PAID"
    REQUEST_IN_PROGRESS = "REQUEST_IN_PROGRESS"
    VERSION_STALE = "VERSION_STALE"
    INVALID_STATE = "INVALID_STATE"
    CHECKOUT_EXPIRED = "CHECKOUT_EXPIRED"
    PRICE_CHANGED = "PRICE_CHANGED"
    WALLET_NOT_ACTIVE = "WALLET_NOT_ACTIVE"
    MARKET_NOT_AVAILABLE = "MARKET_NOT_AVAILABLE"
    LIMIT_EXCEEDED = "LIMIT_EXCEEDED"
    CAPTURE_EXCEEDS_AUTHORIZATION = "CAPTURE_EXCEEDS_AUTHORIZATION"
    REFUND_EXCEEDS_CAPTURE = "REFUND_EXCEEDS_CAPTURE"
    CONFIRMATION_CODE_WRONG = "CONFIRMATION_CODE_WRONG"
    RATE_LIMITED = "RATE_LIMITED"
    OVERLOADED = "OVERLOADED"
    PROVIDER_UNAVAILABLE = "PROVIDER_UNAVAILABLE"
    DRAINING = "DRAINING"
    CREDENTIAL_INVALID = "CREDENTIAL_INVALID"
    CREDENTIAL_EXPIRED = "CREDENTIAL_EXPIRED"
    SCOPE_MISSING = "SCOPE_MISSING"
    PARTNER_SUSPENDED = "PARTNER_SUSPENDED"
    NOT_FOUND = "NOT_FOUND"
    INTERNAL = "INTERNAL"


@record
class Violation:
    """One wrong field of a request: its path as the proto names it, and what would be right."""

    field: str
    description: str


class Refused(Exception):
    """A request that is refused; nothing was changed.

    `message` is for the caller and says what is wrong and what to do. `metadata` repeats every
    variable part of it under stable keys. `retry_after_seconds` is set where waiting helps.
    """

    def __init__(
        self,
        reason: Reason,
        message: str,
        *,
        violations: tuple[Violation, ...] = (),
        retry_after_seconds: float | None = None,
        **metadata: str | int,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.violations = violations
        self.retry_after_seconds = retry_after_seconds
        self.metadata = {key: str(value) for key, value in metadata.items()}


def not_found() -> Refused:
    """The one refusal for what is absent and for what belongs to somebody else: they look the same."""
    return Refused(Reason.NOT_FOUND, "There is no such object, or it is not yours. Check the id.")


def invalid_field(field: str, description: str) -> Refused:
    """FIELD_INVALID for one field."""
    violation = Violation(field, description)
    return Refused(Reason.FIELD_INVALID, f"{field}: {description}", violations=(violation,), field=field)
