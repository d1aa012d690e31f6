"""A partner that asks far too much: many callers at once, each again as soon as it is answered, whatever it is told.

    python -m tests.hostile.neighbour 127.0.0.1:7600 KEY SESSION_ID 300 5

Prints how its calls ended, and ends by itself.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2

from comptoir import line_item, money, total_of
from comptoir.v1 import CreateCheckoutRequest
from comptoir_server.transport.server import STATUS_DETAILS

PATH = "/comptoir.v1.CheckoutService/CreateCheckout"
CHANNELS = 4
DEADLINE_SECONDS = 20.0


def outcome(error: grpc.aio.AioRpcError) -> str:
    """The reason of a refusal, and whether it says how long to wait."""
    raw = dict(error.trailing_metadata() or ()).get(STATUS_DETAILS, b"")
    status = status_pb2.Status.FromString(raw if isinstance(raw, bytes) else b"")
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    waits = False
    for packed in status.details:
        packed.Unpack(info)
        waits = waits or packed.Unpack(retry)
    return f"{error.code().name} {info.reason}{' with RetryInfo' if waits else ''}"


async def main(target: str, key: str, session_id: str, callers: str, seconds: str) -> None:
    """Calls until the time is over."""
    until = time.monotonic() + float(seconds)
    items = [line_item("Flight", money(100, "USD"))]
    metadata = (("authorization", f"Bearer {key}"),)
    ended: Counter[str] = Counter()

    async def call(channel: grpc.aio.Channel, caller: int) -> None:
        create: Any = channel.unary_unary(PATH)
        number = 0
        while time.monotonic() < until:
            number += 1
            request = CreateCheckoutRequest(
                request_id=f"{caller}-{number}-{time.time_ns()}",
                session_id=session_id,
                items=items,
                total=total_of(items),
            )
            try:
                await create(request.SerializeToString(), metadata=metadata, timeout=DEADLINE_SECONDS)
                ended["OK"] += 1
            except grpc.aio.AioRpcError as error:
                ended[outcome(error)] += 1

    options = (("grpc.use_local_subchannel_pool", 1),)
    channels = [grpc.aio.insecure_channel(target, options) for _ in range(CHANNELS)]
    await asyncio.gather(*(call(channels[number % CHANNELS], number) for number in range(int(callers))))
    for channel in channels:
        await channel.close()
    print(json.dumps(ended))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
