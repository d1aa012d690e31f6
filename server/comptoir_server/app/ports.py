"""The one interface with several implementations in production: a payment provider.

A connector is stateless: Comptoir stores everything, the connector stores nothing but its access
token. It never retries a money-moving call by itself; retrying is decided by the reducer and the
reconciler, with the same key.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Protocol

from comptoir_server.domain.records import record


class OutcomeKind(StrEnum):
    """What is known about an operation after a reply, a look-up or a webhook. Closed."""

    CAPTURED = "CAPTURED"
    """The money moved from the payer (a charge or a capture succeeded)."""
    AUTHORIZED = "AUTHORIZED"
    """The money is held for us."""
    VOIDED = "VOIDED"
    """The hold was released."""
    REFUNDED = "REFUNDED"
    """The money went back to the payer."""
    DECLINED = "DECLINED"
    """The provider refused, finally; `decline_code` says why."""
    REQUIRES_ACTION = "REQUIRES_ACTION"
    """The payer must do something at `action_url` first."""
    PENDING = "PENDING"
    """The provider accepted it and will decide later; it tells by webhook and by look-up."""
    NOT_SENT = "NOT_SENT"
    """Proven never executed: no byte of the request left us, or the provider does not know it."""
    THROTTLED = "THROTTLED"
    """Not processed: the same call with the same key may be made again later."""
    IN_DOUBT = "IN_DOUBT"
    """Nothing is known: time-out, reset, 5xx, an unreadable or contradictory answer."""
    ABSENT = "ABSENT"
    """A look-up found that the provider has not executed it so far."""
    APPROVED = "APPROVED"
    """As ABSENT, and the payer has done what was asked of them: it can be asked for again, without a wallet token."""


class DeclineCode(StrEnum):
    """Why a provider refused, in words that a payer and a partner can act upon."""

    INSUFFICIENT_FUNDS = "INSUFFICIENT_FUNDS"
    INSTRUMENT_DECLINED = "INSTRUMENT_DECLINED"
    ACCOUNT_CLOSED = "ACCOUNT_CLOSED"
    ACCOUNT_RESTRICTED = "ACCOUNT_RESTRICTED"
    WALLET_REVOKED = "WALLET_REVOKED"
    LIMIT_REACHED = "LIMIT_REACHED"
    SUSPECTED_FRAUD = "SUSPECTED_FRAUD"
    PAYER_ACTION_NEEDED = "PAYER_ACTION_NEEDED"
    MERCHANT_ACCOUNT = "MERCHANT_ACCOUNT"
    REFUND_NOT_POSSIBLE = "REFUND_NOT_POSSIBLE"
    DO_NOT_HONOR = "DO_NOT_HONOR"


class OperationKind(StrEnum):
    """What we ask a provider to do."""

    CHARGE = "CHARGE"
    """Hold and take the money in one step."""
    AUTHORIZE = "AUTHORIZE"
    """Hold the money."""
    CAPTURE = "CAPTURE"
    """Take held money, or a part of it."""
    VOID = "VOID"
    """Release held money."""
    REFUND = "REFUND"
    """Give taken money back, or a part of it."""


@record
class Instruction:
    """One operation as a connector meets it; everything a repetition or a look-up needs.

    `key` is our idempotency key at the provider, stored before the first byte is sent. `object_id`
    is our id of what is made (payment, capture, refund), sent as the provider's reference field so
    that a look-up can match it. `wallet_token` is empty for an order that the payer approved there and then:
    the approval names what pays. `order_reference` is the provider's order that `prepare` answered,
    `target_reference` the provider's id of what is acted upon (authorization or capture).
    """

    kind: OperationKind
    key: str
    object_id: str
    payment_id: str
    amount: int
    currency_code: str
    wallet_token: str = ""
    order_reference: str = ""
    target_reference: str = ""
    final: bool = True
    statement_descriptor: str = ""
    description: str = ""
    return_url: str = ""


@record
class Outcome:
    """What a provider said, in our words.

    `amount` and `currency_code` are what the provider says it moved, in minor units; the reducer
    compares them with what was asked. `reference` is the provider's id of the object made.
    `provider_code` and `debug_id` are the provider's own words, for support and the audit.
    """

    kind: OutcomeKind
    reference: str = ""
    amount: int | None = None
    currency_code: str = ""
    decline_code: DeclineCode | None = None
    action_url: str = ""
    expire_time: int = 0
    provider_code: str = ""
    debug_id: str = ""


@record
class Capabilities:
    """What a provider can do and promises, used by the checkout, the reconciler and the reader.

    `key_ttl_seconds`: how long it remembers our key, an operation kind. `settle_seconds`: how long
    after the last possible send "absent" proves that nothing will happen any more.
    `call_limit_seconds`: the connector's own limit for one call. `prepares`: a charge needs an order
    made first (`prepare`), whose look-up decides doubt after the key was forgotten.
    """

    name: str
    display_name: str
    key_ttl_seconds: Mapping[OperationKind, int]
    settle_seconds: int
    call_limit_seconds: float
    prepares: bool
    currencies: Mapping[str, int]
    """Currency code to the number of decimals that this provider accepts."""


@record
class LinkStart:
    """A link that the payer must now approve at `approve_url`; `reference` is the provider's id of it."""

    reference: str
    approve_url: str


