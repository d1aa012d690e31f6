"""The callers, in a process of their own: 64 at once, one slice for each line of orders on standard input.

    python -m tests.load.load_generator

Reads one JSON line about the server, then orders such as `{"order": "call", "method": "empty", "calls": 3200}`, and
answers each with a line: what a slice showed, where a log ends, what followers of it were delivered. A call
that fails ends it.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from comptoir.v1 import (
    Checkout,
    ConfirmCheckoutRequest,
    ConfirmCheckoutResponse,
    CreateCaptureRequest,
    CreateCaptureResponse,
    GetCheckoutRequest,
    ListEventsRequest,
    ListEventsResponse,
    Payment,
)
from tests.load.followers import Followers
from tests.load.wire import CALLERS, CAPTURE, CONFIRM, EMPTY, EVENTS, READ

PATHS = {"empty": EMPTY, "confirm": CONFIRM, "hold": CONFIRM, "read": READ, "capture": CAPTURE, "events": EVENTS}
OF_PARTNERS = frozenset({"capture", "events"})
CHANNELS = 8
PAGE, PAGE_MAX = 50, 1000
CALL_SECONDS = 30


class Callers:
    """Everybody who calls, over a few connections."""

    def __init__(self, about: dict[str, Any], channels: list[grpc.aio.Channel]) -> None:
        self._about = about
        self._channels = channels
        self._headers = [
            (("authorization", f"Bearer {about['channel']}"), ("comptoir-user", user)) for user in about["users"]
        ]
        self._partner = (("authorization", f"Bearer {about['partner']}"),)
        self._open: list[list[str]] = []
        self._paid: list[str] = [""] * CALLERS
        self._held: list[list[str]] = [[] for _ in range(CALLERS)]

    async def call(self, method: str, calls: int, checkouts: list[list[str]]) -> dict[str, float]:
        """`calls` calls, shared by all callers; `checkouts` are those that each of them confirms."""
        self._open = checkouts
        times: list[float] = []
        started = time.perf_counter()
        await asyncio.gather(*(self._caller(number, method, calls // CALLERS, times) for number in range(CALLERS)))
        seconds = time.perf_counter() - started
        times.sort()
        return {
            "calls": len(times),
            "started": started,
            "seconds": seconds,
            "p50_ms": times[len(times) // 2] * 1000,
            "p99_ms": times[int(len(times) * 0.99)] * 1000,
        }

    async def log_end(self, key: str, cursor: str) -> dict[str, Any]:
        """How many events the log of that key's owner holds behind `cursor`, and the cursor of its end."""
        metadata = (("authorization", f"Bearer {self._about[key]}"),)
        call: Any = self._channels[0].unary_unary(EVENTS)
        count, found = 0, PAGE_MAX
        while found == PAGE_MAX:
            raw = ListEventsRequest(cursor=cursor, page_size=PAGE_MAX).SerializeToString()
            page = ListEventsResponse.FromString(await call(raw, metadata=metadata, timeout=CALL_SECONDS))
            found, cursor = len(page.events), page.next_cursor
            count += found
        return {"events": count, "cursor": cursor}

    async def _caller(self, number: int, method: str, calls: int, times: list[float]) -> None:
        call: Any = self._channels[number % CHANNELS].unary_unary(PATHS[method])
        metadata = self._partner if method in OF_PARTNERS else self._headers[number]
        for _ in range(calls):
            raw = self._request(number, method)
            started = time.perf_counter()
            answer = await call(raw, metadata=metadata, timeout=CALL_SECONDS)
            times.append(time.perf_counter() - started)
            self._check(number, method, answer)

    def _request(self, number: int, method: str) -> bytes:
        if method == "empty":
            return b""
        if method == "read":
            return GetCheckoutRequest(checkout_id=self._paid[number]).SerializeToString()
        if method == "events":
            return ListEventsRequest(page_size=PAGE).SerializeToString()
        if method == "capture":
            payment_id = self._held[number].pop()
            return CreateCaptureRequest(request_id=payment_id, payment_id=payment_id).SerializeToString()
        checkout_id = self._open[number].pop()
        return ConfirmCheckoutRequest(request_id=checkout_id, checkout_id=checkout_id, version=1).SerializeToString()

    def _check(self, number: int, method: str, answer: bytes) -> None:
        """Requires what the method is for; a fast wrong answer is none."""
        if method in ("confirm", "hold"):
            confirmed = ConfirmCheckoutResponse.FromString(answer)
            _require(confirmed.checkout.state == Checkout.STATE_COMPLETED, "a confirmed checkout was not completed")
            if method == "hold":
                _require(confirmed.payment.state == Payment.STATE_AUTHORIZED, "the money was not held")
                self._held[number].append(confirmed.payment.payment_id)
            else:
                self._paid[number] = confirmed.checkout.checkout_id
        if method == "capture":
            state = CreateCaptureResponse.FromString(answer).payment.state
            _require(state == Payment.STATE_CAPTURED, "a hold was not captured")


def _require(fact: bool, otherwise: str) -> None:
    if not fact:
        raise SystemExit(otherwise)


async def main() -> None:
    """Until standard input closes."""
    loop = asyncio.get_running_loop()
    about = json.loads(await loop.run_in_executor(None, sys.stdin.readline))
    address, options = f"127.0.0.1:{about['port']}", (("grpc.use_local_subchannel_pool", 1),)
    channels = [grpc.aio.insecure_channel(address, options=options) for _ in range(CHANNELS)]
    callers, followers = Callers(about, channels), Followers(about, channels)
    known: dict[str, Callable[..., Awaitable[Any]]] = {
        "call": callers.call,
        "log_end": callers.log_end,
        "follow": followers.follow,
        "delivered": followers.delivered,
        "leave": followers.leave,
    }
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        order = json.loads(line)
        print(json.dumps(await known[order.pop("order")](**order)), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
