"""What the measured server and its callers agree on."""

from __future__ import annotations

CALLERS = 64

EMPTY = "/comptoir.bench.Empty/Call"
CONFIRM = "/comptoir.v1.CheckoutService/ConfirmCheckout"
READ = "/comptoir.v1.CheckoutService/GetCheckout"
CAPTURE = "/comptoir.v1.PaymentService/CreateCapture"
EVENTS = "/comptoir.v1.EventService/ListEvents"
STREAM = "/comptoir.v1.EventService/StreamEvents"
