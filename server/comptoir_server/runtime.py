"""The seams: time, randomness, tasks, threads and sockets enter the server here and nowhere else.

Production uses `Runtime`; the simulator puts a virtual one in its place. A lint rule refuses the
standard library's clocks, random sources, tasks and sockets in every other module.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import signal
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import structlog

from comptoir_server.domain import ids

log = structlog.get_logger()

MICROSECONDS = 1_000_000

IDS_AT_ONCE = 256
"""For how many ids randomness is drawn at once."""

_BOOT_FILES = (Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/timens_offsets"))
"""Where Linux says which start of the machine this is, and how far its monotonic clock is put off for a container."""

_forks = 0
"""How often a process was forked off on the way to this one."""


def _forked() -> None:
    global _forks
    _forks += 1


os.register_at_fork(after_in_child=_forked)


def _monotonic_clock() -> str:
    """A name that all processes share whose monotonic clock is the same; one of this process where nothing is known."""
    try:
        told = b"".join(file.read_bytes() for file in _BOOT_FILES)
    except OSError:
        told = os.urandom(16)
    return hashlib.sha256(told).hexdigest()[:32]


class Runtime:
    """The real clock, the real random source, the real event loop.

    Tasks started through `spawn` are held until they end, so that the collector cannot take them,
    and are awaited or cancelled by `drain`.
    """

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._spare: deque[bytes] = deque()
        """Randomness for the next ids: a system call for each would cost more than the rest of making it."""
        self._spare_of = _forks
        self.monotonic_clock = _monotonic_clock()
        """Which clock `monotonic` reads: those of one name may be compared, by another process and later as well."""

    def now(self) -> int:
        """Microseconds since the Unix epoch, UTC."""
        return time.time_ns() // 1_000

    def today(self) -> datetime:
        """The same instant as `now`, as an aware datetime in UTC."""
        return datetime.fromtimestamp(self.now() / MICROSECONDS, UTC)

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back and that nobody sets; only differences mean something."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Suspends the caller for `seconds` (0 gives way once)."""
        await asyncio.sleep(seconds)

    def after(self, seconds: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        """Calls `callback` in the running loop after `seconds`, unless what is answered is cancelled before."""
        return asyncio.get_running_loop().call_later(seconds, callback)

    def random_bytes(self, count: int) -> bytes:
        """`count` bytes from the operating system's generator, fit for secrets."""
        return os.urandom(count)

    def uniform(self, low: float, high: float) -> float:
        """A number in [low, high], for jitter; never for secrets."""
        return random.uniform(low, high)  # noqa: S311 - jitter, not a secret

    def new_id(self, prefix: str) -> str:
        """A new opaque id: `prefix`, an underscore, 48 bits of milliseconds and 80 random bits."""
        return ids.build(prefix, self.now() // 1_000, self._id_randomness())

    def _id_randomness(self) -> bytes:
        """Ten random bytes that nobody else is given: no other thread, and no process that was forked off."""
        if self._spare_of != _forks:
            self._spare.clear()
            self._spare_of = _forks
        try:
            return self._spare.popleft()
        except IndexError:
            drawn = self.random_bytes(ids.RANDOM_BYTES * IDS_AT_ONCE)
            first, *others = (drawn[at : at + ids.RANDOM_BYTES] for at in range(0, len(drawn), ids.RANDOM_BYTES))
            self._spare.extend(others)
            return first

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Starts `work` as a task that the process owns: no caller's hang-up cancels it."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("task failed", job=task.get_name(), exc_info=task.exception())

    def thread(self, target: Callable[[], None], name: str) -> threading.Thread:
        """Starts a daemon thread."""
        thread = threading.Thread(target=target, name=name, daemon=True)
        thread.start()
        return thread

    def http_client(self, base_url: str, timeout_seconds: float, **options: Any) -> httpx.AsyncClient:
        """A client for one provider: no retries and no redirects, both are decisions of ours."""
        return httpx.AsyncClient(base_url=base_url, timeout=timeout_seconds, follow_redirects=False, **options)

    async def drain(self, seconds: float) -> int:
        """Gives spawned tasks `seconds` to end, cancels the rest, and answers how many were cancelled."""
        pending = {task for task in self._tasks if task is not asyncio.current_task()}
        if not pending:
            return 0
        _, late = await asyncio.wait(pending, timeout=seconds)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        return len(late)


def usable_ports(host: str, ports: Sequence[int]) -> tuple[int, ...]:
    """The ports, each bound for a moment to see that it is free; 0 stands for any, no two of them the same.

    Raises OSError where one is taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket(family)) for _ in ports]
        for one, port in zip(sockets, ports, strict=True):
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.bind((host, port))
        return tuple(one.getsockname()[1] for one in sockets)


_armed: Callable[[str], None] | None = None


def fault(name: str) -> None:
    """A named place at which a test may make the process fail; one comparison when nothing is armed."""
    if _armed is not None:
        _armed(name)


def arm_faults(handler: Callable[[str], None] | None) -> None:
    """Calls `handler` with the name of every fault point reached from now on; None disarms."""
    global _armed
    _armed = handler


def arm_faults_from_file(path: Path) -> None:
    """Kills this process (SIGKILL) at the fault point that `path` names, once.

    The file holds `name` or `name count`: the process dies at the count-th time the point is
    reached. The file is renamed to `<path>.hit` first, so a restarted process lives.
    """
    seen: dict[str, int] = {}

    def strike(name: str) -> None:
        try:
            wanted, _, count = path.read_text(encoding="utf-8").strip().partition(" ")
        except FileNotFoundError:
            return
        if wanted != name:
            return
        seen[name] = seen.get(name, 0) + 1
        if seen[name] >= int(count or 1):
            path.rename(path.with_suffix(path.suffix + ".hit"))
            os.kill(os.getpid(), signal.SIGKILL)

    arm_faults(strike)
