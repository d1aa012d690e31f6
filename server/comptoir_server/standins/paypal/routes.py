"""The operations of the API: where each is, the form of its body, and how its request id is remembered."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from comptoir_server.standins.paypal import notifications, orders, payments, shapes, vault
from comptoir_server.standins.paypal.keys import ORDERS_SECONDS, PAYMENTS_SECONDS, VAULT_SECONDS
from comptoir_server.standins.paypal.state import State
from comptoir_server.standins.paypal.views import (
    AUTHORIZATIONS,
    CAPTURES,
    ORDERS,
    PAYMENT_TOKENS,
    REFUNDS,
    SETUP_TOKENS,
)
from comptoir_server.standins.paypal.wire import Call, Result

GRANT = "oauth2.token"
GRANT_PATH = "/v1/oauth2/token"


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation, by the name that PayPal's documents give it (`operationId`).

    `memory_seconds` is how long its request id is remembered, 0 for none. A vault operation requires
    the id. `body` None is an operation without a body.
    """

    name: str
    method: str
    template: str
    run: Callable[[State, Call], Result]
    body: shapes.Shape | None = None
    memory_seconds: int = 0

    @property
    def needs_request_id(self) -> bool:
        """Whether PayPal-Request-Id is required."""
        return self.memory_seconds == VAULT_SECONDS

    @property
    def malformed_issue(self) -> str:
        """The issue for a body that is no JSON; the payments document does not list the usual one."""
        return "INVALID_PARAMETER_SYNTAX" if self.template.startswith("/v2/payments") else "MALFORMED_REQUEST_JSON"

    def match(self, path: str) -> Mapping[str, str] | None:
        """The ids in a path that is this operation's; None for any other."""
        wanted, given = self.template.split("/"), path.split("/")
        if len(wanted) != len(given):
            return None
        ids = {}
        for part, text in zip(wanted, given, strict=True):
            if part.startswith("{") and text:
                ids[part.strip("{}")] = text
            elif part != text:
                return None
        return ids


_ORDER = f"{ORDERS}/{{id}}"
_HOLD = f"{AUTHORIZATIONS}/{{id}}"
_CAPTURE = f"{CAPTURES}/{{id}}"
_VERIFY = "/v1/notifications/verify-webhook-signature"

OPERATIONS = (
    Operation("orders.create", "POST", ORDERS, orders.create_order, shapes.ORDER, ORDERS_SECONDS),
    Operation("orders.get", "GET", _ORDER, orders.get_order),
    Operation(
        "orders.capture", "POST", f"{_ORDER}/capture", orders.capture_order, shapes.ORDER_PAYMENT, ORDERS_SECONDS
    ),
    Operation(
        "orders.authorize",
        "POST",
        f"{_ORDER}/authorize",
        orders.authorize_order,
        shapes.ORDER_PAYMENT,
        ORDERS_SECONDS,
    ),
    Operation("authorizations.get", "GET", _HOLD, payments.get_authorization),
    Operation(
        "authorizations.capture",
        "POST",
        f"{_HOLD}/capture",
        payments.capture_authorization,
        shapes.CAPTURE,
        PAYMENTS_SECONDS,
    ),
    Operation(
        "authorizations.reauthorize",
        "POST",
        f"{_HOLD}/reauthorize",
        payments.reauthorize,
        shapes.REAUTHORIZATION,
        PAYMENTS_SECONDS,
    ),
    Operation(
        "authorizations.void", "POST", f"{_HOLD}/void", payments.void_authorization, shapes.VOID, PAYMENTS_SECONDS
    ),
    Operation("captures.get", "GET", _CAPTURE, payments.get_capture),
    Operation(
        "captures.refund", "POST", f"{_CAPTURE}/refund", payments.refund_capture, shapes.REFUND, PAYMENTS_SECONDS
    ),
    Operation("refunds.get", "GET", f"{REFUNDS}/{{id}}", payments.get_refund),
    Operation("setup-tokens.create", "POST", SETUP_TOKENS, vault.create_setup_token, shapes.SETUP_TOKEN, VAULT_SECONDS),
    Operation("setup-tokens.get", "GET", f"{SETUP_TOKENS}/{{id}}", vault.get_setup_token),
    Operation(
        "payment-tokens.create", "POST", PAYMENT_TOKENS, vault.create_payment_token, shapes.PAYMENT_TOKEN, VAULT_SECONDS
    ),
    Operation("customer.payment-tokens.get", "GET", PAYMENT_TOKENS, vault.list_payment_tokens),
    Operation("payment-tokens.get", "GET", f"{PAYMENT_TOKENS}/{{id}}", vault.get_payment_token),
    Operation("payment-tokens.delete", "DELETE", f"{PAYMENT_TOKENS}/{{id}}", vault.delete_payment_token),
    Operation("webhooks.post", "POST", notifications.WEBHOOKS, notifications.create_webhook, shapes.WEBHOOK),
    Operation("webhooks.list", "GET", notifications.WEBHOOKS, notifications.list_webhooks),
    Operation("webhooks.get", "GET", f"{notifications.WEBHOOKS}/{{id}}", notifications.get_webhook),
    Operation("webhooks.delete", "DELETE", f"{notifications.WEBHOOKS}/{{id}}", notifications.delete_webhook),
    Operation("verify-webhook-signature.post", "POST", _VERIFY, notifications.verify_signature, shapes.VOID),
)
OPERATION_NAMES = frozenset(operation.name for operation in OPERATIONS) | {GRANT}
"""What a fault may name."""
