"""The only place that builds and wires: from a configuration to a running server."""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import structlog
import uvicorn

from comptoir_server.app.deps import Deps, Settings
from comptoir_server.app.ports import Provider
from comptoir_server.app.settled import Settled
from comptoir_server.config import Config, ConfigurationError, master_key, split_address
from comptoir_server.providers.paypal import PaypalConfig, PaypalProvider, require_addresses
from comptoir_server.runtime import Runtime, arm_faults_from_file, usable_ports
from comptoir_server.store.database import Database, open_database
from comptoir_server.store.migrate import migrate, require_current
from comptoir_server.store.tables import RELATIONS
from comptoir_server.transport.boundary import Boundary
from comptoir_server.transport.http import create_http
from comptoir_server.transport.server import ListenError, Server, Tls
from comptoir_server.vault import KEY_BYTES, Vault
from comptoir_server.workers import rounds

log = structlog.get_logger()


def providers(config: Config, runtime: Runtime) -> dict[str, Provider]:
    """The connectors, by name. Raises ConfigurationError for an address that the mode does not allow."""
    roots = Path(config.paypal_trust_roots).read_bytes() if config.paypal_trust_roots else None
    paypal = PaypalConfig(
        base_url=config.paypal_url,
        client_id=config.paypal_client_id,
        client_secret=config.paypal_client_secret,
        webhook_id=config.paypal_webhook_id,
        trust_roots_pem=roots,
        call_limit_seconds=config.provider_limit_seconds,
        settle_seconds=config.provider_settle_seconds,
    )
    try:
        require_addresses(paypal, config.mode)
    except ValueError as error:
        raise ConfigurationError(str(error)) from error
    return {"paypal": PaypalProvider(paypal, runtime)}


@asynccontextmanager
async def open_deps(config: Config, runtime: Runtime, connectors: Mapping[str, Provider]) -> AsyncIterator[Deps]:
    """The server's parts on its database, which is migrated first where it is an embedded file.

    Raises ConfigurationError, StorageUnavailable.
    """
    key = master_key(config, runtime.random_bytes(KEY_BYTES))
    if config.sqlite_path is not None:
        migrate(config.database, config.mode)
    require_current(config.database, config.mode)
    database: Database = open_database(config.database, RELATIONS, runtime)
    await database.open()
    settled = Settled(runtime)
    database.subscribe(settled.wake)
    settings = Settings(config.mode, config.page_url, runtime.new_id("srv"))
    try:
        yield Deps(runtime, database, Vault(key, runtime), connectors, settled, settings)
    finally:
        await database.close()


async def serve(config: Config, ready: Callable[[], None]) -> None:
    """Runs the server until SIGTERM or SIGINT, then drains: running calls end, nothing that moves money is cut off."""
    runtime = Runtime()
    _tune_collector()
    if config.fault_file:
        arm_faults_from_file(Path(config.fault_file))
    connectors = providers(config, runtime)
    async with open_deps(config, runtime, connectors) as deps:
        door = Server(Boundary(deps), reflect=config.mode == "test")
        pages = _http_server(deps, config)
        try:
            await door.start(config.listen, _tls(config), plaintext_anywhere=config.plaintext)
        except ListenError as error:
            raise ConfigurationError(str(error)) from error
        page_task = runtime.spawn(pages.serve(), "http")
        await pages.listening.wait()
        workers = rounds.run(deps)
        log.info("serving", address=config.listen, mode=config.mode)
        ready()
        await _stopped()
        log.info("draining")
        await door.stop(config.drain_seconds)
        pages.should_exit = True
        await page_task
        for worker in workers:
            worker.cancel()
        await runtime.drain(config.drain_seconds)
    for connector in connectors.values():
        await connector.close()
    log.info("stopped")


def _tune_collector() -> None:
    """Lets the collector pass over what was loaded at the start, and look less often: rows come and go by thousands."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def _tls(config: Config) -> Tls | None:
    if not config.tls_certificate:
        return None
    return Tls(Path(config.tls_certificate).read_bytes(), Path(config.tls_key).read_bytes())


class _Pages(uvicorn.Server):
    """Says when it listens, and leaves the signals alone: `_stopped` decides when to end, the pages after the calls."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        self.listening.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _http_server(deps: Deps, config: Config) -> _Pages:
    host, port = split_address("--http", config.http)
    try:
        usable_ports(host, (port,))
    except OSError:
        raise ConfigurationError(f"Cannot listen at {config.http}: it is taken, or not this machine's.") from None
    settings = uvicorn.Config(
        create_http(deps), host=host, port=port, log_config=None, access_log=False, lifespan="off"
    )
    return _Pages(settings)


async def _stopped() -> None:
    """Returns when the process is asked to end."""
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked.set)
    await asked.wait()