@record
class LinkedWallet:
    """A wallet that the payer approved: the `token` to charge it with (secret), and its masked `label`."""

    token: str
    label: str
    customer_reference: str = ""


class NoticeKind(StrEnum):
    """What a verified webhook tells us about."""

    OUTCOME = "OUTCOME"
    """An operation of ours has an outcome."""
    WALLET_REVOKED = "WALLET_REVOKED"
    """The payer removed our permission at the provider."""
    OTHER = "OTHER"
    """Nothing that changes money here."""


@record
class Notice:
    """A webhook after verification, in our words.

    `event_id` is the provider's id of the delivery's event (inbox key). The references name what it
    speaks of, as far as it says: our `object_id` (payment, capture or refund id that we sent), the
    provider's `order_reference`, `reference` (the object itself) and `parent_reference` (the capture
    of a refund, the authorization of a capture).
    """

    event_id: str
    event_type: str
    kind: NoticeKind
    operation: OperationKind | None = None
    outcome: Outcome | None = None
    object_id: str = ""
    order_reference: str = ""
    reference: str = ""
    parent_reference: str = ""
    wallet_token: str = ""


class ProviderUnavailable(Exception):
    """The provider could not be asked (a call that moves no money); trying again later is safe."""


class LinkRefused(Exception):
    """The provider refuses the link: not approved, cancelled or expired there."""


class WebhookRefused(Exception):
    """A delivery that is not from the provider: signature, certificate, time or body is wrong."""


class Provider(Protocol):
    """One way to move money. Every method is safe to call again with the same key."""

    @property
    def capabilities(self) -> Capabilities: ...

    async def begin_link(self, key: str, return_url: str, cancel_url: str) -> LinkStart:
        """Starts a link. Raises ProviderUnavailable."""

    async def complete_link(self, key: str, reference: str) -> LinkedWallet:
        """Exchanges an approved link for its token. Raises LinkRefused, ProviderUnavailable."""

    async def revoke_link(self, token: str) -> None:
        """Deletes the token at the provider; an unknown token is fine. Raises ProviderUnavailable."""

    async def prepare(self, instruction: Instruction) -> str:
        """Makes the order that a charge or an authorization will complete; moves nothing.

        Answers the provider's order reference. Raises ProviderUnavailable (nothing moved), or
        `PrepareRefused` with an outcome when the provider will not take such an order.
        """

    async def execute(self, instruction: Instruction) -> Outcome:
        """Asks the provider to do it, once. Never raises: what cannot be understood is IN_DOUBT.

        NOT_SENT and THROTTLED speak of this call alone, not of an earlier one with the same key; so does
        DECLINED once the provider has forgotten the key. Reaches the fault points charge.sent, capture.sent,
        void.sent and refund.sent when the request has been written and nothing of the answer was read.
        """

    async def look_up(self, instruction: Instruction) -> Outcome:
        """Asks what became of it, moving nothing: any kind but NOT_SENT; IN_DOUBT when it cannot tell."""

    async def read_webhook(self, headers: Mapping[str, str], body: bytes) -> Notice:
        """Verifies a delivery on its raw bytes and reads it. Raises WebhookRefused, ProviderUnavailable.

        What it answers is a reason to look, never proof: see `confirm`.
        """

    async def confirm(self, notice: Notice) -> Notice | None:
        """Reads the object that a verified notice names, and answers the notice as the provider's API tells it now.

        Event id and type stay; operation, outcome, amounts and references are the API's alone. None where the
        API does not know the object, or says that it did not happen. Raises ProviderUnavailable.
        """

    async def close(self) -> None:
        """Closes connections."""


class PrepareRefused(Exception):
    """The provider refuses to make such an order; nothing moved. `outcome` is DECLINED."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.provider_code)
        self.outcome = outcome
