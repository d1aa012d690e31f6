"""The same servers, left running for whoever wants to try them."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from comptoir_server.demo.processes import Processes
from comptoir_server.demo.screen import Screen
from comptoir_server.demo.site import Keys, Site, keep_keys, kept_keys
from comptoir_server.runtime import Runtime

ENVIRONMENT = "env"
"""The file in which the addresses and keys stand for a shell."""


async def keep_running(site: Site, processes: Processes, screen: Screen, runtime: Runtime) -> None:
    """Starts everything, says how to use it, and returns only by being cancelled."""
    screen.heading("Setting up")
    keys = kept_keys(site)
    if keys is None:
        with screen.step("Making a database and keys"):
            keys = await site.prepare(processes)
            keep_keys(site, keys)
    _write_environment(site, keys)
    await site.start(processes, keys, screen, runtime)
    _explain(site, keys, screen)
    await asyncio.Event().wait()


def _write_environment(site: Site, keys: Keys) -> None:
    """A file for `.` in a shell, so that commands can be copied as they stand; its owner alone can read it."""
    words = {
        "TARGET": site.addresses.grpc,
        "KEY": keys.airline,
        "CHANNEL_KEY": keys.channel,
        "OPERATOR_KEY": keys.operator,
        "BOT": keys.bot_id,
    }
    path = site.folder / ENVIRONMENT
    path.touch(mode=0o600)
    path.write_text("".join(f"{name}={value}\n" for name, value in words.items()), encoding="utf-8")


def _explain(site: Site, keys: Keys, screen: Screen) -> None:
    grpc = site.addresses.grpc
    for title, lines in {
        "Addresses": (
            f"gRPC                     {grpc}",
            f"Link pages and webhooks  http://{site.addresses.pages}",
            f"PayPal stand-in          http://{site.addresses.standin}/_standin/books",
            f"Database and logs        {_near(site.folder)}",
        ),
        "Talk to the airline's bot in a terminal": (
            f"COMPTOIR_KEY={keys.channel} COMPTOIR_BOT={keys.bot_id} \\",
            f"  {_program('comptoir')} chat --target {grpc} --as ada --ad 'Lisbon for two'",
        ),
        "Call the server": (
            f"{_program('grpcurl')} -plaintext {grpc} list",
            _grpcurl(grpc, keys.channel, "WalletService/ListMarkets"),
            _grpcurl(grpc, keys.airline, "EventService/ListEvents"),
            _grpcurl(grpc, keys.operator, "LedgerService/ListAccounts"),
        ),
        "Keys": (
            f"of the chat      {keys.channel}",
            f"of the airline   {keys.airline}",
            f"of the operator  {keys.operator}",
        ),
    }.items():
        screen.heading(title)
        for line in lines:
            screen.line(line)
    screen.heading("Running; Ctrl-C ends everything")


def _grpcurl(grpc: str, key: str, method: str) -> str:
    return f"{_program('grpcurl')} -plaintext -H 'authorization: Bearer {key}' {grpc} comptoir.v1.{method}"


def _program(name: str) -> str:
    """How to call a program from here: the one beside our interpreter where there is one."""
    beside = Path(sys.executable).with_name(name)
    return _near(beside) if beside.exists() else name


def _near(path: Path) -> str:
    """The path as seen from here where it lies below."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
