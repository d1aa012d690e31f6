"""PayPal's webhooks: verified offline on their raw bytes, then read into notices.

Signed is `transmission id|time|our webhook id|CRC-32 of the body`, with RSA PKCS#1 v1.5 over SHA-256.
CRC-32 is no digest: whoever holds one genuine delivery to us can write another body with the same
checksum. A notice is therefore a reason to look and no more: what counts is the same object read from
PayPal's API, which becomes a notice by the same readers.
"""

from __future__ import annotations

import base64
import re
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256

from comptoir_server.app.ports import Notice, NoticeKind, OperationKind, Outcome, OutcomeKind, WebhookRefused
from comptoir_server.providers.paypal.answers import (
    Json,
    Unreadable,
    link,
    parse_object,
    part,
    required_text,
    text,
)
from comptoir_server.providers.paypal.convert import (
    approval,
    authorization_outcome,
    capture_outcome,
    refund_outcome,
    related_order,
    resource_id,
    void_outcome,
)
from comptoir_server.providers.paypal.requests import AUTHORIZATIONS, CAPTURES, ORDERS, REFUNDS, resource_path

BODY_BYTES_MAX = 262_144
SIGNATURE_ALGORITHM = "SHA256withRSA"

AGE_MAX = timedelta(days=3, hours=1)
"""PayPal delivers up to 25 times over 3 days and does not say that a repetition is stamped anew, so
five minutes would refuse genuine deliveries after an outage of ours. An old one repeated by somebody
else is harmless: its event id is in the inbox already, and no state moves backwards."""

AHEAD_MAX = timedelta(minutes=5)
"""How far PayPal's clock may run before ours."""

_TRANSMISSION_ID = re.compile(r"[0-9A-Za-z-]{1,64}")
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]{1,9})?Z")
_CAPTURE_LINK = re.compile(r".*/v[12]/payments/captures/([A-Z0-9]{1,36})")


@dataclass(frozen=True, slots=True)
class Delivery:
    """The signed part of a delivery. `transmission_time` is signed as written, so it stays a string."""

    transmission_id: str
    transmission_time: str
    signature: bytes
    certificate_url: str
    body: bytes

    def signed_text(self, webhook_id: str) -> bytes:
        """What PayPal signed, if the delivery is for the subscription `webhook_id`."""
        checksum = zlib.crc32(self.body)
        return f"{self.transmission_id}|{self.transmission_time}|{webhook_id}|{checksum}".encode()


def read_delivery(headers: Mapping[str, str], body: bytes) -> Delivery:
    """The delivery in `headers` (any case) and `body`. Raises WebhookRefused when it has not the form of one."""
    if len(body) > BODY_BYTES_MAX:
        raise WebhookRefused("the body is too large")
    lower = {name.lower(): value for name, value in headers.items()}

    def header(name: str) -> str:
        value = lower.get(f"paypal-{name}", "")
        if not value or len(value) > 2_048:
            raise WebhookRefused(f"the header PAYPAL-{name.upper()} is missing or too long")
        return value

    transmission_id, transmission_time = header("transmission-id"), header("transmission-time")
    # Both stand between bars in the signed text: a bar inside would move its meaning.
    if not _TRANSMISSION_ID.fullmatch(transmission_id) or not _TIME.fullmatch(transmission_time):
        raise WebhookRefused("the transmission id or time is malformed")
    if header("auth-algo") != SIGNATURE_ALGORITHM:
        raise WebhookRefused(f"the signature is not {SIGNATURE_ALGORITHM}")
    try:
        signature = base64.b64decode(header("transmission-sig"), validate=True)
    except ValueError:
        raise WebhookRefused("the signature is not base64") from None
    return Delivery(transmission_id, transmission_time, signature, header("cert-url"), body)


def require_fresh(delivery: Delivery, now: datetime) -> None:
    """Refuses a delivery stamped more than three days and an hour ago, or more than five minutes ahead."""
    try:
        sent = datetime.fromisoformat(delivery.transmission_time)
    except ValueError:
        raise WebhookRefused("the transmission time is no time") from None
    if not now - AGE_MAX <= sent <= now + AHEAD_MAX:
        raise WebhookRefused("the transmission time is too old or lies ahead")


def require_signature(delivery: Delivery, webhook_id: str, key: rsa.RSAPublicKey) -> None:
    """Refuses a delivery that the holder of `key` did not sign for our subscription `webhook_id`."""
    try:
        key.verify(delivery.signature, delivery.signed_text(webhook_id), PKCS1v15(), SHA256())
    except InvalidSignature:
        raise WebhookRefused("the signature does not fit the body and our webhook id") from None


def read_notice(body: bytes) -> Notice:
    """What a verified delivery tells. Raises WebhookRefused when it cannot be read: it must come again."""
    try:
        event = parse_object(body)
        event_id, event_type = required_text(event, "id"), required_text(event, "event_type")
        if event_type in _WALLET_EVENTS:
            token = required_text(part(event, "resource"), "id")
            return Notice(event_id, event_type, NoticeKind.WALLET_REVOKED, wallet_token=token)
        if event_type not in _EVENTS:
            return Notice(event_id, event_type, NoticeKind.OTHER)
        return _EVENTS[event_type].read(event_id, event_type, part(event, "resource"))
    except Unreadable as refusal:
        raise WebhookRefused(f"the body cannot be read: {refusal}") from None


