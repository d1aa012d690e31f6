"""Lets in whoever stands outside, many in one turn of the loop, so that our own lines decide who comes next.

gRPC's own server accepts one call, hands it to the loop, and takes several turns before it accepts another. Under load
whoever came first stands in a line of gRPC's, and one that calls far too much is in front of everybody else there:
with 2,500 calls of one partner, whom our lines would have refused, others waited for 1.4 s.
"""

from __future__ import annotations

import asyncio
import importlib
from collections import deque
from collections.abc import Callable, Sequence
from contextvars import Context
from typing import Any, Self

import grpc

AT_ONCE = 128
"""How many calls gRPC may hand over in one turn of the loop."""

_core: Any = importlib.import_module("grpc._cython.cygrpc")
_ASK = "_make_request_call_future"


def open_server(options: Sequence[tuple[str, int]], calls_max: int | None = None) -> grpc.aio.Server:
    """A server of grpc.aio's that lets in up to `AT_ONCE` calls in one turn. Beyond `calls_max` gRPC refuses.

    Where the installed gRPC asks for its next call in another way, it is gRPC's server as it comes.
    """
    original = _core.AioServer
    if hasattr(original, _ASK):
        _core.AioServer = type("AioServer", (original,), {_ASK: _next_call})
    try:
        return grpc.aio.server(options=options, maximum_concurrent_rpcs=calls_max)
    finally:
        _core.AioServer = original


def _next_call(server: Any, method: bytes | None) -> asyncio.Future[Any]:
    """What gRPC's serving task waits for: the next call, of a registered method or of any other."""
    arrivals: dict[bytes | None, _Arrivals] = server.__dict__.setdefault("arrivals", {})
    if method not in arrivals:
        ask = getattr(super(type(server), server), _ASK)
        arrivals[method] = _Arrivals(lambda: ask(method), AT_ONCE if method is None else 1)
    return arrivals[method].next()


class _Arrival(asyncio.Future[Any]):
    """A call that comes. Who first asks for one that is here is told at once, not in the next turn of the loop.

    That is gRPC's `asyncio.wait`. Its `asyncio.gather`, in the end, is a later one, and could not bear it.
    """

    _asked = False

    def add_done_callback(self, call: Callable[[Self], object], /, *, context: Context | None = None) -> None:
        first, self._asked = not self._asked, True
        if first and self.done():
            call(self)
        else:
            super().add_done_callback(call, context=context)


class _Arrivals:
    """Calls that have come and were not fetched; with those that gRPC is asked for they are `at_once`."""

    def __init__(self, ask: Callable[[], asyncio.Future[Any]], at_once: int) -> None:
        self._ask = ask
        self._at_once = at_once
        self._asked = 0
        self._here: deque[asyncio.Future[Any]] = deque()
        self._awaited: _Arrival | None = None

    def next(self) -> _Arrival:
        """The next call, which may be here already."""
        arrival = _Arrival()
        if self._here:
            _hand_over(self._here.popleft(), arrival)
        else:
            self._awaited = arrival
        while self._asked + len(self._here) < self._at_once:
            self._asked += 1
            self._ask().add_done_callback(self._come)
        return arrival

    def _come(self, call: asyncio.Future[Any]) -> None:
        self._asked -= 1
        awaited, self._awaited = self._awaited, None
        if awaited is not None and not awaited.done():
            _hand_over(call, awaited)
        elif not _failed(call):
            self._here.append(call)


def _failed(call: asyncio.Future[Any]) -> bool:
    """Whether nobody came: gRPC tells all that it was asked for so when it stops, and one of them is enough."""
    return call.cancelled() or call.exception() is not None


def _hand_over(call: asyncio.Future[Any], arrival: _Arrival) -> None:
    if call.cancelled():
        arrival.cancel()
    elif error := call.exception():
        arrival.set_exception(error)
    else:
        arrival.set_result(call.result())
