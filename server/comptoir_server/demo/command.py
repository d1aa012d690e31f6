"""`comptoir-server demo`: plays the story and ends everything, or keeps the servers for whoever wants to try them."""

from __future__ import annotations

import asyncio
import shutil
import signal
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from babel.core import UnknownLocaleError

from comptoir import ComptoirError
from comptoir.chat.render import money_in
from comptoir_server.config import Config, ConfigurationError, split_address
from comptoir_server.demo.failure import Failure
from comptoir_server.demo.keep import keep_running
from comptoir_server.demo.play import play
from comptoir_server.demo.processes import Processes
from comptoir_server.demo.screen import Screen
from comptoir_server.demo.site import DATABASE, Addresses, Site, require_bots
from comptoir_server.runtime import Runtime

FOLDER = Path(".comptoir")
"""Where what is kept running keeps its database and logs, below the present folder."""

STANDIN_PORT = 7610
FAILED = 1
SIGNALED = 128
"""Plus the number of the signal, as shells count."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_Work = Callable[[Processes], Awaitable[None]]


def run(*, keep: bool, database: str, locale: str) -> int:
    """Answers the exit code: 0, 1 where something did not go as it has to, or that of a signal.

    Raises ConfigurationError where it cannot start.
    """
    require_bots()
    _require_locale(locale)
    return _keep(database) if keep else _play(database, locale)


def _play(database: str, locale: str) -> int:
    """Free ports and a folder that is removed, unless the logs in it are needed."""
    runtime = Runtime()
    screen = Screen(runtime)
    folder = Path(tempfile.mkdtemp(prefix="comptoir-demo-"))
    site = Site(folder, database or _embedded(folder), Addresses.at(0, 0, 0))
    work: _Work = lambda processes: play(site, locale, processes, screen, runtime)  # noqa: E731
    code = asyncio.run(_guarded(work, folder, screen, runtime))
    if code != FAILED:
        shutil.rmtree(folder)
    return code


def _keep(database: str) -> int:
    """The documented ports and a folder that stays; being interrupted is how it ends."""
    runtime = Runtime()
    screen = Screen(runtime)
    (_, grpc), (_, pages) = (split_address("", address) for address in (Config().listen, Config().http))
    addresses = Addresses.at(grpc, pages, STANDIN_PORT)
    folder = FOLDER.resolve()
    folder.mkdir(exist_ok=True)
    for log in folder.glob("*.log"):
        log.unlink()
    site = Site(folder, database or _embedded(folder), addresses)
    work: _Work = lambda processes: keep_running(site, processes, screen, runtime)  # noqa: E731
    code = asyncio.run(_guarded(work, folder, screen, runtime))
    return 0 if code == SIGNALED + signal.SIGINT else code


def _embedded(folder: Path) -> str:
    return f"sqlite:///{folder / DATABASE}"


def _require_locale(locale: str) -> None:
    try:
        money_in(locale)
    except (ValueError, UnknownLocaleError):
        raise ConfigurationError(
            f"--locale {locale!r} is not known: choose one such as en-US, de-DE or ja-JP."
        ) from None


@dataclass(slots=True)
class _Interruption:
    """What ends the work from outside: a signal, or one of our processes that ended by itself."""

    task: asyncio.Task[int]
    signal: int = 0
    fallen: str = ""

    def by_signal(self, number: int) -> None:
        """The first ends everything in order, another one at once."""
        self.signal = number
        self.task.cancel()

    def by_fall(self, name: str) -> None:
        """A terminal's Ctrl-C ends our processes as well: after a signal that is no fall."""
        if not self.signal and not self.fallen:
            self.fallen = name
            self.task.cancel()


async def _guarded(work: _Work, folder: Path, screen: Screen, runtime: Runtime) -> int:
    """Does the work and ends every process, however it goes. Answers the exit code."""
    task: asyncio.Task[int] | None = asyncio.current_task()
    assert task is not None
    interruption = _Interruption(task)
    for number in _SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, interruption.by_signal, number)
    processes = Processes(runtime, folder, interruption.by_fall)
    try:
        async with processes:
            await work(processes)
        return 0
    except (Failure, ComptoirError) as failure:
        words = str(failure)
    except asyncio.CancelledError:
        if interruption.signal:
            screen.line("Interrupted; everything has ended.")
            return SIGNALED + interruption.signal
        words = f"The {interruption.fallen} ended by itself."
    screen.complain(words)
    for log, lines in processes.tails():
        screen.line(f"{log}:", "bold")
        for line in lines:
            screen.line(f"  {line}", "dim")
    return FAILED