def path_of(notice: Notice) -> str:
    """Where PayPal's API has the object that a notice of an outcome names. Raises NotAskable."""
    return resource_path(_EVENTS[notice.event_type].collection, notice.reference)


def confirmed(notice: Notice, resource: Json) -> Notice:
    """What the API's `resource` says about the object that `notice` names. Raises Unreadable."""
    if resource_id(resource) != notice.reference:
        raise Unreadable("id")
    return _EVENTS[notice.event_type].read(notice.event_id, notice.event_type, resource)


def _capture(event_id: str, event_type: str, capture: Json) -> Notice:
    authorization = text(part(part(capture, "supplementary_data"), "related_ids"), "authorization_id")
    operation = OperationKind.CAPTURE if authorization else OperationKind.CHARGE
    return _outcome_notice(event_id, event_type, operation, capture_outcome(capture), capture, authorization)


def _authorization(event_id: str, event_type: str, authorization: Json) -> Notice:
    """A hold; or that it was released, by us, at PayPal's own pages, or because it expired."""
    released = void_outcome(authorization)
    if released.kind is OutcomeKind.VOIDED:
        return _outcome_notice(event_id, event_type, OperationKind.VOID, released, authorization)
    outcome = authorization_outcome(authorization)
    return _outcome_notice(event_id, event_type, OperationKind.AUTHORIZE, outcome, authorization)


def _refund(event_id: str, event_type: str, refund: Json) -> Notice:
    """A refund of ours, of PayPal's own pages, or a reversal; the last two carry no refund id of ours."""
    match = _CAPTURE_LINK.fullmatch(link(refund, "up"))
    parent = match[1] if match else ""
    return _outcome_notice(event_id, event_type, OperationKind.REFUND, refund_outcome(refund), refund, parent)


def _order(event_id: str, event_type: str, order: Json) -> Notice:
    """An order that the payer agreed to. Once it is paid, its captures and authorizations tell of themselves."""
    reference, approved = resource_id(order), approval(order)
    if approved is None:
        return Notice(event_id, event_type, NoticeKind.OTHER, order_reference=reference, reference=reference)
    operation, object_id, outcome = approved
    return Notice(event_id, event_type, NoticeKind.OUTCOME, operation, outcome, object_id, reference, reference)


def _outcome_notice(
    event_id: str, event_type: str, operation: OperationKind, outcome: Outcome, resource: Json, parent: str = ""
) -> Notice:
    if outcome.amount is None and operation is not OperationKind.VOID:
        raise Unreadable("amount")
    # A refund carries our id as custom_id; a capture's custom_id is the payment, its invoice_id the capture.
    names = ("custom_id", "invoice_id") if operation is OperationKind.REFUND else ("invoice_id", "custom_id")
    return Notice(
        event_id=event_id,
        event_type=event_type,
        kind=NoticeKind.OUTCOME,
        operation=operation,
        outcome=outcome,
        object_id=text(resource, names[0]) or text(resource, names[1]),
        order_reference=related_order(resource),
        reference=outcome.reference,
        parent_reference=parent,
    )


@dataclass(frozen=True, slots=True)
class _Event:
    """An event about money: where the API has the object that it tells of, and how that object is read."""

    collection: str
    read: Callable[[str, str, Json], Notice]


_EVENTS: Mapping[str, _Event] = MappingProxyType(
    {
        "CHECKOUT.ORDER.APPROVED": _Event(ORDERS, _order),
        "PAYMENT.AUTHORIZATION.CREATED": _Event(AUTHORIZATIONS, _authorization),
        "PAYMENT.AUTHORIZATION.VOIDED": _Event(AUTHORIZATIONS, _authorization),
        "PAYMENT.CAPTURE.COMPLETED": _Event(CAPTURES, _capture),
        "PAYMENT.CAPTURE.DECLINED": _Event(CAPTURES, _capture),
        "PAYMENT.CAPTURE.DENIED": _Event(CAPTURES, _capture),
        "PAYMENT.CAPTURE.PENDING": _Event(CAPTURES, _capture),
        "PAYMENT.CAPTURE.REFUNDED": _Event(REFUNDS, _refund),
        "PAYMENT.CAPTURE.REVERSED": _Event(REFUNDS, _refund),
        "PAYMENT.REFUND.FAILED": _Event(REFUNDS, _refund),
        "PAYMENT.REFUND.PENDING": _Event(REFUNDS, _refund),
    }
)
"""Every event that may move money here; the rest is told as OTHER."""

_WALLET_EVENTS = frozenset({"VAULT.PAYMENT-TOKEN.DELETED", "VAULT.PAYMENT-TOKEN.DELETION-INITIATED"})
