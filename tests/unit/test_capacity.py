"""Turns are shared fairly: whoever makes many calls waits for itself, and one more caller always finds a place."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from google.rpc import error_details_pb2

from comptoir.v1 import checkout_pb2
from comptoir_server.app.lines import Lines
from comptoir_server.domain.errors import Reason, Refused
from comptoir_server.transport import feed
from comptoir_server.transport.capacity import Desk, Limits
from comptoir_server.transport.feed import BUFFERED, Ended, Feed
from tests.support.door import Clock, World, absent_id, detail, failure_of, open_world, reason_of

ASK = checkout_pb2.GetCheckoutRequest(checkout_id=absent_id("chk"))


class Visitors:
    """Calls of several owners at one desk, which work until they are told to go."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.served: list[str] = []
        self.refused: list[str] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.leave: list[asyncio.Event] = []

    async def come(self, owner: str, count: int = 1, seconds: float = 60.0) -> None:
        """So many calls of an owner arrive."""
        self.tasks += [asyncio.create_task(self._call(owner, seconds)) for _ in range(count)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    async def _call(self, owner: str, seconds: float) -> None:
        try:
            await self.desk.take(owner, seconds)
        except Refused as refusal:
            self.refused.append(f"{owner} {refusal.reason}")
            return
        self.served.append(owner)
        gone = asyncio.Event()
        self.leave.append(gone)
        await gone.wait()
        self.desk.give(owner)

    async def go(self, count: int = 1) -> None:
        """The first so many of those who work have ended."""
        for _ in range(count):
            self.leave.pop(0).set()
            for _ in range(3):
                await asyncio.sleep(0)

    async def end(self) -> None:
        """Everybody goes."""
        while self.leave:
            await self.go()
        await asyncio.gather(*self.tasks)


async def test_below_the_limit_nobody_waits() -> None:
    visitors = Visitors(Desk(at_once=3, places=10))
    await visitors.come("noisy", 3)

    assert visitors.served == ["noisy"] * 3
    await visitors.end()


async def test_at_the_limit_whoever_has_the_fewest_calls_at_work_comes_next() -> None:
    visitors = Visitors(Desk(at_once=2, places=30))
    await visitors.come("noisy", 9)
    await visitors.come("quiet", 2)
    await visitors.come("third", 1)

    await visitors.go(3)

    assert visitors.served == ["noisy", "noisy", "quiet", "noisy", "third"]
    await visitors.end()
    assert sorted(visitors.served) == ["noisy"] * 9 + ["quiet"] * 2 + ["third"]


async def test_nobody_fills_all_places_and_a_newcomer_always_finds_one() -> None:
    visitors = Visitors(Desk(at_once=1, places=12))
    await visitors.come("noisy", 20)
    assert visitors.refused == ["noisy RATE_LIMITED"] * (20 - 1 - 6)

    await visitors.come("quiet", 4)
    assert visitors.refused.count("quiet RATE_LIMITED") == 0
    await visitors.come("third", 4)

    assert visitors.refused == ["noisy RATE_LIMITED"] * 13 + ["third RATE_LIMITED"]
    await visitors.end()
    assert len(visitors.served) == 24 - 13 + 3


async def test_a_turn_that_does_not_come_in_time_is_refused_as_overload_and_leaves_the_line() -> None:
    visitors = Visitors(Desk(at_once=1, places=10))
    await visitors.come("noisy")
    await visitors.come("quiet", seconds=0.01)
    await asyncio.wait(visitors.tasks[1:], timeout=5)
    await visitors.come("third")

    assert visitors.refused == ["quiet OVERLOADED"]
    await visitors.go()
    assert visitors.served == ["noisy", "third"]
    await visitors.end()
    assert visitors.desk.try_take("anybody")


async def test_a_caller_that_hangs_up_as_its_turn_comes_passes_it_on() -> None:
    visitors = Visitors(Desk(at_once=1, places=10))
    await visitors.come("noisy")
    await visitors.come("gone")
    await visitors.come("next")

    visitors.leave.pop(0).set()
    await asyncio.sleep(0)
    visitors.tasks[1].cancel()
    for _ in range(4):
        await asyncio.sleep(0)

    assert visitors.served == ["noisy", "next"]
    await visitors.go()
    assert visitors.desk.try_take("anybody")


def test_a_provider_that_has_much_to_answer_holds_up_its_own_payments_alone() -> None:
    lines = Lines(at_once=1)
    with lines.taken("slow"):
        with pytest.raises(Refused) as caught:
            lines.require_room("slow")
        lines.require_room("quick")
    lines.require_room("slow")

    assert (caught.value.reason, caught.value.retry_after_seconds) == (Reason.OVERLOADED, 2.0)


# At the door.


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    opened = await open_world(tmp_path)
    yield opened
    await opened.clock.drain(5)
    await opened.deps.store.close()


async def test_a_partner_that_asks_too_much_at_once_is_told_so_and_others_are_answered(world: World) -> None:
    world.rebuild(Limits(waiting=6, quick=2))
    going = asyncio.Event()
    other, _ = await world.new_key(world.channel.id)

    async def slow(deps: object, call: Any, **arguments: Any) -> dict[str, Any]:
        if call.partner_id:
            await going.wait()
        return {}

    world.scripts["GetCheckout"] = slow
    calls = [asyncio.create_task(world.call("GetCheckout", ASK, world.partner_secret)) for _ in range(5)]
    await asyncio.sleep(0.05)
    failed = await failure_of(world.call("GetCheckout", ASK, world.partner_secret))
    waiting = asyncio.create_task(world.call("GetCheckout", ASK, other))
    await asyncio.sleep(0.05)
    going.set()
    await asyncio.gather(*calls, waiting)

    assert (failed.code, reason_of(failed)) == (8, "RATE_LIMITED")
    assert detail(failed, error_details_pb2.RetryInfo).retry_delay.seconds == 1


async def test_whoever_fills_both_desks_and_their_lines_shuts_nobody_out_at_the_door() -> None:
    limits = Limits()

    assert limits.calls > limits.quick + limits.asking + 2 * limits.waiting


async def test_a_stream_that_nobody_reads_is_ended_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "SLOW_SECONDS", 0.05)
    made: list[int] = []

    async def endless() -> AsyncIterator[dict[str, Any]]:
        while True:
            made.append(len(made))
            yield {"event": made[-1]}

    runtime = Clock()
    unread = Feed(runtime, endless(), "endless")  # type: ignore[arg-type]  # an async generator function's
    await asyncio.sleep(0.3)

    read = [await unread.next(1.0) for _ in range(BUFFERED)]
    last = await unread.next(1.0)

    assert read == [{"event": number} for number in range(BUFFERED)]
    assert isinstance(last, Ended)
    assert isinstance(last.error, Refused)
    assert (last.error.reason, last.error.retry_after_seconds) == (Reason.RATE_LIMITED, 1.0)
    assert len(made) == BUFFERED + 1
    await unread.close()
