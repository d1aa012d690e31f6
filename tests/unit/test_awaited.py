"""Calls that are opened and never get their request hold no place for long once there are many of them."""

from __future__ import annotations

import asyncio

from comptoir_server.transport.server import AWAITED_SECONDS, Awaited
from tests.support.door import Clock


async def opened(awaited: Awaited, count: int) -> list[asyncio.Task[None]]:
    """Calls whose headers are there, each in its task, and nothing else."""

    async def call() -> None:
        awaited.begin()
        await asyncio.Event().wait()

    tasks = [asyncio.create_task(call()) for _ in range(count)]
    await asyncio.sleep(0)
    return tasks


async def test_where_there_are_too_many_those_that_waited_too_long_are_ended_oldest_first() -> None:
    clock = Clock()
    awaited = Awaited(clock.monotonic, most=3)
    old = await opened(awaited, 4)
    assert len(awaited) == 4

    clock.ahead_seconds += AWAITED_SECONDS + 1
    [new] = await opened(awaited, 1)
    await asyncio.wait(old[:2], timeout=5)

    assert [task.done() for task in (*old, new)] == [True, True, False, False, False]
    assert len(awaited) == 3
    for task in (*old, new):
        task.cancel()
    await asyncio.wait((*old, new))
    assert len(awaited) == 0


async def test_few_of_them_may_wait_as_long_as_they_like() -> None:
    clock = Clock()
    awaited = Awaited(clock.monotonic, most=3)
    old = await opened(awaited, 2)
    clock.ahead_seconds += 3600

    new = await opened(awaited, 1)

    assert [task.done() for task in (*old, *new)] == [False] * 3
    for task in (*old, *new):
        task.cancel()


async def test_a_call_whose_request_has_come_is_awaited_no_more() -> None:
    clock = Clock()
    awaited = Awaited(clock.monotonic, most=0)
    going = asyncio.Event()

    async def call() -> str:
        awaited.begin()
        awaited.end()
        await going.wait()
        return "answered"

    task = asyncio.create_task(call())
    await asyncio.sleep(0)
    assert len(awaited) == 0
    clock.ahead_seconds += 3600
    await opened(awaited, 1)
    going.set()

    assert await task == "answered"
