"""Bots: functions that are given what happens in their sessions, and answer.

bot = Bot("localhost:7600", key, consumer="coffee")

@bot.on_message
def greet(context: Context) -> None:
    context.reply("Coffee?", buttons=[("Yes please", "order:espresso")])

@bot.on_postback("order:")
def order(context: Context) -> None:
    context.create_checkout(CreateCheckoutRequest(items=[line_item("Espresso", money(250, "EUR"))]))

@bot.on_event("checkout.completed")
def serve(context: Context) -> None:
    context.reply("Paid. It is on its way.")

bot.run()
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import signal
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, ClassVar, Generic, TypeAlias, TypeVar

from comptoir._context import AsyncContext, Context, EventRequestIds
from comptoir._dispatch import Dispatcher, Effort
from comptoir._handlers import MESSAGE_RECEIVED, Handlers
from comptoir._runtime import Runtime
from comptoir.aio import AsyncClient
from comptoir.client import Client
from comptoir.errors import ComptoirError
from comptoir.v1 import AckEventsRequest, Event

logger = logging.getLogger("comptoir")

Handler = TypeVar("Handler", bound=Callable[..., object])
FailureHandler = TypeVar("FailureHandler", bound=Callable[..., object])

SyncHandler: TypeAlias = Callable[[Context], None]
SyncFailureHandler: TypeAlias = Callable[[Context, Exception], None]
AsyncHandler: TypeAlias = Callable[[AsyncContext], Awaitable[None]]
AsyncFailureHandler: TypeAlias = Callable[[AsyncContext, Exception], Awaitable[None]]

Invoke: TypeAlias = Callable[..., Awaitable[None]]
"""Calls a bot's function with the context of an event: (function, event, request ids, further arguments)."""

LAST_ACK_SECONDS = 2.0


class _Bot(Generic[Handler, FailureHandler]):
    """What the two kinds of bots have in common."""

    _coroutines: ClassVar[bool]
    """Whether the functions may be coroutines; where they may not, one would never run."""

    def __init__(
        self,
        target: str,
        key: str,
        *,
        consumer: str = "bot",
        concurrency: int = 8,
        max_attempts: int = 5,
        max_outstanding: int = 100,
        grace_seconds: float = 10.0,
        insecure: bool | None = None,
        root_certificates: bytes | None = None,
        runtime: Runtime | None = None,
    ) -> None:
        """Opens no connection yet.

        `target`, `key`, `insecure` and `root_certificates` are those of `Client`; use a key that is bound to the bot.
        `consumer` names the place in the log that the server keeps. `concurrency` events (of different sessions) are
        handled at once, `max_outstanding` (1 to 1000) are taken from the server in advance. A function that raises gets
        the event `max_attempts` times. After `stop()`, functions that are running have `grace_seconds` to finish.
        """
        self._target = target
        self._key = key
        self._consumer = consumer
        self._max_outstanding = max_outstanding
        self._effort = Effort(concurrency, max_attempts, grace_seconds)
        self._runtime = runtime or Runtime()
        self._connection: dict[str, Any] = {
            "insecure": insecure,
            "root_certificates": root_certificates,
            "runtime": self._runtime,
        }
        self._handlers: Handlers[Handler] = Handlers()
        self._failure_handler: FailureHandler | None = None
        self._close_stream: Callable[[], object] | None = None

    def on_message(self, handler: Handler) -> Handler:
        """Gives what people say to the function."""
        return self.on_event(MESSAGE_RECEIVED)(handler)

    def on_postback(self, prefix: str) -> Callable[[Handler], Handler]:
        """Gives pressed buttons whose payload starts with `prefix` to the function; the longest prefix wins."""

        def register(handler: Handler) -> Handler:
            self._check(handler)
            self._handlers.add_postback(prefix, handler)
            return handler

        return register

    def on_event(self, event_type: str) -> Callable[[Handler], Handler]:
        """Gives the events of a type, such as `checkout.completed`, to the function."""

        def register(handler: Handler) -> Handler:
            self._check(handler)
            self._handlers.add_event(event_type, handler)
            return handler

        return register

    def on_failure(self, handler: FailureHandler) -> FailureHandler:
        """Tells the function of an event that is given up: its context, and what was raised last."""
        self._check(handler)
        self._failure_handler = handler
        return handler

    def _check(self, handler: Callable[..., object]) -> None:
        if inspect.iscoroutinefunction(handler) and not self._coroutines:
            raise TypeError("a coroutine function needs an AsyncBot: a Bot calls plain functions")

    def stop(self) -> None:
        """Makes `run` return once the functions that are running have finished; from any thread."""
        if self._close_stream is not None:
            self._close_stream()

    async def _work(self, client: AsyncClient, invoke: Invoke) -> None:
        """Follows the log until the bot is stopped or its credential ends."""

        async def handle(event: Event) -> None:
            handler = self._handlers.find(event)
            if handler is None:
                logger.debug("%s (%s) has no handler", event.event_id, event.type)
            else:
                await invoke(handler, event, EventRequestIds(event.event_id, self._consumer))

        async def give_up(event: Event, error: Exception) -> None:
            if self._failure_handler is not None:
                ids = EventRequestIds(event.event_id, f"{self._consumer} failure")
                await invoke(self._failure_handler, event, ids, error)

        loop = asyncio.get_running_loop()
        stream = client.events.stream(self._consumer, max_outstanding=self._max_outstanding, auto_ack=False)
        dispatcher = Dispatcher(stream, handle, give_up, self._effort, self._runtime)
        self._close_stream = lambda: loop.call_soon_threadsafe(stream.close)
        try:
            await dispatcher.run()
        finally:
            self._close_stream = None
            if dispatcher.acknowledged_cursor:
                await self._acknowledge_last(client, dispatcher.acknowledged_cursor)

    async def _acknowledge_last(self, client: AsyncClient, cursor: str) -> None:
        """What was finished as the stream ended is acknowledged by a call of its own; without it, it comes again."""
        request = AckEventsRequest(consumer=self._consumer, cursor=cursor)
        try:
            await client.events.ack_events(request, timeout_seconds=LAST_ACK_SECONDS)
        except ComptoirError as error:
            logger.warning("the last events will come again: they could not be acknowledged (%s)", error)


