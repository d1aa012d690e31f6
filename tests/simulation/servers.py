"""Server processes: the real server on a machine of the world, started, killed, stopped and started again."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import random
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from starlette.types import ASGIApp

from comptoir_server.app.deps import Deps, Settings
from comptoir_server.app.settled import Settled
from comptoir_server.providers.paypal import PaypalConfig, PaypalProvider
from comptoir_server.standins.paypal import PaypalStandinConfig
from comptoir_server.store.database import Database
from comptoir_server.store.tables import RELATIONS
from comptoir_server.transport.binding import Bound, bind
from comptoir_server.transport.boundary import Boundary, Metadata
from comptoir_server.transport.http import create_http
from comptoir_server.vault import KEY_BYTES, Vault
from comptoir_server.workers import rounds
from tests.simulation.machine import RUNNING, Clock, VirtualRuntime
from tests.simulation.storage import MODE, Disk, Seat
from tests.simulation.wire import Line, ProviderTransport

MASTER_KEY = bytes(range(KEY_BYTES))
PUBLIC_URL = "https://pay.comptoir.example"
WEBHOOK_PATH = "/webhooks/paypal"
STANDIN = PaypalStandinConfig(webhook_url=PUBLIC_URL + WEBHOOK_PATH)

PACE_GROWTH = 3.0
"""Rounds that find nothing come more and more seldom."""


class Unreachable(Exception):
    """The call was not answered: the server, the line or the caller's patience ended first."""


class Stream:
    """Both directions of a stream, as its client holds them."""

    def __init__(self) -> None:
        self._said: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._heard: asyncio.Queue[tuple[float, bytes] | BaseException] = asyncio.Queue()
        self.arrived = 0.0
        """When the server said what was heard last."""

    def send(self, message: bytes | None) -> None:
        """Says something to the server; None for nothing more."""
        self._said.put_nowait(message)

    async def next(self, seconds: float) -> bytes:
        """What the server says next. Raises TimeoutError, Failed, Unreachable."""
        async with asyncio.timeout(seconds):
            heard = await self._heard.get()
        if isinstance(heard, BaseException):
            raise heard
        self.arrived, answer = heard
        return answer

    async def said(self) -> AsyncGenerator[bytes, None]:
        """What the client says, for the server."""
        while (message := await self._said.get()) is not None:
            yield message

    async def pump(self, answers: AsyncGenerator[bytes, None]) -> None:
        """Hands on what the server answers, to its end."""
        async with aclosing(answers):
            async for answer in answers:
                self._heard.put_nowait((asyncio.get_running_loop().time(), answer))

    def ended(self, pumping: asyncio.Future[None]) -> None:
        """The server has no more to say."""
        error = None if pumping.cancelled() else pumping.exception()
        self._heard.put_nowait(error or Unreachable("the stream has ended"))


@functools.cache
def _bound() -> Mapping[str, Bound]:
    return bind(MODE)


@dataclass(slots=True)
class Pace:
    """The seconds between two rounds of one job: its own at least, `longest` at most."""

    shortest: float
    longest: Callable[[], float]
    seconds: float = 0.0

    def found(self, count: int) -> None:
        """Something was found, or nothing."""
        slower = min(max(self.seconds, self.shortest) * PACE_GROWTH, self.longest())
        self.seconds = self.shortest if count else slower


class PacedRound(rounds.Round):
    """A round of the workers that is made more seldom while there is nothing to do: virtual hours are long."""

    __slots__ = ("_pace",)
    _pace: Pace

    def __init__(self, one: rounds.Round, pace: Pace) -> None:
        async def job(deps: Deps) -> int:
            found = await one.job(deps)
            pace.found(found)
            return found

        for name, value in (("name", one.name), ("job", job), ("_pace", pace)):
            object.__setattr__(self, name, value)

    @property
    def seconds(self) -> float:
        """How long to wait now."""
        return self._pace.seconds


@dataclass(frozen=True)
class Site:
    """What all servers of a world share."""

    disk: Disk
    line: Line
    trust_roots: bytes
    failed: Callable[[str], None]


