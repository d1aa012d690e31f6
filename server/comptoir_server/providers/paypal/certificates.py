"""The certificates that sign PayPal's webhooks: where they may come from and what they must chain to.

PayPal names the address of the certificate in the delivery itself, so the address is an attacker's to
choose: only PayPal's own hosts and path are asked, without redirects, and the chain must lead to a
trusted root and carry PayPal's name for this very purpose.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path
from urllib.parse import urlsplit

import certifi
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from comptoir_server.app.ports import ProviderUnavailable, WebhookRefused
from comptoir_server.providers.paypal.client import TOO_MANY_REQUESTS, CallFailed, PaypalClient
from comptoir_server.providers.paypal.config import PaypalConfig, is_loopback

CHAIN_BYTES_MAX = 65_536
CHAIN_LENGTH_MAX = 6
CACHE_MAX = 16

_PATH = re.compile(r"/v1/notifications/certs/[0-9A-Za-z_-]{1,128}")

Chain = Sequence[x509.Certificate]


class Certificates:
    """Fetches, keeps and checks signing certificates. A chain is kept for ever, its dates are checked each time."""

    def __init__(self, config: PaypalConfig, client: PaypalClient) -> None:
        self._config = config
        self._client = client
        self._chains: dict[str, Chain] = {}
        self._fetching = asyncio.Lock()

    async def signing_key(self, url: str, at: datetime) -> rsa.RSAPublicKey:
        """The public key of the certificate at `url`, checked as of `at`.

        Raises WebhookRefused when the address or the certificate is not PayPal's, ProviderUnavailable
        when it cannot be read now.
        """
        self._require_address(url)
        chain = self._chains.get(url)
        if chain is None:
            # One at a time: forged deliveries must not become a flood of requests to PayPal.
            async with self._fetching:
                chain = self._chains.get(url) or await self._fetch(url)
        key = self._verified_key(chain, at)
        if url not in self._chains:
            while len(self._chains) >= CACHE_MAX:
                del self._chains[next(iter(self._chains))]
            self._chains[url] = chain
        return key

    def _require_address(self, url: str) -> None:
        """Refuses every address but PayPal's own: scheme, host and path are fixed, nothing else may stand in it."""
        try:
            parts = urlsplit(url)
            host = parts.hostname
        except ValueError:
            raise WebhookRefused("the certificate's address is malformed") from None
        if not url.isascii() or not url.isprintable() or parts.netloc not in self._config.signing_hosts:
            raise WebhookRefused("the certificate's address is not one of PayPal's hosts")
        if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(host)):
            raise WebhookRefused("the certificate's address is not https")
        if not _PATH.fullmatch(parts.path) or url != f"{parts.scheme}://{parts.netloc}{parts.path}":
            raise WebhookRefused("the certificate's address is not PayPal's path of certificates")

    async def _fetch(self, url: str) -> Chain:
        try:
            answer = await self._client.fetch(self._client.deadline(), url)
        except CallFailed as failure:
            raise ProviderUnavailable(f"PayPal's certificate cannot be read: {failure.code}") from None
        if answer.status >= 500 or answer.status == TOO_MANY_REQUESTS:
            raise ProviderUnavailable("PayPal's certificate cannot be read now")
        if answer.status != 200 or len(answer.body) > CHAIN_BYTES_MAX:
            raise WebhookRefused("there is no certificate at the address")
        try:
            chain = x509.load_pem_x509_certificates(answer.body)
        except ValueError:
            raise WebhookRefused("what stands at the address is no certificate") from None
        if len(chain) > CHAIN_LENGTH_MAX:
            raise WebhookRefused("the certificate's chain is too long")
        return chain

    def _verified_key(self, chain: Chain, at: datetime) -> rsa.RSAPublicKey:
        name = x509.DNSName(self._config.certificate_name)
        verifier = PolicyBuilder().store(self._roots).time(at).build_server_verifier(name)
        try:
            verifier.verify(chain[0], list(chain[1:]))
        except VerificationError:
            raise WebhookRefused(
                "the certificate is not PayPal's, or not in date, or leads to no trusted root"
            ) from None
        key = chain[0].public_key()
        if not isinstance(key, rsa.RSAPublicKey):
            raise WebhookRefused("the certificate's key is not RSA")
        return key

    @cached_property
    def _roots(self) -> Store:
        pem = self._config.trust_roots_pem or Path(certifi.where()).read_bytes()
        return Store(x509.load_pem_x509_certificates(pem))
