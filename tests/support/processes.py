"""Real processes: `comptoir-server serve` and `comptoir-server standin paypal`, killed and started again.

Every wait is bounded, every log is kept in the site's folder, and whatever still runs at the end is ended by its pid.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import random
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from comptoir_server.runtime import usable_ports
from tests.support import altered
from tests.support.forge import REPOSITORY, Forge, Forged

COMMAND = (sys.executable, "-m", "comptoir_server.cli")
ALTERED_COMMAND = (sys.executable, "-m", "tests.support.altered")
HOST = "127.0.0.1"
PORTS = range(20_000, 32_000)
"""Below those that a system gives to connections, so that a server finds its port free when it comes back."""

START_SECONDS = 150.0
"""A process is started by two seconds of work, which take a minute where dozens are started on few processors."""

STOP_SECONDS = 90.0
LOOK_SECONDS = 0.05
CALL_SECONDS = 15.0
TAIL_LINES = 30

NO_OPTIONS: Mapping[str, str] = {}
UNALTERED: altered.Orders = {}
QUICK: Mapping[str, str] = {"--provider-limit-seconds": "1", "--provider-settle-seconds": "2"}
"""Options with which doubt is decided within seconds."""

PARTNER, BOT, CHANNEL = "Comptoir Air", "Comptoir Air", "Test chat"


_reserved: list[int] = []
"""Locked files, one for each port of this test run, until it ends."""


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens at, and that no other test run on this machine is given either."""
    found: list[int] = []
    for port in random.sample(PORTS, len(PORTS)):
        if len(found) == count:
            break
        if _reserve(port):
            found.append(port)
    return found


def _reserve(port: int) -> bool:
    lock = os.open(Path(tempfile.gettempdir(), f"comptoir-port-{port}.lock"), os.O_WRONLY | os.O_CREAT)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        usable_ports(HOST, [port])
    except OSError:
        os.close(lock)
        return False
    _reserved.append(lock)
    return True


@dataclass
class Child:
    """One process and its log. `arguments` are those of `comptoir-server`; with a forge it starts faster."""

    name: str
    arguments: tuple[str, ...]
    log: Path
    environment: dict[str, str] = field(default_factory=dict)
    forge: Forge | None = None
    process: asyncio.subprocess.Process | Forged | None = None

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self.process is not None and self.process.returncode is None

    async def start(self) -> None:
        """Starts it; its log goes on where it ended before."""
        assert not self.running, f"{self.name} runs already"
        environment = _environment(self.environment)
        with self.log.open("ab") as output:
            if self.forge is not None:
                self.process = await self.forge.start(self.arguments, output, environment)
                return
            self.process = await asyncio.create_subprocess_exec(
                *(ALTERED_COMMAND if altered.VARIABLE in environment else COMMAND),
                *self.arguments,
                cwd=REPOSITORY,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment,
            )

    async def ended(self, seconds: float) -> int:
        """Its exit code, once it has ended; minus the signal that killed it. Fails after `seconds`."""
        assert self.process is not None
        try:
            async with asyncio.timeout(seconds):
                return await self.process.wait()
        except TimeoutError:
            raise AssertionError(f"{self.name} still runs after {seconds:.0f} s\n{self.tail()}") from None

    def signal(self, number: signal.Signals) -> None:
        """Sends it a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    async def stop(self) -> int:
        """Asks it to end, as an operator does, and answers its exit code."""
        self.signal(signal.SIGTERM)
        return await self.ended(STOP_SECONDS)

    async def destroy(self) -> None:
        """Ends it, however it stands."""
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()
        if self.forge is not None:
            await self.forge.close()

    def tail(self) -> str:
        """The last lines of its log."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines() if self.log.exists() else []
        return "\n".join([f"--- {self.log.name}", *lines[-TAIL_LINES:]])