class Process:
    """One run of the server on a machine, from its start to its death."""

    def __init__(
        self, site: Site, name: str, clock: Clock, draw: random.Random, longest_pace: Callable[[], float]
    ) -> None:
        self.alive = True
        self.name = name
        self._site = site
        self._tasks: list[asyncio.Task[Any]] = []
        self._calls: dict[asyncio.Future[Any], None] = {}
        self._longest_pace = longest_pace
        self._workers: tuple[asyncio.Task[None], ...] = ()
        self.context = contextvars.Context()
        self.context.run(RUNNING.set, self)
        self.runtime = VirtualRuntime(clock, draw, ProviderTransport(site.line, self), site.failed)
        self.database = Database(Seat(site.disk), RELATIONS, self.runtime, inline=True)
        settled = Settled(self.runtime)
        self.database.subscribe(settled.wake)
        self.deps = Deps(
            self.runtime,
            self.database,
            Vault(MASTER_KEY, self.runtime),
            {"paypal": PaypalProvider(_connector(site), self.runtime)},
            settled,
            Settings(MODE, PUBLIC_URL, self.runtime.new_id("srv")),
        )
        self.boundary = Boundary(self.deps, _bound())
        self.pages: ASGIApp = create_http(self.deps)

    async def start(self) -> None:
        """Serves from now on."""
        await self._inside(self.database.open())
        paced = tuple(self._paced(one) for one in rounds.ROUNDS)
        self._workers = self.context.run(rounds.run, self.deps, paced)

    def own(self, task: asyncio.Task[Any]) -> None:
        """Takes on a task that was started by this process."""
        self._tasks.append(task)

    def unary(self, path: str, metadata: Metadata, raw: bytes, time_left: float) -> asyncio.Future[bytes]:
        """A call that has arrived; whoever made it cancels the future when it hangs up. Raises Failed, Unreachable."""
        return self.serve(self.boundary.unary(path, metadata, raw, time_left))

    def stream(self, path: str, metadata: Metadata) -> Stream:
        """A stream of calls that has arrived."""
        stream = Stream()
        pumping = self.serve(stream.pump(self.boundary.stream(path, metadata, stream.said(), None)))
        pumping.add_done_callback(stream.ended)
        return stream

    def serve(self, work: Coroutine[Any, Any, Any]) -> asyncio.Future[Any]:
        """The result of something that this process does for somebody outside."""
        loop = asyncio.get_running_loop()
        reply: asyncio.Future[Any] = loop.create_future()

        async def handle() -> None:
            try:
                result = await work
            except Exception as error:  # noqa: BLE001 - handed on to the caller
                if not reply.done():
                    reply.set_exception(error)
            else:
                if not reply.done():
                    reply.set_result(result)
            finally:
                self._calls.pop(reply, None)

        task = self.context.run(loop.create_task, handle())
        task.add_done_callback(lambda _task: work.close())  # it may never have begun
        self._calls[reply] = None
        reply.add_done_callback(lambda done: task.cancel() if done.cancelled() else None)
        return reply

    def die(self) -> None:
        """Everything of it is gone at once, as after a kill -9: what was committed stays, what was sent travels on."""
        self.alive = False
        self.database.abandon()
        for task in self._tasks:
            task.cancel()
        for reply in list(self._calls):
            if not reply.done():
                reply.set_exception(Unreachable("the server died"))
        self._calls.clear()

    async def stop(self, seconds: float) -> None:
        """Ends as an operator ends it: calls are answered, work is finished, streams are told."""
        await self._inside(self._drain(seconds))
        self.die()

    async def _drain(self, seconds: float) -> None:
        await self.boundary.drain(seconds)
        for worker in self._workers:
            worker.cancel()
        await self.runtime.drain(seconds)
        await self.database.close()

    async def _inside(self, work: Coroutine[Any, Any, Any]) -> Any:
        return await self.serve(work)

    def _paced(self, one: rounds.Round) -> rounds.Round:
        return PacedRound(one, Pace(one.seconds, self._longest_pace))


def _connector(site: Site) -> PaypalConfig:
    return PaypalConfig(
        base_url=STANDIN.base_url,
        client_id=STANDIN.client_id,
        client_secret=STANDIN.client_secret,
        webhook_id=STANDIN.webhook_id,
        trust_roots_pem=site.trust_roots,
    )
