"""The three servers of the demonstration: their addresses, their keys, and how each is started."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx

from comptoir_server.config import ConfigurationError
from comptoir_server.demo.failure import Failure
from comptoir_server.demo.processes import SERVER_COMMAND, Processes
from comptoir_server.demo.screen import Screen
from comptoir_server.runtime import Runtime, usable_ports

HOST = "127.0.0.1"
BOTS = Path(__file__).resolve().parents[3] / "clients" / "bots"
READY_SECONDS = 60.0
_LOOK_SECONDS = 0.1
_LIMIT_SECONDS, _DRAIN_SECONDS = "5", "10"
"""For one call of the provider, which is on this machine, and for running calls at the end: less than STOP_SECONDS."""

PARTNER, BOT, CHANNEL = "Comptoir Air", "Comptoir Air", "Demo chat"
STANDIN, SERVER, AIRLINE = "standin", "server", "airline"
"""The processes, by the names of their logs."""

DATABASE = "comptoir.db"
_KEYS = "keys.json"


@dataclass(frozen=True, slots=True)
class Addresses:
    """HOST:PORT of gRPC, of the link pages and webhooks, and of the PayPal stand-in."""

    grpc: str
    pages: str
    standin: str

    @classmethod
    def at(cls, grpc: int, pages: int, standin: int) -> Addresses:
        """On this machine; 0 is any free port. Raises ConfigurationError for a port that is taken."""
        wanted = (grpc, pages, standin)
        for port in wanted:
            try:
                usable_ports(HOST, (port,))
            except OSError:
                raise ConfigurationError(
                    f"Port {port} is taken, perhaps by another `make run`: end what listens there, and try again."
                ) from None
        return cls(*(f"{HOST}:{port}" for port in usable_ports(HOST, wanted)))


@dataclass(frozen=True, slots=True)
class Keys:
    """The secrets of everybody who takes part."""

    operator: str
    channel: str
    airline: str
    bot_id: str


@dataclass(frozen=True, slots=True)
class Site:
    """Where everything is. `folder` holds the database, the stand-in's authority and the logs."""

    folder: Path
    database: str
    addresses: Addresses

    async def prepare(self, processes: Processes) -> Keys:
        """Brings the database up to date and makes the keys; the running server would hold the embedded file."""
        if not self.database.startswith("sqlite:"):
            await _succeed(processes, "migrate", "migrate", "--database", self.database)
        operator = await self._key(processes, "--operator")
        channel = await self._key(processes, "--channel", CHANNEL)
        airline = await self._key(processes, "--partner", PARTNER, "--bot", BOT)
        return Keys(operator["key"], channel["key"], airline["key"], airline["bot_id"])

    async def _key(self, processes: Processes, *whose: str) -> dict[str, str]:
        said = await _succeed(processes, "keys", "keys", "create", "--database", self.database, *whose, "--json")
        made: dict[str, str] = json.loads(said)
        return made

    async def start(self, processes: Processes, keys: Keys, screen: Screen, runtime: Runtime) -> None:
        """Starts the stand-in, the server and the airline, each once the one before it answers."""
        with screen.step("Starting a PayPal stand-in"):
            await self._start_standin(processes)
            await _answered(runtime, STANDIN, f"http://{self.addresses.standin}/_standin/accounts")
        with screen.step("Starting the Comptoir server"):
            await self._start_server(processes)
            await _answered(runtime, SERVER, f"http://{self.addresses.pages}/healthz")
        with screen.step("Starting the airline's bot"):
            environment = {"COMPTOIR_KEY": keys.airline, "PYTHONPATH": str(BOTS)}
            python = SERVER_COMMAND[0]
            await processes.start(AIRLINE, python, "-m", "airline", self.addresses.grpc, environment=environment)

    async def _start_standin(self, processes: Processes) -> None:
        webhooks = f"http://{self.addresses.pages}/webhooks/paypal"
        arguments = ("--listen", self.addresses.standin, "--webhook-url", webhooks, "--state-dir", str(self.folder))
        await processes.start(STANDIN, *SERVER_COMMAND, "standin", "paypal", *arguments)

    async def _start_server(self, processes: Processes) -> None:
        options = {
            "--listen": self.addresses.grpc,
            "--http": self.addresses.pages,
            "--database": self.database,
            "--paypal-url": f"http://{self.addresses.standin}",
            "--paypal-trust-roots": str(self.folder / "ca.pem"),
            "--provider-limit-seconds": _LIMIT_SECONDS,
            "--drain-seconds": _DRAIN_SECONDS,
        }
        arguments = [part for option in options.items() for part in option]
        await processes.start(SERVER, *SERVER_COMMAND, "serve", *arguments)

    async def check(self, processes: Processes) -> int:
        """Checks every invariant on our own output, and answers the exit code; the server must have ended."""
        command = (*SERVER_COMMAND, "check", "--database", self.database)
        code, _ = await processes.run("check", *command, captured=False)
        return code


def kept_keys(site: Site) -> Keys | None:
    """The keys of an earlier run on the same database; None where there was none."""
    path = site.folder / _KEYS
    if not path.exists() or not (site.folder / DATABASE).exists():
        return None
    kept = json.loads(path.read_text(encoding="utf-8"))
    return Keys(**kept["keys"]) if kept["database"] == site.database else None


def keep_keys(site: Site, keys: Keys) -> None:
    """Writes the keys where only their owner reads them."""
    path = site.folder / _KEYS
    path.touch(mode=0o600)
    path.write_text(json.dumps({"database": site.database, "keys": asdict(keys)}), encoding="utf-8")


def require_bots() -> None:
    """Raises ConfigurationError where the airline's bot is not beside the server."""
    if not (BOTS / "airline").is_dir():
        raise ConfigurationError(
            "The demonstration needs the repository's clients/bots: run it from a checkout, by `make demo`."
        )


async def _succeed(processes: Processes, name: str, *arguments: str) -> str:
    code, said = await processes.run(name, *SERVER_COMMAND, *arguments)
    if code:
        raise Failure(f"`comptoir-server {' '.join(arguments[:2])}` ended with exit code {code}.")
    return said


async def _answered(runtime: Runtime, name: str, url: str) -> None:
    """Returns when a server answers at `url`. Raises Failure where it does not in time."""
    async with runtime.http_client("", READY_SECONDS) as client:
        try:
            async with asyncio.timeout(READY_SECONDS):
                while not await _is_up(client, url):
                    await runtime.sleep(_LOOK_SECONDS)
        except TimeoutError:
            raise Failure(f"The {name} did not answer at {url} within {READY_SECONDS:.0f} s.") from None


async def _is_up(client: httpx.AsyncClient, url: str) -> bool:
    try:
        return (await client.get(url)).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False
