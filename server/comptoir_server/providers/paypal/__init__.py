"""PayPal: orders v2, payments v2, vault v3 and webhooks.

`client` speaks HTTP, `requests` and `convert` turn our words to PayPal's and back, `issues` says what
every documented error proves, `webhook` and `certificates` verify deliveries, `provider` puts them
together behind the `Provider` protocol.
"""

from __future__ import annotations

from comptoir_server.providers.paypal.config import PaypalConfig, require_addresses
from comptoir_server.providers.paypal.provider import PaypalProvider

__all__ = ["PaypalConfig", "PaypalProvider", "require_addresses"]
