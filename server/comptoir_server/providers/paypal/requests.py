"""What we ask PayPal, in its words: paths, bodies and idempotency keys. No nulls, nothing empty.

Sources: orders v2 (orders.create, orders.capture, orders.authorize), payments v2
(authorizations.capture, authorizations.void, captures.refund), vault v3 (setup-tokens.create,
payment-tokens.create).
"""

from __future__ import annotations

import re
from typing import Any

from comptoir_server.app.ports import Instruction, OperationKind
from comptoir_server.providers.paypal.amounts import to_money

ORDERS = "/v2/checkout/orders"
AUTHORIZATIONS = "/v2/payments/authorizations"
CAPTURES = "/v2/payments/captures"
REFUNDS = "/v2/payments/refunds"
SETUP_TOKENS = "/v3/vault/setup-tokens"
PAYMENT_TOKENS = "/v3/vault/payment-tokens"

REQUEST_ID_MAX = 108
DESCRIPTION_MAX = 127
DESCRIPTOR_MAX = 22
REFERENCE_MAX = 127

INTENTS = {OperationKind.CHARGE: "CAPTURE", OperationKind.AUTHORIZE: "AUTHORIZE"}

_VERBS = {OperationKind.CHARGE: "capture", OperationKind.AUTHORIZE: "authorize"}
_RESOURCE_ID = re.compile(r"[A-Z0-9]{1,36}")
_TOKEN = re.compile(r"[0-9a-zA-Z_-]{1,255}")
_OUR_ID = re.compile(r"[0-9a-zA-Z_.:-]+")
# The soft descriptor of orders v2: letters, digits, dash, asterisk, full stop, space.
_NOT_IN_DESCRIPTOR = re.compile(r"[^0-9A-Za-z*. -]")


class NotAskable(ValueError):
    """An instruction that cannot be put to PayPal; nothing was sent. The text names the field at fault."""


def request_id(key: str, step: str) -> str:
    """The PayPal-Request-Id of one step under `key`: 1 to 108 characters. Raises NotAskable."""
    value = f"{key}:{step}"
    if not _OUR_ID.fullmatch(key) or len(value) > REQUEST_ID_MAX:
        raise NotAskable("key")
    return value


def resource_path(collection: str, reference: str, action: str = "") -> str:
    """The path of one of PayPal's resources, or of an action on it. Raises NotAskable for what is no id."""
    if not _RESOURCE_ID.fullmatch(reference):
        raise NotAskable("reference")
    return f"{collection}/{reference}/{action}" if action else f"{collection}/{reference}"


def token_path(token: str) -> str:
    """The path of a payment token. Raises NotAskable for what is no token."""
    return f"{PAYMENT_TOKENS}/{require_token(token)}"


def require_token(token: str) -> str:
    """`token` when it has the form of a vault id. Raises NotAskable, which does not repeat it."""
    if not _TOKEN.fullmatch(token):
        raise NotAskable("token")
    return token


def order_body(instruction: Instruction) -> dict[str, Any]:
    """An order without a payment source: it moves nothing. Raises NotAskable, NotRepresentable."""
    unit: dict[str, Any] = {
        "amount": to_money(instruction.amount, instruction.currency_code),
        "custom_id": _our_id(instruction.payment_id),
        "invoice_id": _our_id(instruction.object_id),
    }
    if description := _line(instruction.description)[:DESCRIPTION_MAX].strip():
        unit["description"] = description
    if descriptor := _descriptor(instruction):
        unit["soft_descriptor"] = descriptor
    return {"intent": INTENTS[instruction.kind], "purchase_units": [unit]}


def execution(instruction: Instruction) -> tuple[str, dict[str, Any] | None]:
    """Path and body of the call that does what `instruction` says. Raises NotAskable, NotRepresentable."""
    if instruction.kind in INTENTS:
        path = resource_path(ORDERS, instruction.order_reference, _VERBS[instruction.kind])
        return path, _payment_source_body(instruction)
    if instruction.kind is OperationKind.CAPTURE:
        return resource_path(AUTHORIZATIONS, instruction.target_reference, "capture"), _capture_body(instruction)
    if instruction.kind is OperationKind.VOID:
        return resource_path(AUTHORIZATIONS, instruction.target_reference, "void"), None
    return resource_path(CAPTURES, instruction.target_reference, "refund"), _refund_body(instruction)


def setup_token_body(return_url: str, cancel_url: str) -> dict[str, Any]:
    """Asks the payer to let us charge a PayPal wallet later.

    Each link has a token of its own, also when the same payer links twice: otherwise unlinking one
    chat would unlink the other.
    """
    context = {"return_url": return_url, "cancel_url": cancel_url, "shipping_preference": "NO_SHIPPING"}
    wallet = {"usage_type": "MERCHANT", "permit_multiple_payment_tokens": True, "experience_context": context}
    return {"payment_source": {"paypal": wallet}}


def payment_token_body(setup_token: str) -> dict[str, Any]:
    """Exchanges an approved setup token for the permanent one. Raises NotAskable."""
    return {"payment_source": {"token": {"id": require_token(setup_token), "type": "SETUP_TOKEN"}}}


def _payment_source_body(instruction: Instruction) -> dict[str, Any]:
    if not instruction.wallet_token:
        return {}  # the payer approved this very order at PayPal: the approval names the source
    wallet: dict[str, Any] = {"vault_id": require_token(instruction.wallet_token)}
    if instruction.return_url:
        wallet["experience_context"] = {
            "return_url": instruction.return_url,
            "cancel_url": instruction.return_url,
            "shipping_preference": "NO_SHIPPING",
            "user_action": "PAY_NOW",
        }
    return {"payment_source": {"paypal": wallet}}


def _capture_body(instruction: Instruction) -> dict[str, Any]:
    body: dict[str, Any] = {
        "amount": to_money(instruction.amount, instruction.currency_code),
        "invoice_id": _our_id(instruction.object_id),
        "final_capture": instruction.final,
    }
    if descriptor := _descriptor(instruction):
        body["soft_descriptor"] = descriptor
    return body


def _refund_body(instruction: Instruction) -> dict[str, Any]:
    return {
        "amount": to_money(instruction.amount, instruction.currency_code),
        "custom_id": _our_id(instruction.object_id),
        "invoice_id": _our_id(instruction.object_id),
    }


def _our_id(value: str) -> str:
    if len(value) > REFERENCE_MAX or not _OUR_ID.fullmatch(value):
        raise NotAskable("object_id")
    return value


def _line(value: str) -> str:
    return " ".join("".join(character if character.isprintable() else " " for character in value).split())


def _descriptor(instruction: Instruction) -> str:
    return " ".join(_NOT_IN_DESCRIPTOR.sub("", instruction.statement_descriptor).split())[:DESCRIPTOR_MAX].strip()
