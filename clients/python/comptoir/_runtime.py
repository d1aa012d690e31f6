"""Time, waiting and randomness of the client, in one place so that tests can script them."""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass


def new_request_id() -> str:
    """A request id that nobody drew before: `req_` and 128 random bits."""
    return f"req_{secrets.token_hex(16)}"


@dataclass(frozen=True, slots=True)
class Runtime:
    """What the client takes from the machine. `monotonic` and the sleeps are in seconds."""

    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    sleep_async: Callable[[float], Awaitable[None]] = asyncio.sleep
    uniform: Callable[[float, float], float] = random.uniform
    new_request_id: Callable[[], str] = new_request_id
