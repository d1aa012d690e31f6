"""What a bot's function gets: the event, and a client through which it says and charges nothing twice."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from hashlib import blake2b

from comptoir.aio import AsyncServices
from comptoir.client import Services
from comptoir.errors import RequestIdReused
from comptoir.v1 import (
    Button,
    Checkout,
    CreateCheckoutRequest,
    Event,
    Message,
    MessageContent,
    SendMessageRequest,
)
from comptoir.values import text_content, total_of

logger = logging.getLogger("comptoir")

SAID_BEFORE = "event %s was answered before, in other words; the first answer stands"


class EventRequestIds:
    """Request ids that follow from an event: the n-th call of a method has the same id whenever the event is handled.

    The consumer is part of them, so that two programs that read the same log do not answer for each other.

    >>> EventRequestIds("evt_1", "bot")("SendMessage")
    'evt_1:SendMessage:1:6ac1e6ac'
    """

    def __init__(self, event_id: str, consumer: str) -> None:
        self._event_id = event_id
        self._consumer = blake2b(consumer.encode(), digest_size=4).hexdigest()
        self._calls: Counter[str] = Counter()

    def __call__(self, method_name: str) -> str:
        self._calls[method_name] += 1
        return f"{self._event_id}:{method_name}:{self._calls[method_name]}:{self._consumer}"


class EventContext:
    """An event, read conveniently."""

    def __init__(self, event: Event) -> None:
        self.event = event
        """What happened."""

    @property
    def session_id(self) -> str:
        """The session that the event belongs to; empty for none."""
        return self.event.session_id

    @property
    def message(self) -> Message:
        """What was said or pressed; an empty message for events about anything else."""
        return self.event.message

    @property
    def text(self) -> str:
        """The words that were said, or the title of the button that was pressed; empty for anything else."""
        content = self.event.message.content
        return content.postback.title if content.HasField("postback") else content.text.text

    @property
    def payload(self) -> str:
        """The payload of the button that was pressed; empty for anything else."""
        return self.event.message.content.postback.payload

    def _message_request(self, content: MessageContent) -> SendMessageRequest:
        return SendMessageRequest(session_id=self.session_id, content=content)

    def _checkout_request(self, request: CreateCheckoutRequest) -> CreateCheckoutRequest:
        filled = CreateCheckoutRequest()
        filled.CopyFrom(request)
        filled.session_id = request.session_id or self.session_id
        if not request.HasField("total"):
            filled.total.CopyFrom(total_of(request.items, request.adjustments))
        return filled


class Context(EventContext):
    """What a function of a `Bot` gets.

    Every call through `client`, and through the methods here, has a `request_id` that follows from the event and from
    how many such calls were made before: an event that is handled twice, because it came twice or because the function
    raised half-way, says and charges nothing twice. For that the function must make the same calls each time it is
    given the same event: take times from `event.create_time` and prices from what you store, not from the clock.
    """

    def __init__(self, event: Event, client: Services) -> None:
        super().__init__(event)
        self.client = client
        """The whole platform, with request ids that follow from the event."""

    def reply(self, words: str, buttons: Sequence[Button | tuple[str, str]] = ()) -> Message | None:
        """Says something in the session, with buttons under it: pairs of title and payload.

        None where this event was answered before in other words; the first answer stands.
        """
        return self.send(text_content(words, buttons))

    def send(self, content: MessageContent) -> Message | None:
        """Sends words, an itinerary or a boarding pass; None where this event was answered before with another."""
        try:
            return self.client.sessions.send_message(self._message_request(content)).message
        except RequestIdReused:
            logger.warning(SAID_BEFORE, self.event.event_id)
            return None

    def create_checkout(self, request: CreateCheckoutRequest) -> Checkout:
        """Asks for a payment in the session, which needs not be named; the total is worked out where it is absent."""
        return self.client.checkouts.create_checkout(self._checkout_request(request)).checkout


class AsyncContext(EventContext):
    """What a function of an `AsyncBot` gets; as `Context`, awaited."""

    def __init__(self, event: Event, client: AsyncServices) -> None:
        super().__init__(event)
        self.client = client
        """The whole platform, with request ids that follow from the event."""

    async def reply(self, words: str, buttons: Sequence[Button | tuple[str, str]] = ()) -> Message | None:
        """Says something in the session, with buttons under it: pairs of title and payload.

        None where this event was answered before in other words; the first answer stands.
        """
        return await self.send(text_content(words, buttons))

    async def send(self, content: MessageContent) -> Message | None:
        """Sends words, an itinerary or a boarding pass; None where this event was answered before with another."""
        try:
            return (await self.client.sessions.send_message(self._message_request(content))).message
        except RequestIdReused:
            logger.warning(SAID_BEFORE, self.event.event_id)
            return None

    async def create_checkout(self, request: CreateCheckoutRequest) -> Checkout:
        """Asks for a payment in the session, which needs not be named; the total is worked out where it is absent."""
        return (await self.client.checkouts.create_checkout(self._checkout_request(request))).checkout
