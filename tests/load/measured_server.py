"""The server that is measured: the real door, use cases, store and log, an instant provider, and an empty method.

    python -m tests.load.measured_server DATABASE_URL [--past PAYMENTS] [--batch-max WORKS] [--profile]

Prints one JSON line (port, keys, who), then obeys orders, one line each, until its standard input closes:
`{"order": "make", "count": 64, "manual": false}` answers with new open checkouts, a list for each caller;
`{"order": "threads"}` with the kernel's numbers of its threads; `{"order": "stages"}` with what the profiler has seen.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from comptoir_server import log
from comptoir_server.app.deps import Deps, Settings
from comptoir_server.app.settled import Settled
from comptoir_server.main import _tune_collector
from comptoir_server.runtime import Runtime
from comptoir_server.store.backend import PostgresqlBackend, SqliteBackend
from comptoir_server.store.columns import metadata
from comptoir_server.store.database import open_database
from comptoir_server.store.tables import RELATIONS
from comptoir_server.transport.arrivals import open_server
from comptoir_server.transport.boundary import Boundary
from comptoir_server.transport.server import OPTIONS, _Door
from comptoir_server.vault import KEY_BYTES, Vault
from tests.load.bench_shop import BenchShop, store
from tests.load.instant import InstantProvider
from tests.load.past import fill
from tests.load.stages import LOOP, ObservedRuntime, Profiler
from tests.load.wire import CALLERS, EMPTY


class _Empty(grpc.GenericRpcHandler):
    """A method that does nothing, on the same stack."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        if handler_call_details.method != EMPTY:
            return None

        async def answer(raw: bytes, _context: Any) -> bytes:
            return raw

        return grpc.unary_unary_rpc_method_handler(answer)


class Orders:
    """What the server does when it is told to."""

    def __init__(self, deps: Deps, shop: BenchShop, runtime: ObservedRuntime, profiler: Profiler | None) -> None:
        self._deps = deps
        self._shop = shop
        self._runtime = runtime
        self._profiler = profiler
        self._known: dict[str, Callable[..., Awaitable[Any]]] = {
            "make": self._make,
            "threads": self._threads,
            "stages": self._stages,
        }

    async def obey(self) -> None:
        """Until standard input closes."""
        loop = asyncio.get_running_loop()
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            order = json.loads(line)
            print(json.dumps(await self._known[order.pop("order")](**order)), flush=True)

    async def _make(self, count: int, manual: bool) -> list[list[str]]:
        checkouts = self._shop.checkouts(count, manual=manual)
        await store(self._deps, checkouts)
        return [[checkout.id for checkout in checkouts[number::CALLERS]] for number in range(CALLERS)]

    async def _threads(self) -> dict[str, int]:
        return {LOOP: os.getpid(), **self._runtime.thread_ids}

    async def _stages(self) -> dict[str, dict[str, float]]:
        return self._profiler.seconds() if self._profiler is not None else {}


async def open_deps(url: str, runtime: Runtime, *, inline: bool = False) -> Deps:
    """The server's parts on a new database, with the instant provider."""
    database = open_database(url, RELATIONS, runtime, inline=inline)
    await database.open()
    await database.create_all(metadata)
    settled = Settled(runtime)
    database.subscribe(settled.wake)
    settings = Settings("test", "http://127.0.0.1", "bench")
    return Deps(runtime, database, Vault(bytes(KEY_BYTES), runtime), {"instant": InstantProvider()}, settled, settings)


async def serve(url: str, *, past: int, batch_max: int, profiled: bool) -> None:
    """Until standard input closes."""
    log.set_up()
    _tune_collector()
    if batch_max:
        SqliteBackend.batch_max = PostgresqlBackend.batch_max = batch_max
    profiler = Profiler() if profiled else None
    runtime = ObservedRuntime(profiler)
    deps = await open_deps(url, runtime)
    boundary, shop = Boundary(deps), BenchShop(deps)
    await store(deps, shop.records)
    if past:
        await fill(deps, boundary, shop, past)
    server = open_server(OPTIONS)
    server.add_generic_rpc_handlers((_Door(boundary), _Empty()))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    keys = {"channel": shop.channel_key, "partner": shop.partner_key}
    print(json.dumps({"port": port, **keys, "users": [user_id for user_id, _ in shop.people]}), flush=True)
    if profiler is not None:
        profiler.start_here(LOOP)
    await Orders(deps, shop, runtime, profiler).obey()
    await server.stop(1)
    await runtime.drain(5)
    await deps.store.close()


def main() -> None:
    """Serves on the loop that the product runs on."""
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--past", type=int, default=0)
    parser.add_argument("--batch-max", type=int, default=0)
    parser.add_argument("--profile", action="store_true")
    given = parser.parse_args()
    serving = serve(given.url, past=given.past, batch_max=given.batch_max, profiled=given.profile)
    try:
        import uvloop
    except ImportError:
        asyncio.run(serving)
    else:
        uvloop.run(serving)


if __name__ == "__main__":
    main()
