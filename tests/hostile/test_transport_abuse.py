"""Whoever abuses connections delays others and no more: everybody honest is answered, and the server is as before.

A real server, abused from a process of its own, while honest people read and speak. How long they waited is printed.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.hostile.abuse import KINDS, MANY_CONNECTIONS, allowed_connections
from tests.hostile.memory import MIB, resident_bytes
from tests.hostile.patience import Waits, open_files, served, watched
from tests.support.databases import new_sqlite
from tests.support.processes import Server, open_site
from tests.support.shop import Person, Shop, open_shop, until

SECONDS = 2.0
"""How long each kind of abuse lasts."""

GROWTH_MAX = 700 * MIB
"""The most that a server may grow by meanwhile; what an abuser can send in that time is many times as much."""

RECOVERY_SECONDS = 60.0
SPARE_FILES = 20
"""How many connections more than before may be open afterwards: those of honest people."""

pytestmark = pytest.mark.timeout(300)


@asynccontextmanager
async def abused(folder: Path) -> AsyncIterator[tuple[Shop, Person, Server]]:
    """A shop with a customer, on a server that may open as many files as the system lets it."""
    allowed_connections()
    async with open_site(folder, new_sqlite(folder)) as site, open_shop(site) as shop:
        yield shop, await shop.person(), site.server


async def abuse(kind: str, server: Server, key: str, seconds: float) -> str:
    """Has a process abuse a server, and answers what it says that it did."""
    arguments = (kind, server.target, server.pages.removeprefix("http://"), key, str(seconds))
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.hostile.abuse", *arguments, stdout=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(seconds + RECOVERY_SECONDS):
            said, _ = await child.communicate()
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    assert child.returncode == 0
    return said.decode().strip()


async def before_and_during(
    shop: Shop, person: Person, server: Server, kind: str, seconds: float
) -> tuple[Waits, str, int]:
    """How long honest people wait while a server is abused, what is done to it, and by how many bytes it grows."""
    process = server.child.process
    assert process is not None
    files, size = open_files(process.pid), resident_bytes(process.pid)
    async with watched(process.pid) as footprint, served(shop, person) as waits:
        said = await abuse(kind, server, shop.site.keys.partner["key"], seconds)
    await until(
        lambda: open_files(process.pid) <= files + SPARE_FILES, "all connections are given back", RECOVERY_SECONDS
    )
    return waits, said, footprint.most_bytes - size


async def test_a_server_that_answers_nobody_is_noticed(tmp_path: Path) -> None:
    async with abused(tmp_path) as (shop, person, server):

        async def wait() -> None:
            async with served(shop, person, bound_seconds=1.0):
                server.child.signal(signal.SIGSTOP)
                await asyncio.sleep(3.0)

        with pytest.raises(ExceptionGroup):
            await wait()
        server.child.signal(signal.SIGCONT)


async def test_memory_that_a_process_takes_and_gives_back_is_noticed(tmp_path: Path) -> None:
    code = "import sys, time; kept = bytearray(b'x' * 200_000_000); print(1, flush=True); del kept; sys.stdin.read()"
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    async with watched(child.pid) as footprint:
        assert child.stdout is not None
        await child.stdout.readline()
    await child.communicate(b"")

    assert footprint.most_bytes > 10 * MIB
    assert footprint.most_files >= 3


async def test_whoever_abuses_connections_stops_nobody_and_leaves_nothing_behind(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grown: dict[str, int] = {}
    async with abused(tmp_path) as (shop, person, server):
        async with served(shop, person) as usual:
            await asyncio.sleep(SECONDS)
        lines = [f"before: {usual}"]
        for kind in KINDS:
            waits, said, grown[kind] = await before_and_during(shop, person, server, kind, SECONDS)
            lines.append(f"{kind} ({said}): {waits}, {grown[kind] // MIB:+} MiB")
            assert waits.seconds, kind
        assert server.child.running, server.child.tail()
        log = server.child.log.read_text(encoding="utf-8", errors="replace")
        assert await server.stop() == 0
        checked = await shop.site.check()
    with capsys.disabled():
        print("", f"connections allowed: {allowed_connections()} of {MANY_CONNECTIONS}", *lines, sep="\n")

    assert {kind: size // MIB for kind, size in grown.items() if size > GROWTH_MAX} == {}
    assert '"event": "unforeseen"' not in log
    assert checked[0] == 0, checked
