"""One stand-in's whole state, and the few things that every operation needs of it."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from comptoir_server.standins.paypal.books import Books, Capture, Refund
from comptoir_server.standins.paypal.config import PaypalStandinConfig
from comptoir_server.standins.paypal.faults import Faults
from comptoir_server.standins.paypal.keys import Keys
from comptoir_server.standins.paypal.views import Views
from comptoir_server.standins.paypal.webhooks import Webhooks
from comptoir_server.standins.paypal.wire import Json, micros

REQUESTS_KEPT = 10_000

Later = Callable[[int], None]
"""Something that happens by itself; it is told the time at which it does."""

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(slots=True)
class State:
    """Everything that changes. `random_bytes` is the only source of chance, and it makes ids alone."""

    config: PaypalStandinConfig
    random_bytes: Callable[[int], bytes]
    views: Views
    webhooks: Webhooks
    books: Books = field(default_factory=Books)
    keys: Keys = field(default_factory=Keys)
    faults: Faults = field(default_factory=Faults)
    access_tokens: dict[str, int] = field(default_factory=dict)
    requests: deque[Json] = field(default_factory=lambda: deque(maxlen=REQUESTS_KEPT))
    agenda: list[tuple[int, int, Later]] = field(default_factory=list)
    planned: int = 0

    def new_id(self, length: int = 17) -> str:
        """A new id of capital letters and digits, as PayPal's are."""
        return draw_id(self.random_bytes, length)

    def plan(self, time: int, work: Later) -> None:
        """Has `work` happen at `time`."""
        self.planned += 1  # equal times happen in the order in which they were planned
        heapq.heappush(self.agenda, (time, self.planned, work))

    def advance(self, now: int) -> None:
        """Lets happen what was due by `now`: pending money settles, holds expire, late effects strike."""
        while self.agenda and self.agenda[0][0] <= now:
            time, _, work = heapq.heappop(self.agenda)
            work(time)

    def settle_time(self, now: int) -> int:
        """When something that is pending from `now` on is decided."""
        return now + micros(self.config.settle_seconds)

    def emit_capture(self, now: int, event: str, capture: Capture) -> None:
        """A PAYMENT.CAPTURE event about money taken."""
        resource = self.views.capture(capture)
        self.webhooks.emit(now, f"PAYMENT.CAPTURE.{event}", "capture", f"Payment {event.lower()}", resource)

    def emit_refund(self, now: int, event_type: str, refund: Refund) -> None:
        """An event about money given back."""
        summary = f"Refund {refund.status.lower()}"
        self.webhooks.emit(now, event_type, "refund", summary, self.views.refund(refund))


def draw_id(random_bytes: Callable[[int], bytes], length: int) -> str:
    """`length` capital letters and digits."""
    return "".join(_ALPHABET[byte % len(_ALPHABET)] for byte in random_bytes(length))
