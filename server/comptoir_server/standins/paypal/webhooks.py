"""Webhooks: events, who is subscribed to them, and deliveries that wait until they are due.

Nothing is sent here. Whoever drives the stand-in takes what is due, sends it and reports the answer;
what was not answered with 2xx comes again, up to 25 times (PayPal: 25 times over 3 days).
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from comptoir_server.standins.paypal.signing import ALGORITHM, Signer, signed_text
from comptoir_server.standins.paypal.wire import MICROSECONDS, Json, dump, iso

ATTEMPTS_MAX = 25
FIRST_RETRY_SECONDS = 1
LONGEST_RETRY_SECONDS = 600
EVERY_EVENT = "*"


class Mode(StrEnum):
    """How new events travel."""

    NORMAL = "normal"
    DROPPED = "dropped"
    """Never delivered."""
    DUPLICATE = "duplicate"
    """Delivered twice, under two transmission ids."""
    LATE = "late"
    """Delivered `seconds` later."""
    REORDERED = "reordered"
    """Every other event is held back for `seconds`, so that the next one overtakes it."""


@dataclass(frozen=True, slots=True)
class Subscription:
    """A URL of the caller's, and the names of the events that it wants."""

    id: str
    url: str
    event_types: tuple[str, ...]

    def wants(self, event_type: str) -> bool:
        """Whether an event of this type goes there."""
        return EVERY_EVENT in self.event_types or event_type in self.event_types


@dataclass(frozen=True, slots=True)
class Event:
    """What happened, with the very bytes that are delivered."""

    id: str
    type: str
    time: int
    body: bytes


@dataclass(slots=True, eq=False)
class Delivery:
    """One event on its way to one URL."""

    transmission_id: str
    event: Event
    subscription: Subscription
    attempts: int = 0
    answers: list[int] = field(default_factory=list)
    delivered: bool = False


@dataclass(frozen=True, slots=True)
class Transmission:
    """What to POST where. Report its answer."""

    delivery: Delivery
    url: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(slots=True)
class Webhooks:
    """Subscriptions, events and deliveries. `new_id` draws ids; `base_url` is where certificates are served."""

    base_url: str
    signer: Signer
    new_id: Callable[[int], str]
    subscriptions: dict[str, Subscription] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)
    queue: list[tuple[int, int, Delivery]] = field(default_factory=list)
    queued: int = 0
    mode: Mode = Mode.NORMAL
    mode_seconds: float = 0.0
    mode_event_type: str = EVERY_EVENT
    held_back: bool = False

    @property
    def certificate_url(self) -> str:
        """Where the signing certificate is served."""
        return f"{self.base_url}/v1/notifications/certs/{self.signer.certificate_id}"

    def emit(self, now: int, event_type: str, resource_type: str, summary: str, resource: Json) -> Event:
        """An event that just happened, and its deliveries as the mode has them."""
        event_id = f"WH-{self.new_id(17)}-{self.new_id(17)}"
        link = f"{self.base_url}/v1/notifications/webhooks-events/{event_id}"
        body = {
            "id": event_id,
            "event_version": "1.0",
            "create_time": iso(now),
            "resource_type": resource_type,
            "resource_version": "3.0" if resource_type == "payment_token" else "2.0",
            "event_type": event_type,
            "summary": summary,
            "resource": resource,
            "links": [
                {"href": link, "rel": "self", "method": "GET"},
                {"href": f"{link}/resend", "rel": "resend", "method": "POST"},
            ],
        }
        event = Event(event_id, event_type, now, dump(body))
        self.events.append(event)
        due_times = self._due_times(event)
        for subscription in self.subscriptions.values():
            if subscription.wants(event_type):
                for due_time in due_times:
                    delivery = Delivery(self._transmission_id(), event, subscription)
                    self.deliveries.append(delivery)
                    self._put(due_time, delivery)
        return event

    def take_due(self, now: int) -> list[Transmission]:
        """What is to be sent now, oldest first; each must be reported."""
        due: list[Transmission] = []
        while self.queue and self.queue[0][0] <= now:
            delivery = heapq.heappop(self.queue)[2]
            delivery.attempts += 1
            due.append(self._transmission(delivery, now))
        return due

    def report(self, transmission: Transmission, status: int, now: int) -> None:
        """What came of a transmission: its HTTP status, 0 when there was no answer."""
        delivery = transmission.delivery
        delivery.answers.append(status)
        if 200 <= status < 300:
            delivery.delivered = True
        elif delivery.attempts < ATTEMPTS_MAX:
            wait_seconds = min(FIRST_RETRY_SECONDS << (delivery.attempts - 1), LONGEST_RETRY_SECONDS)
            self._put(now + wait_seconds * MICROSECONDS, delivery)

    def next_time(self) -> int | None:
        """When the next delivery is due; None while there is none."""
        return self.queue[0][0] if self.queue else None

    def _put(self, due_time: int, delivery: Delivery) -> None:
        self.queued += 1  # equal times leave in the order in which they came
        heapq.heappush(self.queue, (due_time, self.queued, delivery))

    def _due_times(self, event: Event) -> list[int]:
        """When to deliver the event: once, twice, later or never."""
        if self.mode_event_type not in {EVERY_EVENT, event.type}:
            return [event.time]
        later = event.time + int(self.mode_seconds * MICROSECONDS)
        if self.mode is Mode.REORDERED:
            self.held_back = not self.held_back
            return [later if self.held_back else event.time]
        return {
            Mode.NORMAL: [event.time],
            Mode.DROPPED: [],
            Mode.DUPLICATE: [event.time, later],
            Mode.LATE: [later],
        }[self.mode]

    def _transmission(self, delivery: Delivery, now: int) -> Transmission:
        time, body = iso(now), delivery.event.body
        text = signed_text(delivery.transmission_id, time, delivery.subscription.id, body)
        headers = {
            "content-type": "application/json",
            "user-agent": "PayPal/AUHD-1.0-1",
            "paypal-transmission-id": delivery.transmission_id,
            "paypal-transmission-time": time,
            "paypal-transmission-sig": self.signer.sign(text),
            "paypal-cert-url": self.certificate_url,
            "paypal-auth-algo": ALGORITHM,
        }
        return Transmission(delivery, delivery.subscription.url, headers, body)

    def _transmission_id(self) -> str:
        text = self.new_id(32).lower()
        return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))
