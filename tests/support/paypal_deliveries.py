"""Webhook deliveries as PayPal makes them, signed under an authority of our own."""

from __future__ import annotations

import base64
import json
import zlib
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from comptoir_server.providers.paypal import PaypalConfig, PaypalProvider
from tests.support import paypal_wire as wire

SANDBOX = "https://api-m.sandbox.paypal.com"
NAME = "messageverificationcerts.sandbox.paypal.com"
CERTIFICATE_URL = "https://api.sandbox.paypal.com/v1/notifications/certs/CERT-360caa42"
WEBHOOK_ID = "4JH86294D6297924G"
NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


def micros(moment: datetime) -> int:
    return int(moment.timestamp()) * 1_000_000


@dataclass
class Authority:
    """A certificate authority: a root, and leaves that it signs."""

    key: rsa.RSAPrivateKey = field(default_factory=lambda: rsa.generate_private_key(65_537, 2_048))

    @property
    def name(self) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test root")])

    def root(self) -> bytes:
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        builder = self._builder(self.name, self.key.public_key(), NOW - timedelta(days=300), NOW + timedelta(days=3000))
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        builder = builder.add_extension(usage, critical=True)
        return builder.sign(self.key, SHA256()).public_bytes(Encoding.PEM)

    def leaf(
        self,
        key: rsa.RSAPrivateKey,
        name: str = NAME,
        since: datetime = NOW - timedelta(days=30),
        until: datetime = NOW + timedelta(days=60),
    ) -> bytes:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = self._builder(subject, key.public_key(), since, until)
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        return builder.sign(self.key, SHA256()).public_bytes(Encoding.PEM)

    def _builder(
        self, subject: x509.Name, public: rsa.RSAPublicKey, since: datetime, until: datetime
    ) -> x509.CertificateBuilder:
        issuer_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(self.name).public_key(public)
        builder = builder.serial_number(x509.random_serial_number()).not_valid_before(since).not_valid_after(until)
        builder = builder.add_extension(issuer_key, critical=False)
        return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)


AUTHORITY = Authority()
FOREIGN = Authority()
SIGNER = rsa.generate_private_key(65_537, 2_048)
GENUINE = AUTHORITY.leaf(SIGNER)


def event(event_type: str, resource: dict[str, Any]) -> bytes:
    return json.dumps({"id": "WH-1", "event_type": event_type, "resource": resource}, ensure_ascii=False).encode()


BODY = event("PAYMENT.CAPTURE.COMPLETED", wire.capture())


def signed(body: bytes = BODY, sent: datetime = NOW, webhook_id: str = WEBHOOK_ID, **changes: str) -> dict[str, str]:
    """The headers of a delivery signed for `webhook_id`; `changes` spoil them afterwards."""
    time = sent.strftime("%Y-%m-%dT%H:%M:%SZ")
    text = f"dfb3be50-fd74|{time}|{webhook_id}|{zlib.crc32(body)}"
    signature = SIGNER.sign(text.encode(), PKCS1v15(), SHA256())
    headers = {
        "paypal-transmission-id": "dfb3be50-fd74",
        "paypal-transmission-time": time,
        "paypal-transmission-sig": base64.b64encode(signature).decode(),
        "paypal-auth-algo": "SHA256withRSA",
        "paypal-cert-url": CERTIFICATE_URL,
    }
    return headers | {f"paypal-{name.replace('_', '-')}": value for name, value in changes.items()}


def receiver(answer: bytes | wire.Responder = GENUINE) -> tuple[PaypalProvider, wire.Script]:
    """A connector at NOW whose every certificate address serves `answer`."""
    responder = answer if callable(answer) else lambda request: wire.streamed(200, answer)
    script = wire.Script(responder)
    runtime = wire.WireRuntime(script)
    runtime.wall = micros(NOW)
    config = PaypalConfig(SANDBOX, "client", "not-for-anybody", WEBHOOK_ID, trust_roots_pem=AUTHORITY.root())
    return PaypalProvider(config, runtime), script
