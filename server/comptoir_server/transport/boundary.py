"""The one door: every call of every transport passes here, and nothing but bytes and failures comes out.

In order: capacity, size, parse, authenticate, access, validate, use case, serialise; whatever goes wrong on the way
becomes a `Failed`. No object of gRPC's is needed: the simulator and the testing kit call the same functions.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping
from contextlib import aclosing
from typing import Any

from google.protobuf.message import DecodeError, Message

from comptoir_server.app.call import CallContext
from comptoir_server.app.credentials import Principal, admit, authenticate
from comptoir_server.app.deps import Deps
from comptoir_server.domain.errors import Reason, Refused
from comptoir_server.runtime import Runtime
from comptoir_server.transport import failures, observe
from comptoir_server.transport.begun import Begun
from comptoir_server.transport.binding import Bound, bind
from comptoir_server.transport.capacity import Capacity, Limits, owner_of
from comptoir_server.transport.failures import Failed, Failures
from comptoir_server.transport.feed import Ended, Feed
from comptoir_server.transport.fields import require_fine
from comptoir_server.transport.policy import Method

REQUEST_BYTES_MAX = 256 * 1024
"""The largest request, serialised."""

CALL_SECONDS = 10.0
"""How long a call that waits for nobody may hold its caller, and the deadline of one that sends none."""

ANSWER_MARGIN_SECONDS = 0.5
"""The use case is to answer this long before the caller stops waiting."""

LATE_MARGIN_SECONDS = 0.25
"""A use case that has not answered by then goes on without its caller, who is told so."""

TIME_NEEDED_SECONDS = 1.0
"""The least time in which a provider can be asked; more than the margin, or nothing would be left to wait in."""

RECHECK_SECONDS = 4.0
"""How often the credential of an open stream is looked at again; with the look itself, less than five seconds."""

LAST_WORD_SECONDS = 1.0
"""How long, once the time to drain is over, a call has to say how its work stands."""

Metadata = Iterable[tuple[str, str | bytes]]


class Boundary:
    """The methods of a server, ready to be called by path, such as `/comptoir.v1.CheckoutService/GetCheckout`."""

    def __init__(self, deps: Deps, bound: Mapping[str, Bound] | None = None, limits: Limits | None = None) -> None:
        """Raises ContractError where the contract and the use cases do not fit together."""
        self._deps = deps
        self._bound = bind(deps.settings.mode) if bound is None else bound
        self._limits = limits or Limits()
        self._capacity = Capacity(self._limits)
        self._failures = Failures()
        self._calls = 0
        self._feeds: dict[Feed, str] = {}
        self._streams: Counter[str] = Counter()
        self._draining = False
        self._quiet = asyncio.Event()

    @property
    def runtime(self) -> Runtime:
        """Whose time it is."""
        return self._deps.runtime

    @property
    def methods(self) -> tuple[Method, ...]:
        """Every method of this server."""
        return tuple(bound.method for bound in self._bound.values())

    async def unary(self, path: str, metadata: Metadata, raw: bytes, time_left: float | None) -> bytes:
        """Answers one call. `time_left` is how many seconds the caller waits, None where it does not say.

        Raises Failed, and nothing else. A caller that is cancelled stops waiting; what it has begun goes on, unless it
        only reads.
        """
        bound = self._bound.get(path)
        if bound is None or bound.method.gives_stream:
            raise failures.unknown_method(path)
        started = self._deps.runtime.monotonic()
        principal: Principal | None = None
        reason = observe.CANCELED
        self._calls += 1
        try:
            if self._draining:
                raise failures.draining()
            if self._calls > self._limits.calls:
                raise failures.overloaded()
            request = self._parsed(bound, raw)
            principal = await self._admitted(bound, metadata)
            require_fine(bound.check(request))
            seconds = self._seconds(bound.method, time_left)
            arguments = bound.convert(request)
            call = self._context(bound.method, principal, request, started + seconds - ANSWER_MARGIN_SECONDS)
            late = started + seconds - min(LATE_MARGIN_SECONDS, seconds / 2)
            answer = await self._in_turn(bound, principal, call, arguments, late)
            written = bound.writers[principal.caller](answer)
            reason = observe.OK
            return written
        except Exception as error:  # noqa: BLE001 - the one place that must let nothing pass
            failed = self._failed(bound, principal, error)
            reason = failed.outcome
            raise failed from None
        finally:
            self._calls -= 1
            if self._draining and not self._calls:
                self._quiet.set()
            observe.ended(bound.method, principal, reason, self._deps.runtime.monotonic() - started)

    async def stream(
        self, path: str, metadata: Metadata, raw: bytes | AsyncIterator[bytes], time_left: float | None
    ) -> AsyncGenerator[bytes, None]:
        """Answers one call with many. `raw` is the request, or the stream of requests where the method takes one.

        Raises Failed, and nothing else.
        """
        bound = self._bound.get(path)
        if bound is None or not bound.method.gives_stream:
            raise failures.unknown_method(path)
        metadata = list(metadata)
        started = self._deps.runtime.monotonic()
        principal: Principal | None = None
        reason = observe.CANCELED
        try:
            if self._draining:
                raise failures.draining()
            request = None if bound.method.takes_stream else self._parsed(bound, raw)
            principal = await self._admitted(bound, metadata)
            call = self._context(bound.method, principal, request, started + (time_left or math.inf))
            feed = self._open(bound, call, self._answers(bound, call, request, raw))
            try:
                async with aclosing(self._followed(bound, metadata, feed)) as followed:
                    async for answer in followed:
                        yield bound.writers[principal.caller](answer)
                reason = observe.OK
            finally:
                self._feeds.pop(feed)
                self._left(call.owner)
                await feed.close()
        except Exception as error:  # noqa: BLE001 - the one place that must let nothing pass
            failed = self._failed(bound, principal, error)
            reason = failed.outcome
            raise failed from None
        finally:
            observe.ended(bound.method, principal, reason, self._deps.runtime.monotonic() - started)

    def _left(self, owner: str) -> None:
        self._streams[owner] -= 1
        if not self._streams[owner]:
            del self._streams[owner]

    async def drain(self, seconds: float) -> int:
        """Takes nothing on any more, ends streams, gives calls `seconds` to end, and answers how many have not.

        A call that waits for a provider then is answered with what is certain; its successor finishes the work.
        """
        self._draining = True
        for feed in self._feeds:
            feed.end(failures.draining())
        if not await self._quieted(seconds):
            self._deps.settled.give_up()
            await self._quieted(LAST_WORD_SECONDS)
        return self._calls

    async def _quieted(self, seconds: float) -> bool:
        """Whether every call has ended, within `seconds`."""
        if self._calls:
            try:
                async with asyncio.timeout(seconds):
                    await self._quiet.wait()
            except TimeoutError:
                return False
        return True

    def _parsed(self, bound: Bound, raw: Any) -> Message:
        if len(raw) > REQUEST_BYTES_MAX:
            raise _unreadable(f"The request has more than {REQUEST_BYTES_MAX} bytes.")
        try:
            return bound.method.request.FromString(raw)
        except (DecodeError, UnicodeDecodeError, ValueError):
            raise _unreadable(f"The bytes are not those of a {bound.method.request_type.full_name}.") from None

    async def _admitted(self, bound: Bound, metadata: Metadata) -> Principal:
        principal = await authenticate(self._deps, metadata)
        admit(principal, bound.method.callers, bound.method.scope)
        return principal

    def _seconds(self, method: Method, time_left: float | None) -> float:
        """For how long the caller is held: as long as it waits, at most as long as the method may take."""
        longest = float(method.waits_seconds or CALL_SECONDS)
        if time_left is None:
            return longest
        if method.waits_seconds and time_left < TIME_NEEDED_SECONDS:
            raise failures.too_little_time(time_left, TIME_NEEDED_SECONDS)
        return min(time_left, longest)

    def _context(self, method: Method, principal: Principal, request: Message | None, deadline: float) -> CallContext:
        request_id, fingerprint = "", ""
        if method.takes_request_id and request is not None:
            request_id = request.request_id  # type: ignore[attr-defined]  # in the descriptor, not in the base class
            request.ClearField("request_id")
            content = request.SerializeToString(deterministic=True).decode("latin-1")
            fingerprint = self._deps.vault.hash("request fingerprint", f"{method.name}\n{content}")
        return CallContext(
            caller=principal.caller,
            method=method.name,
            deadline=deadline,
            partner_id=principal.partner_id,
            bot_id=principal.bot_id,
            user_id=principal.user_id,
            channel_id=principal.channel_id,
            key_id=principal.key_id,
            scopes=principal.scopes,
            request_id=request_id,
            fingerprint=fingerprint,
        )

    async def _in_turn(
        self, bound: Bound, principal: Principal, call: CallContext, arguments: dict[str, Any], late: float
    ) -> dict[str, Any]:
        """What the use case answers until `late`, once it is this call's turn.

        The turn is over when the work is, which may be after its caller has gone.
        """
        desk, owner = self._capacity.desk(bound.method), owner_of(principal)
        if not desk.try_take(owner):
            needed = TIME_NEEDED_SECONDS if bound.method.waits_seconds else 0.0
            await desk.take(owner, late - needed - self._deps.runtime.monotonic())
        work: Coroutine[Any, Any, dict[str, Any]] = bound.function(self._deps, call, **arguments)
        if not bound.method.reads:
            kept = self._kept(bound, call, work, lambda: desk.give(owner))
            return await self._answer(bound, lambda: kept, late)
        try:
            return await self._answer(bound, lambda: Begun(work), late)
        finally:
            desk.give(owner)

    async def _answer(
        self, bound: Bound, begin: Callable[[], Awaitable[dict[str, Any]]], late: float
    ) -> dict[str, Any]:
        """What the use case answers. What only reads ends with its caller; the rest is the server's to finish."""
        seconds = late - self._deps.runtime.monotonic()
        try:
            begun = begin()
        except StopIteration as answered:
            answer: dict[str, Any] = answered.value
            return answer
        held = asyncio.timeout(max(seconds, 0.0))
        try:
            async with held:
                return await begun
        except TimeoutError:
            if not held.expired():
                raise
            raise (failures.not_read_in_time() if bound.method.reads else failures.still_running()) from None

    def _kept(
        self, bound: Bound, call: CallContext, work: Coroutine[Any, Any, dict[str, Any]], over: Callable[[], None]
    ) -> asyncio.Future[dict[str, Any]]:
        """The answer of a work that runs to its end, when `over` is called, whether or not somebody still waits."""
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()

        async def run() -> None:
            try:
                answer = await work
            except asyncio.CancelledError:  # the server stops before the work has ended; a repetition finds what it did
                if not future.done():
                    future.set_exception(failures.still_running())
                raise
            except Exception as error:  # noqa: BLE001 - handed on to whoever waits
                if not future.done():
                    future.set_exception(error)
                elif failures.refusal_of(error) is None:
                    reference = self._deps.runtime.random_bytes(8).hex()
                    observe.unforeseen(bound.method, None, reference, error)
            else:
                if not future.done():
                    future.set_result(answer)

        task = self._deps.runtime.spawn(run(), f"{bound.method.name} of {call.owner}")
        task.add_done_callback(lambda _: over())
        return future

    def _answers(
        self, bound: Bound, call: CallContext, request: Message | None, raw: Any
    ) -> AsyncGenerator[dict[str, Any], None]:
        """What the use case behind a stream makes."""
        answers: AsyncGenerator[dict[str, Any], None]
        if request is None:
            answers = bound.function(self._deps, call, self._requests(bound, raw))
        else:
            require_fine(bound.check(request))
            answers = bound.function(self._deps, call, **bound.convert(request))
        return answers

    async def _requests(self, bound: Bound, raws: AsyncIterator[bytes]) -> AsyncIterator[Any]:
        """The requests of a stream, each checked; a wrong one ends the stream with its refusal."""
        async for raw in raws:
            request = self._parsed(bound, raw)
            require_fine(bound.check(request))
            yield bound.convert(request)

    def _open(self, bound: Bound, call: CallContext, answers: AsyncGenerator[dict[str, Any], None]) -> Feed:
        if len(self._feeds) >= self._limits.streams:
            raise failures.overloaded()
        if self._streams[call.owner] >= self._limits.streams_of_one_caller:
            raise failures.too_many_streams(self._limits.streams_of_one_caller)
        if self._draining:
            raise failures.draining()
        feed = Feed(self._deps.runtime, answers, f"{bound.method.name} {call.owner}")
        self._feeds[feed] = call.owner
        self._streams[call.owner] += 1
        return feed

    async def _followed(self, bound: Bound, metadata: Metadata, feed: Feed) -> AsyncGenerator[dict[str, Any], None]:
        """The answers of a feed, for as long as the credential holds."""
        monotonic = self._deps.runtime.monotonic
        check_at = monotonic() + RECHECK_SECONDS
        while True:
            item = await feed.next(max(check_at - monotonic(), 0.0))
            if monotonic() >= check_at:
                await self._admitted(bound, metadata)
                check_at = monotonic() + RECHECK_SECONDS
            if isinstance(item, Ended):
                if item.error is not None:
                    raise item.error
                return
            if item is not None:
                yield item

    def _failed(self, bound: Bound, principal: Principal | None, error: Exception) -> Failed:
        if isinstance(error, Failed):
            return error
        refused = failures.refusal_of(error)
        if refused is None:
            reference = self._deps.runtime.random_bytes(8).hex()
            observe.unforeseen(bound.method, principal, reference, error)
            refused = failures.internal(reference)
        return self._failures.of(refused)


def _unreadable(message: str) -> Refused:
    return Refused(Reason.FIELD_INVALID, message, field="request")
