"""Where PayPal is and how we speak to it; the addresses are fixed by the server's mode."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

LIVE_ADDRESS = "https://api-m.paypal.com"
SANDBOX_ADDRESS = "https://api-m.sandbox.paypal.com"

CERTIFICATE_HOSTS = {
    LIVE_ADDRESS: ("api.paypal.com", "api-m.paypal.com"),
    SANDBOX_ADDRESS: ("api.sandbox.paypal.com", "api-m.sandbox.paypal.com"),
}
"""The hosts that serve the certificates which sign webhooks, by the address of the API."""

LIVE_CERTIFICATE_NAME = "messageverificationcerts.paypal.com"
SANDBOX_CERTIFICATE_NAME = "messageverificationcerts.sandbox.paypal.com"


@dataclass(frozen=True, slots=True)
class PaypalConfig:
    """One PayPal REST application, and the address at which it is spoken to.

    `webhook_id` is the id of our subscription: part of what PayPal signs, never part of a delivery.
    `certificate_hosts` are the `host` or `host:port` that may serve signing certificates; empty means
    those that belong to `base_url`. `trust_roots_pem` replaces the public roots (a stand-in's own
    authority). `call_limit_seconds` bounds a whole operation, the access token included. `settle_seconds`
    is how long after the last send absence becomes proof: PayPal answers a call within a minute or gives
    up on it, and five are kept.
    """

    base_url: str
    client_id: str = field(repr=False)
    client_secret: str = field(repr=False)
    webhook_id: str
    certificate_hosts: tuple[str, ...] = ()
    trust_roots_pem: bytes | None = field(default=None, repr=False)
    call_limit_seconds: float = 20.0
    settle_seconds: int = 300

    @property
    def signing_hosts(self) -> tuple[str, ...]:
        """The hosts that may serve signing certificates, as configured or as `base_url` implies."""
        return self.certificate_hosts or CERTIFICATE_HOSTS.get(self.base_url, (urlsplit(self.base_url).netloc,))

    @property
    def certificate_name(self) -> str:
        """The name that the signing certificate must carry."""
        return LIVE_CERTIFICATE_NAME if self.base_url == LIVE_ADDRESS else SANDBOX_CERTIFICATE_NAME


def is_loopback(host: str | None) -> bool:
    """Whether `host` (no port) names this very machine: a loopback address, or `localhost`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


def require_addresses(config: PaypalConfig, mode: str) -> None:
    """Refuses an address that `mode` ("test" or "live") does not allow: ValueError says which is right.

    Live money is spoken of with PayPal's live address and nobody else; test mode never reaches it.
    """
    if mode == "live":
        allowed = config.base_url == LIVE_ADDRESS
        advice = f"In live mode PayPal is at {LIVE_ADDRESS}: use that, or start the server with --mode test."
    else:
        allowed = config.base_url == SANDBOX_ADDRESS or _is_local(config.base_url)
        advice = (
            f"In test mode PayPal is at {SANDBOX_ADDRESS} or a stand-in on this machine, "
            "such as http://127.0.0.1:8700: use one of them."
        )
    if not allowed:
        raise ValueError(f"PayPal's address {config.base_url!r} is not allowed in {mode} mode. {advice}")
    for host in config.signing_hosts:
        known = CERTIFICATE_HOSTS.get(config.base_url)
        if host not in known if known else not is_loopback(urlsplit(f"//{host}").hostname):
            expected = ", ".join(known) if known else "a loopback address"
            raise ValueError(
                f"The certificate host {host!r} does not belong to {config.base_url}: use {expected}, or leave it out."
            )


def _is_local(address: str) -> bool:
    parts = urlsplit(address)
    plain = not (parts.path or parts.query or parts.fragment or parts.username or parts.password)
    return parts.scheme in {"http", "https"} and plain and is_loopback(parts.hostname)
