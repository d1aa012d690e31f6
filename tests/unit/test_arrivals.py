"""Calls are let in many at a time, in the order in which they come, and a server that stops lets in no more."""

from __future__ import annotations

import asyncio
import gc
from collections import deque
from typing import Any

import grpc
import pytest

from comptoir_server.transport import arrivals
from comptoir_server.transport.arrivals import AT_ONCE, _Arrivals, open_server

PATH = "/test.Echo/Call"


class Core:
    """What gRPC is asked for: calls that come when a test says so."""

    def __init__(self) -> None:
        self.asked: deque[asyncio.Future[Any]] = deque()

    def ask(self) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.asked.append(future)
        return future

    def come(self, *names: str) -> None:
        for name in names:
            self.asked.popleft().set_result(name)


class Echo(grpc.GenericRpcHandler):
    """Answers with what it is sent, once it may."""

    def __init__(self) -> None:
        self.here = 0
        self.all_here = asyncio.Event()

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        async def answer(raw: bytes, _context: Any) -> bytes:
            self.here += 1
            if self.here == 2 * AT_ONCE:
                self.all_here.set()
            await self.all_here.wait()
            return raw

        return grpc.unary_unary_rpc_method_handler(answer)


async def fetched(lines: _Arrivals, arrival: asyncio.Future[Any], into: list[str]) -> None:
    """Waits for calls as gRPC's serving task does."""
    while True:
        await asyncio.wait({arrival}, return_when=asyncio.FIRST_COMPLETED)
        into.append(arrival.result())
        arrival = lines.next()


async def test_what_comes_at_once_is_let_in_in_one_turn_and_in_order() -> None:
    core, into = Core(), list[str]()
    lines = _Arrivals(core.ask, 3)
    serving = asyncio.create_task(fetched(lines, lines.next(), into))
    await asyncio.sleep(0)

    core.come("first", "second", "third")
    turns = 0
    while not into:
        await asyncio.sleep(0)
        turns += 1

    assert into == ["first", "second", "third"]
    assert turns <= 3
    assert len(core.asked) == 3
    serving.cancel()


async def test_no_more_are_asked_for_than_may_wait_unfetched() -> None:
    core = Core()
    lines = _Arrivals(core.ask, 2)
    first = lines.next()

    core.come("first", "second")
    await asyncio.sleep(0)

    assert first.result() == "first"
    assert len(core.asked) == 0
    assert lines.next().result() == "second"
    assert len(core.asked) == 2


async def test_a_call_that_could_not_be_let_in_is_told_and_the_next_one_comes() -> None:
    core = Core()
    lines = _Arrivals(core.ask, 1)
    arrival = lines.next()

    core.asked.popleft().set_exception(ConnectionError("gone"))
    await asyncio.sleep(0)

    assert isinstance(arrival.exception(), ConnectionError)
    following = lines.next()
    core.come("next")
    await asyncio.sleep(0)
    assert following.result() == "next"


@pytest.mark.timeout(60)
async def test_a_server_lets_in_more_than_it_has_asked_for_and_stops_at_once_without_a_word() -> None:
    said: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: said.append(context))
    server, echo = open_server(()), Echo()
    server.add_generic_rpc_handlers((echo,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call: Any = channel.unary_unary(PATH)
        names = [b"%d" % number for number in range(2 * AT_ONCE)]
        assert await asyncio.gather(*(call(name) for name in names)) == names

    await server.stop(None)
    del server
    for _ in range(3):
        await asyncio.sleep(0.01)
        gc.collect()

    assert echo.here == 2 * AT_ONCE
    assert said == []


async def test_the_installed_grpc_is_one_whose_server_can_let_in_many() -> None:
    assert hasattr(arrivals._core.AioServer, arrivals._ASK)
    server = open_server(())
    server.add_insecure_port("127.0.0.1:0")
    before = len(asyncio.all_tasks())

    await server.start()
    await asyncio.sleep(0)

    assert len(asyncio.all_tasks()) - before >= AT_ONCE
    await server.stop(None)
