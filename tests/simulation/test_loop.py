"""The event loop of the simulator: what it must notice, and what asyncio promises on it."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator

import pytest

from tests.simulation.loop import Halt, Stuck, VirtualLoop

A_DAY = 86_400.0


def virtual(seed: int = 1, *, shuffled: bool = True, steps_max: int = 10_000) -> VirtualLoop:
    """A loop of a seed."""
    return VirtualLoop(random.Random(seed), shuffled=shuffled, steps_max=steps_max)  # type: ignore[abstract]


async def lost_update() -> int:
    """Two who read, wait a moment and write: one of them is lost where both read first."""
    value = 0

    async def add() -> None:
        nonlocal value
        read = value
        await asyncio.sleep(0)
        value = read + 1

    async def add_at_once() -> None:
        nonlocal value
        value += 1
        await asyncio.sleep(0)

    await asyncio.gather(add(), add_at_once())
    return value


def test_nothing_left_to_happen_is_a_deadlock() -> None:
    async def main() -> None:
        await asyncio.Event().wait()

    with pytest.raises(Stuck, match="deadlock"):
        virtual().run(main())


def test_running_for_ever_without_waiting_is_a_livelock() -> None:
    async def main() -> None:
        while True:
            await asyncio.sleep(0)

    with pytest.raises(Stuck, match="livelock: 500 steps"):
        virtual(steps_max=500).run(main())


def test_a_callback_that_fails_is_kept_and_one_that_halts_is_not() -> None:
    def fail() -> None:
        raise ValueError("unheard")

    def halt() -> None:
        raise Halt

    async def main() -> None:
        asyncio.get_running_loop().call_soon(fail)
        asyncio.get_running_loop().call_soon(halt)
        await asyncio.sleep(1)

    loop = virtual()
    loop.run(main())
    assert loop.failures == ["a callback failed: ValueError('unheard')"]


def test_seeds_find_an_update_that_is_lost_in_one_order_only() -> None:
    assert {virtual(seed).run(lost_update()) for seed in range(20)} == {1, 2}
    assert {virtual(seed, shuffled=False).run(lost_update()) for seed in range(20)} == {1}


def test_the_same_seed_takes_the_same_steps() -> None:
    async def main() -> list[int]:
        order: list[int] = []

        async def one(number: int) -> None:
            for _ in range(3):
                await asyncio.sleep(0)
                order.append(number)

        await asyncio.gather(*(one(number) for number in range(5)))
        return order

    assert virtual(7).run(main()) == virtual(7).run(main())
    assert virtual(7).run(main()) != virtual(8).run(main())


def test_a_day_passes_at_once_and_timers_come_in_their_order() -> None:
    async def main() -> list[int]:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        heard: list[int] = []
        for seconds in (A_DAY, 5.0, 60.0):
            loop.call_later(seconds, lambda: heard.append(round(loop.time() - begun)))
        loop.call_later(1.0, heard.append, -1).cancel()
        await asyncio.sleep(2 * A_DAY)
        return heard

    assert virtual().run(main()) == [5, 60, 86_400]


def test_time_limits_queues_events_and_waits_work_as_on_any_loop() -> None:
    async def main() -> tuple[list[int], bool, int]:
        loop = asyncio.get_running_loop()
        queue: asyncio.Queue[int] = asyncio.Queue()
        told = asyncio.Event()
        for number in range(3):
            loop.call_later(number + 1.0, queue.put_nowait, number)
        loop.call_later(4.0, loop.call_soon_threadsafe, told.set)
        heard = []
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2.5):
                while True:
                    heard.append(await queue.get())
        await told.wait()
        slow, quick = loop.create_task(asyncio.sleep(9)), loop.create_task(asyncio.sleep(1))
        done, late = await asyncio.wait({slow, quick}, timeout=3)
        slow.cancel()
        return heard, done == {quick}, len(late)

    assert virtual().run(main()) == ([0, 1], True, 1)


def test_an_async_generator_that_nobody_holds_any_more_is_closed() -> None:
    closed = []

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            closed.append(True)

    async def main() -> None:
        async for _ in numbers():
            break
        await asyncio.sleep(1)

    virtual().run(main())
    assert closed == [True]


def test_an_interruption_comes_once_after_so_many_steps() -> None:
    loop = virtual()
    steps = []

    async def main() -> None:
        loop.interrupt(10, lambda: steps.append(loop.steps))
        for _ in range(50):
            await asyncio.sleep(0)

    loop.run(main())
    assert steps == [11]
