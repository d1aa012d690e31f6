"""The memory of PayPal-Request-Id: 6 hours for orders, 45 days for payments, 3 hours for the vault.

A key is remembered once its request succeeded; after a refusal the same key is executed anew. A
repetition is answered with the first request's resource as it is now, whatever its body or path say;
the vault refuses another body instead (422 PAYPAL_REQUEST_ID_PREVIOUSLY_USED).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from comptoir_server.standins.paypal.errors import CONFLICT, UNPROCESSABLE, Refusal
from comptoir_server.standins.paypal.wire import Call, Result, micros

HOUR_SECONDS = 3_600
ORDERS_SECONDS = 6 * HOUR_SECONDS
PAYMENTS_SECONDS = 45 * 24 * HOUR_SECONDS
VAULT_SECONDS = 3 * HOUR_SECONDS
LONGEST = 108


@dataclass(frozen=True, slots=True)
class Kept:
    """A request remembered: still running until `busy_time`, forgotten at `expire_time`."""

    result: Result
    content: str
    busy_time: int
    expire_time: int


@dataclass(slots=True)
class Keys:
    """What is remembered, by operation and key, and which resources have a request running."""

    kept: dict[tuple[str, str], Kept] = field(default_factory=dict)
    running: dict[str, int] = field(default_factory=dict)

    def recall(self, call: Call, *, strict: bool) -> Result | None:
        """The result to repeat, None for a new request. Raises Refusal: still running, or another body."""
        kept = self.kept.get((call.operation, call.request_id)) if call.request_id else None
        if kept and kept.expire_time > call.now:
            if kept.busy_time > call.now:
                raise Refusal("PREVIOUS_REQUEST_IN_PROGRESS", status=CONFLICT)
            if strict and kept.content != repr(call.body):
                raise Refusal("PAYPAL_REQUEST_ID_PREVIOUSLY_USED", status=UNPROCESSABLE)
            return kept.result
        busy_time = self.running.get(_resource(call), 0)
        if busy_time > call.now:
            raise Refusal("PREVIOUS_REQUEST_IN_PROGRESS", status=CONFLICT)
        return None

    def keep(self, call: Call, result: Result, memory_seconds: int, busy_seconds: float) -> None:
        """Remembers a success, as running for `busy_seconds` more."""
        busy_time = call.now + micros(busy_seconds)
        if call.ids and busy_seconds > 0:
            self.running[_resource(call)] = busy_time
        if call.request_id:
            expire_time = busy_time + micros(memory_seconds)
            self.kept[call.operation, call.request_id] = Kept(result, repr(call.body), busy_time, expire_time)

    def forget(self) -> int:
        """Forgets every key, as PayPal does after its lifetimes; answers how many there were."""
        count = len(self.kept)
        self.kept.clear()
        return count


def _resource(call: Call) -> str:
    """The resource that a request acts upon; one that makes a new resource stands in nobody's way."""
    return call.path.rsplit("/", 1)[0] if call.ids else f"{call.path}#{call.request_id}"
