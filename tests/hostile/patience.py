"""Honest clients of a server that somebody else abuses: how long they wait, and whether anybody waits for ever."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from comptoir import text_content
from comptoir.v1 import GetCheckoutRequest, SendMessageRequest
from tests.hostile.memory import resident_bytes
from tests.support.shop import Person, Shop

CALLERS = 4
PAUSE_SECONDS = 0.02
BOUND_SECONDS = 30.0
"""The longest that an honest call may take, on a machine however busy."""


@dataclass
class Waits:
    """How long each call of a time took, in seconds."""

    seconds: list[float] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{len(self.seconds)} calls, p50 {self.at(0.5) * 1e3:.0f} ms, p99 {self.at(0.99) * 1e3:.0f} ms"

    def at(self, share: float) -> float:
        """The time within which this share of the calls had their answer."""
        return sorted(self.seconds)[int(len(self.seconds) * share)]


@asynccontextmanager
async def served(shop: Shop, person: Person, bound_seconds: float = BOUND_SECONDS) -> AsyncIterator[Waits]:
    """Honest people who read and speak the whole time; how long is taken down, and each must be answered."""
    waits = Waits()
    checkout = await shop.checkout(person)
    going = asyncio.Event()

    async def one() -> None:
        while not going.is_set():
            started = time.monotonic()
            if len(waits.seconds) % 2:
                said = SendMessageRequest(session_id=person.session_id, content=text_content("Still there?"))
                await person.services.sessions.send_message(said, timeout_seconds=bound_seconds)
            else:
                asked = GetCheckoutRequest(checkout_id=checkout.checkout_id)
                await shop.partner.checkouts.get_checkout(asked, timeout_seconds=bound_seconds)
            waits.seconds.append(time.monotonic() - started)
            await asyncio.sleep(PAUSE_SECONDS)

    async with asyncio.TaskGroup() as group:
        for _ in range(CALLERS):
            group.create_task(one())
        try:
            yield waits
        finally:
            going.set()


@dataclass
class Footprint:
    """The most that a process had while it was watched: memory and open files."""

    pid: int
    most_bytes: int = 0
    most_files: int = 0

    def look(self) -> None:
        """Takes down what it has now."""
        self.most_bytes = max(self.most_bytes, resident_bytes(self.pid))
        self.most_files = max(self.most_files, open_files(self.pid))


def open_files(pid: int) -> int:
    """How many files and connections a process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


@asynccontextmanager
async def watched(pid: int) -> AsyncIterator[Footprint]:
    """Looks at a process the whole time."""
    footprint = Footprint(pid)

    async def look() -> None:
        while True:
            footprint.look()
            await asyncio.sleep(0.1)

    looking = asyncio.create_task(look())
    try:
        yield footprint
    finally:
        looking.cancel()
        footprint.look()
