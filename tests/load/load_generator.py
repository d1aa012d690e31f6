"""The callers, in a process of their own: 64 at once, one slice for each line of orders on standard input.

    python -m tests.load.load_generator

Reads one JSON line about the server, then orders such as `{"method": "empty", "calls": 3000}`; answers each with
`{"seconds": ..., "calls": ..., "p50_ms": ..., "p99_ms": ...}`. A call that fails ends it.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

import grpc

from comptoir.v1 import Checkout, ConfirmCheckoutRequest, ConfirmCheckoutResponse, GetCheckoutRequest
from tests.load.measured_server import CALLERS, EMPTY

CONFIRM = "/comptoir.v1.CheckoutService/ConfirmCheckout"
READ = "/comptoir.v1.CheckoutService/GetCheckout"
PATHS = {"empty": EMPTY, "confirm": CONFIRM, "read": READ}
CHANNELS = 8


class Callers:
    """Everybody who calls, over a few connections."""

    def __init__(self, about: dict[str, Any]) -> None:
        address = f"127.0.0.1:{about['port']}"
        self._channels = [
            grpc.aio.insecure_channel(address, options=(("grpc.use_local_subchannel_pool", 1),))
            for _ in range(CHANNELS)
        ]
        self._headers = [
            (("authorization", f"Bearer {about['key']}"), ("comptoir-user", user)) for user in about["users"]
        ]
        self._open: list[list[str]] = about["checkouts"]
        self._paid: list[list[str]] = [[] for _ in range(CALLERS)]

    async def slice(self, method: str, calls: int) -> dict[str, float]:
        """`calls` calls, shared by all callers."""
        each = calls // CALLERS
        times: list[float] = []
        started = time.perf_counter()
        await asyncio.gather(*(self._caller(number, method, each, times) for number in range(CALLERS)))
        seconds = time.perf_counter() - started
        times.sort()
        return {
            "seconds": seconds,
            "calls": len(times),
            "p50_ms": times[len(times) // 2] * 1000,
            "p99_ms": times[int(len(times) * 0.99)] * 1000,
        }

    async def _caller(self, number: int, method: str, calls: int, times: list[float]) -> None:
        channel = self._channels[number % CHANNELS]
        call: Any = channel.unary_unary(PATHS[method])
        for _ in range(calls):
            raw = self._request(number, method)
            started = time.perf_counter()
            answer = await call(raw, metadata=self._headers[number], timeout=30)
            times.append(time.perf_counter() - started)
            if method == "confirm":
                _require_completed(answer)

    def _request(self, number: int, method: str) -> bytes:
        if method == "empty":
            return b""
        if method == "read":
            return GetCheckoutRequest(checkout_id=self._paid[number][-1]).SerializeToString()
        checkout_id = self._open[number].pop()
        self._paid[number].append(checkout_id)
        return ConfirmCheckoutRequest(request_id=checkout_id, checkout_id=checkout_id, version=1).SerializeToString()


def _require_completed(answer: bytes) -> None:
    if ConfirmCheckoutResponse.FromString(answer).checkout.state != Checkout.STATE_COMPLETED:
        raise SystemExit("a confirmed checkout was not completed")


async def main() -> None:
    """Until standard input closes."""
    loop = asyncio.get_running_loop()
    callers = Callers(json.loads(await loop.run_in_executor(None, sys.stdin.readline)))
    while order := await loop.run_in_executor(None, sys.stdin.readline):
        print(json.dumps(await callers.slice(**json.loads(order))), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
