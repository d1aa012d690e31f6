"""What a PayPal stand-in is told when it is made."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

HOUR_SECONDS = 3_600


@dataclass(frozen=True, slots=True)
class PaypalStandinConfig:
    """Where the stand-in listens, whom it lets in and how long its things live.

    `public_url` is the address in links, approval pages and certificate addresses; empty means
    `http://host:port`. `webhook_url` and `webhook_id` register one subscription to every event at
    the start. `latency_seconds` delays every answer of the API. `settle_seconds` is how long a
    pending capture or refund stays pending. `order_seconds` is how long an order waits for its
    payer, `access_token_seconds` how long an access token is good. `state_dir` receives `ca.pem`,
    the authority that the webhook certificates chain to.
    """

    host: str = "127.0.0.1"
    port: int = 7610
    public_url: str = ""
    client_id: str = "standin-client"
    client_secret: str = field(default="standin-secret", repr=False)
    merchant_name: str = "Comptoir Test Store"
    merchant_email: str = "merchant@example.com"
    merchant_id: str = "C5MPT45RTEST2"
    webhook_url: str = ""
    webhook_id: str = "8PT597110X687430L"
    latency_seconds: float = 0.0
    settle_seconds: float = 2.0
    order_seconds: float = 3 * HOUR_SECONDS
    access_token_seconds: int = 9 * HOUR_SECONDS
    state_dir: Path | None = None

    @property
    def base_url(self) -> str:
        """The address under which callers and browsers reach the stand-in, without a trailing slash."""
        return (self.public_url or f"http://{self.host}:{self.port}").rstrip("/")
