"""doc"""

from __future__ import annotations

from comptoir_server.standins.paypal.app import create_app, serve
from comptoir_server.standins.paypal.config import PaypalStandinConfig
from comptoir_server.standins.paypal.model import Paypal
from comptoir_server.standins.paypal.signing import make_signer
from comptoir_server.standins.paypal.transport import PaypalTransport

__all__ = ["Paypal", "PaypalStandinConfig", "PaypalTransport", "create_app", "make_signer", "serve"]