class Bot(_Bot[SyncHandler, SyncFailureHandler]):
    """A bot whose functions are plain functions; each runs in one of `concurrency` threads.

    The events of a session come one after the other and in order; those of different sessions side by side. An event
    is acknowledged when its function has returned and all events before it are finished.

    A function that raises gets the same event again, after a growing delay, `max_attempts` times in all; while the
    platform cannot be reached attempts are not counted. After that the event is logged as an error with its id, given
    to the function of `on_failure`, and acknowledged: one event that nobody can handle does not stop the others.

    Events come at least once, and `Context` sees to it that handling one twice says and charges nothing twice. A
    function that never returns holds up its session, and after `max_outstanding` further events the whole bot: give
    your own calls a deadline.
    """

    _coroutines = False

    def run(self) -> None:
        """Works until `stop()`, SIGINT or SIGTERM. Raises ComptoirError where the server will not have this bot."""
        asyncio.run(self._run())

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        pool = ThreadPoolExecutor(self._effort.concurrency, thread_name_prefix="bot")

        async def invoke(
            function: Callable[..., object], event: Event, ids: EventRequestIds, *arguments: object
        ) -> None:
            context = Context(event, services.with_request_ids(ids))
            await loop.run_in_executor(pool, function, context, *arguments)

        def stop_once() -> None:
            """The second signal then ends the process at once."""
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)
            self.stop()

        # Only the main thread may take signals, and not on every system: elsewhere `stop()` is the way.
        with suppress(NotImplementedError, RuntimeError, ValueError):
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(number, stop_once)
        try:
            with Client(self._target, self._key, **self._connection) as services:
                async with AsyncClient(self._target, self._key, **self._connection) as client:
                    await self._work(client, invoke)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


class AsyncBot(_Bot[AsyncHandler, AsyncFailureHandler]):
    """A bot whose functions are coroutines; otherwise as `Bot`.

        asyncio.run(bot.run())

    A function that blocks holds up all sessions: use `Bot` for code that waits without `await`. Signals are yours to
    take: `loop.add_signal_handler(signal.SIGTERM, bot.stop)`.
    """

    _coroutines = True

    async def run(self) -> None:
        """Works until `stop()` or cancellation. Raises ComptoirError where the server will not have this bot."""

        async def invoke(
            function: Callable[..., Awaitable[object]], event: Event, ids: EventRequestIds, *arguments: object
        ) -> None:
            await function(AsyncContext(event, client.with_request_ids(ids)), *arguments)

        async with AsyncClient(self._target, self._key, **self._connection) as client:
            await self._work(client, invoke)