def _environment(more: dict[str, str]) -> dict[str, str]:
    """Ours, without what would reach the commands past their arguments."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("COMPTOIR_")}
    return {**kept, "PYTHONUNBUFFERED": "1", **more}


async def answers(child: Child, url: str) -> None:
    """Returns when `child` answers at `url`; fails when it ends before, or takes too long."""
    try:
        async with asyncio.timeout(START_SECONDS), httpx.AsyncClient(timeout=CALL_SECONDS) as client:
            while child.running:
                try:
                    if (await client.get(url)).status_code == httpx.codes.OK:
                        return
                except httpx.TransportError:
                    await asyncio.sleep(LOOK_SECONDS)
    except TimeoutError:
        raise AssertionError(f"{child.name} does not answer at {url}\n{child.tail()}") from None
    raise AssertionError(f"{child.name} ended before it answered\n{child.tail()}")


@dataclass
class Standin:
    """The PayPal stand-in: it and its books outlive every server."""

    child: Child
    url: str
    client: httpx.AsyncClient

    async def control(self, method: str, name: str, **body: Any) -> Any:
        """One of its controls."""
        answer = await self.client.request(method, f"{self.url}/_standin/{name}", json=body or None)
        assert answer.status_code == httpx.codes.OK, answer.text
        return answer.json()

    async def fault(self, operation: str, kind: str, **rule: Any) -> None:
        """The next call of `operation` goes wrong."""
        await self.control("POST", "faults", operation=operation, kind=kind, **rule)

    async def heal(self) -> None:
        """Nothing goes wrong from now on."""
        await self.control("DELETE", "faults")
        await self.control("POST", "webhooks", mode="normal")

    async def books(self) -> dict[str, Any]:
        """The truth."""
        found: dict[str, Any] = await self.control("GET", "books")
        return found


@dataclass
class Server:
    """A server: the same addresses and the same database at every start."""

    child: Child
    target: str
    pages: str
    fault_file: Path

    async def start(self) -> None:
        """Starts it and waits until it serves."""
        await self.child.start()
        await answers(self.child, f"{self.pages}/healthz")

    async def stop(self) -> int:
        """Asks it to end, and answers its exit code."""
        return await self.child.stop()

    def arm(self, point: str, count: int = 1) -> None:
        """Has it killed at the `count`-th time that it reaches a fault point."""
        written = self.fault_file.with_suffix(".new")
        written.write_text(f"{point} {count}", encoding="utf-8")
        written.rename(self.fault_file)

    @property
    def was_hit(self) -> bool:
        """Whether an armed point was reached; asking takes the mark away."""
        mark = self.fault_file.with_suffix(self.fault_file.suffix + ".hit")
        found = mark.exists()
        mark.unlink(missing_ok=True)
        return found


@dataclass(frozen=True)
class Keys:
    """The secrets and ids of those who call."""

    channel: dict[str, str]
    partner: dict[str, str]


@dataclass
class Site:
    """A folder with everything: one database, one stand-in, any number of servers, all logs."""

    folder: Path
    database: str
    secrets: dict[str, str]
    standin: Standin
    servers: list[Server]
    keys: Keys

    @property
    def server(self) -> Server:
        """The one server, or the first, which gets the webhooks."""
        return self.servers[0]

    async def create_key(self, *whose: str) -> dict[str, str]:
        """What `keys create` says; on an embedded database no server may run."""
        return await _create_key(self.folder, self.database, self.secrets, *whose)

    async def check(self) -> tuple[int, str]:
        """Exit code and words of `check`."""
        return await run(self.folder, "check", "--database", self.database)


async def run(folder: Path, *arguments: str, environment: dict[str, str] | None = None) -> tuple[int, str]:
    """Runs `comptoir-server` to its end: exit code and output; its error output goes to `commands.log`."""
    with (folder / "commands.log").open("ab") as errors:
        process = await asyncio.create_subprocess_exec(
            *COMMAND,
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            env=_environment(environment or {}),
        )
    try:
        async with asyncio.timeout(START_SECONDS):
            said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode or 0, said.decode()


@asynccontextmanager
async def open_site(
    folder: Path,
    database: str,
    *,
    servers: int = 1,
    master_key: str = "",
    standin_latency: float = 0.0,
    forged: bool = False,
    options: Mapping[str, str] = NO_OPTIONS,
    alterations: altered.Orders = UNALTERED,
) -> AsyncIterator[Site]:
    """A site whose stand-in and servers run. `options` are those of `serve`, such as `--drain-seconds`.

    Where servers are to be started many times, `forged` makes that fast. `alterations` are what altered.py
    does to each of the servers.
    """
    folder.mkdir(parents=True, exist_ok=True)
    secrets = {"COMPTOIR_MASTER_KEY": master_key} if master_key else {}
    ports = free_ports(1 + 2 * servers)
    standin_port, ports = ports[0], ports[1:]
    pages = [f"{HOST}:{port}" for port in ports[servers:]]
    standin = _standin(folder, standin_port, pages[0], standin_latency)
    made = [
        _server(folder, database, secrets, f"{HOST}:{port}", page, standin, number, options)
        for number, (port, page) in enumerate(zip(ports[:servers], pages, strict=True), 1)
    ]
    for number, server in enumerate(made, 1):
        server.child.forge = Forge() if forged else None
        orders = {**altered.orders(os.environ), **alterations}
        server.child.environment |= altered.written({**orders, "server": number} if orders else {})
    children = [standin.child, *(server.child for server in made)]
    try:
        await standin.child.start()
        if not database.startswith("sqlite:"):
            code, said = await run(folder, "migrate", "--database", database)
            assert code == 0, said
        keys = Keys(
            await _create_key(folder, database, secrets, "--channel", CHANNEL),
            await _create_key(folder, database, secrets, "--partner", PARTNER, "--bot", BOT),
        )
        await answers(standin.child, f"{standin.url}/_standin/accounts")
        for server in made:
            await server.start()
        yield Site(folder, database, secrets, standin, made, keys)
    finally:
        await standin.client.aclose()
        for child in reversed(children):
            await child.destroy()


async def _create_key(folder: Path, database: str, secrets: dict[str, str], *whose: str) -> dict[str, str]:
    arguments = ("keys", "create", "--database", database, *whose, "--json")
    code, said = await run(folder, *arguments, environment=secrets)
    assert code == 0, said
    found: dict[str, str] = json.loads(said)
    return found


def _standin(folder: Path, port: int, pages: str, latency: float) -> Standin:
    arguments = {
        "--listen": f"{HOST}:{port}",
        "--webhook-url": f"http://{pages}/webhooks/paypal",
        "--state-dir": str(folder),
        "--latency-seconds": str(latency),
    }
    child = Child("standin", ("standin", "paypal", *_flat(arguments)), folder / "standin.log")
    # A new connection for each order: the stand-in closes idle ones, and an order may meet that moment.
    alone = httpx.Limits(max_keepalive_connections=0)
    return Standin(child, f"http://{HOST}:{port}", httpx.AsyncClient(timeout=CALL_SECONDS, limits=alone))


def _server(
    folder: Path,
    database: str,
    secrets: dict[str, str],
    listen: str,
    pages: str,
    standin: Standin,
    number: int,
    options: Mapping[str, str],
) -> Server:
    fault_file = folder / f"fault-{number}"
    arguments = {
        "--listen": listen,
        "--http": pages,
        "--database": database,
        "--paypal-url": standin.url,
        "--paypal-trust-roots": str(folder / "ca.pem"),
        "--fault-file": str(fault_file),
        **options,
    }
    name = f"server-{number}"
    child = Child(name, ("serve", *_flat(arguments)), folder / f"{name}.log", dict(secrets))
    return Server(child, listen, f"http://{pages}", fault_file)


def _flat(arguments: dict[str, str]) -> tuple[str, ...]:
    return tuple(part for pair in arguments.items() for part in pair)
