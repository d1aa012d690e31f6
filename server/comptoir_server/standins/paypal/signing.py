"""The signature of webhooks and the certificates behind it, in PayPal's form.

A stand-in is its own authority: a root certificate that a client must be told to trust, and a leaf
that names PayPal's sandbox signer, good for the ten years around the moment it was made.
"""

from __future__ import annotations

import base64
import zlib
from datetime import timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from comptoir_server.standins.paypal.wire import moment

SIGNER_NAME = "messageverificationcerts.sandbox.paypal.com"
ALGORITHM = "SHA256withRSA"
KEY_BITS = 2_048

_BEFORE = timedelta(days=365)
_AFTER = timedelta(days=9 * 365)


class Signer:
    """A key, its certificate and the authority above it."""

    def __init__(self, key: rsa.RSAPrivateKey, leaf: x509.Certificate, root: x509.Certificate) -> None:
        self._key = key
        self.certificate_id = f"CERT-{leaf.serial_number:x}"[:40]
        self.root_pem = root.public_bytes(Encoding.PEM)
        self.chain_pem = leaf.public_bytes(Encoding.PEM) + self.root_pem

    def sign(self, text: bytes) -> str:
        """The base64 RSA PKCS#1 v1.5 signature over SHA-256; always the same for the same text."""
        return base64.b64encode(self._key.sign(text, PKCS1v15(), SHA256())).decode()


def signed_text(transmission_id: str, transmission_time: str, webhook_id: str, body: bytes) -> bytes:
    """What PayPal signs: the CRC-32 is of the raw body, as an unsigned decimal."""
    return f"{transmission_id}|{transmission_time}|{webhook_id}|{zlib.crc32(body)}".encode()


def make_signer(now: int) -> Signer:
    """A new authority and signer as of `now` (microseconds). Takes a tenth of a second: keep it."""
    root_key = rsa.generate_private_key(public_exponent=65_537, key_size=KEY_BITS)
    leaf_key = rsa.generate_private_key(public_exponent=65_537, key_size=KEY_BITS)
    root_name = _name("Comptoir PayPal Stand-in Root")
    root = (
        _builder(root_name, root_name, root_key.public_key(), now)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(root_key.public_key()), critical=False)
        .sign(root_key, SHA256())
    )
    leaf = (
        _builder(_name(SIGNER_NAME), root_name, leaf_key.public_key(), now)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(SIGNER_NAME)]), critical=False)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key()), critical=False)
        .sign(root_key, SHA256())
    )
    return Signer(leaf_key, leaf, root)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _builder(subject: x509.Name, issuer: x509.Name, key: rsa.RSAPublicKey, now: int) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(moment(now) - _BEFORE)
        .not_valid_after(moment(now) + _AFTER)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
