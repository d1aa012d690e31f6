"""A machine whose power is cut again and again under load: what was not synced is lost, no answer may be."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import signal
import sqlite3
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from comptoir_server.store.checks import check_database
from tests.support import fuse
from tests.support.altered import Orders
from tests.support.customers import Customers, buying, new_customers
from tests.support.forge import REPOSITORY, Forge
from tests.support.lossy_disk import Loss
from tests.support.processes import HOST, QUICK, UNALTERED, Child, Site, answers, free_ports, open_site
from tests.support.reckoning import Account, read, require_equal_books
from tests.support.shop import open_shop, until

DISK = (sys.executable, "-m", "tests.support.lossy_disk")
DISK_SECONDS = 120.0
PEOPLE = 5
RUN_SECONDS = (0.02, 0.35)
EARLY_SECONDS = (0.0, 0.3)
EARLY_SHARE = 0.2
FIRST_SECONDS = (0.0, 0.1)
REPEATED = 6
CHECK_EVERY = 10
DECIDED_SECONDS = 120.0


@dataclass
class LossyDisk:
    """A mounted disk, see `tests.support.lossy_disk`; `folder` is where programs find it."""

    backing: Path
    folder: Path
    _process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Mounts it, with what the backing folder holds."""
        self._process = await asyncio.create_subprocess_exec(
            *DISK,
            str(self.backing),
            str(self.folder),
            cwd=REPOSITORY,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert await self._said() == b"mounted\n"

    async def cut(self, loss: Loss, seed: str) -> dict[str, int]:
        """Cuts the power: what is left is in the backing folder. Answers how much was not synced."""
        lost: dict[str, int] = await self._tell(f"cut {loss.name} {seed}")
        assert self._process is not None
        await self._process.wait()
        self._process = None
        fuse.unmount(self.folder)
        return lost

    async def leave_room(self, size: int | None) -> None:
        """Only so many more bytes fit; None for as many as one likes."""
        await self._tell(f"room {size}" if size is not None else "room")

    async def stop(self) -> None:
        """Takes it away; what is in memory is gone."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
            self._process = None
        fuse.unmount(self.folder)

    async def _tell(self, line: str) -> Any:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n".encode())
        return json.loads(await self._said())

    async def _said(self) -> bytes:
        assert self._process is not None
        assert self._process.stdout is not None
        async with asyncio.timeout(DISK_SECONDS):
            return await self._process.stdout.readline()


@asynccontextmanager
async def open_disk(folder: Path) -> AsyncIterator[LossyDisk]:
    """A new, empty disk."""
    disk = LossyDisk(folder / "backing", folder / "disk")
    for path in (disk.backing, disk.folder):
        path.mkdir(parents=True)
    try:
        await disk.start()
        yield disk
    finally:
        await disk.stop()


@dataclass(frozen=True)
class PowerCut:
    """One cut. `early`: it is followed by another one, so many seconds after the next start has begun."""

    seconds: float
    loss: Loss
    early: float | None


def schedule(rng: random.Random, cuts: int) -> list[PowerCut]:
    """Random cuts, each kind of loss as often as the others."""
    return [
        PowerCut(
            rng.uniform(*RUN_SECONDS),
            [*Loss][number % len(Loss)],
            rng.uniform(*EARLY_SECONDS) if rng.random() < EARLY_SHARE else None,
        )
        for number in range(cuts)
    ]


@dataclass
class Cutting:
    """A site on a lossy disk, and its customers."""

    site: Site
    disk: LossyDisk
    customers: Customers
    seed: str
    cuts: Counter[Loss] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)

    async def suffer(self, cut: PowerCut) -> bool:
        """Has its power cut and comes back; whether everything that was told still holds."""
        await asyncio.sleep(cut.seconds)
        await self._cut(cut.loss)
        if cut.early is not None and not self.violations:
            await self.disk.start()
            await self.site.server.child.start()
            await asyncio.sleep(cut.early)
            await self._cut(cut.loss)
        if self.violations:
            return False
        await self.disk.start()
        await self.site.server.start()
        self.violations += await self.customers.repeat(self.customers.final(REPEATED))
        return not self.violations

    async def _cut(self, loss: Loss) -> None:
        """The server dies, the disk forgets, and a copy of what is left is looked at."""
        child = self.site.server.child
        child.signal(signal.SIGKILL)
        assert await child.ended(5) == -signal.SIGKILL, child.tail()
        self.cuts[loss] += 1
        self.lost.update(await self.disk.cut(loss, f"{self.seed}/{self.cuts.total()}"))
        self.violations += self._found()

    def _found(self) -> list[str]:
        """What is wrong on the disk, looked at in a copy: opening a database changes it."""
        copy = self.disk.backing.with_name("copy")
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(self.disk.backing, copy)
        database = copy / "comptoir.db"
        try:
            with sqlite3.connect(database) as connection:
                integrity = [row[0] for row in connection.execute("PRAGMA integrity_check")]
            connection.close()
            if integrity != ["ok"]:
                return integrity
            found = self.customers.contradictions(read(f"sqlite:///{database}"))
            if self.cuts.total() % CHECK_EVERY == 0:
                found += [f"check: {code} is broken" for code in check_database(f"sqlite:///{database}").broken]
        except Exception as error:  # noqa: BLE001 - a database that cannot be read is what is looked for
            return [f"the database cannot be read: {error}"]
        return found


@dataclass(frozen=True)
class Outcome:
    """What a series of cuts left; `account` is None where something was lost, and the series broken off."""

    cutting: Cutting
    account: Account | None

    @property
    def figures(self) -> dict[str, int | float]:
        """What was done and found, for a report."""
        customers, lost = self.cutting.customers, self.cutting.lost
        return {
            "power cuts": self.cutting.cuts.total(),
            "unsynced pages at a cut": lost["pages"],
            "unsynced names at a cut": lost["names"],
            "requests sent": len(customers.sent),
            "answers": customers.answers,
            "captures": len(self.account.captures) if self.account else 0,
        }


async def cut_power_again_and_again(folder: Path, cuts: int, seed: str, alterations: Orders = UNALTERED) -> Outcome:
    """Cuts the power so many times, on one database, or until something that was answered is lost.

    Raises AssertionError where, at the end, the stand-in's books differ from ours.
    """
    async with open_disk(folder) as disk:
        database = f"sqlite:///{disk.folder}/comptoir.db"
        opened = open_site(folder / "site", database, forged=True, options=QUICK, alterations=alterations)
        async with opened as site, open_shop(site) as shop:
            one = Cutting(site, disk, await new_customers(shop, seed, PEOPLE), seed)
            async with buying(one.customers) as traffic:
                for cut in schedule(random.Random(seed), cuts):
                    if not await one.suffer(cut):
                        return Outcome(one, None)
                    await traffic.go_on()
                await traffic.end()
            return Outcome(one, await _settled(one))


async def _settled(one: Cutting) -> Account:
    """The database once everything is decided and the server has ended."""
    site = one.site
    await until(lambda: not read(site.database).undecided, "everything is decided", DECIDED_SECONDS)
    one.violations += await one.customers.repeat(one.customers.said)
    assert await site.server.stop() == 0, site.server.child.tail()
    account = read(site.database)
    one.violations += one.customers.contradictions(account)
    require_equal_books(account, await site.standin.books())
    code, said = await site.check()
    assert code == 0, said
    return account


async def cut_first_starts(folder: Path, times: int, seed: str) -> Counter[str]:
    """A server's very first start, cut off somewhere; the next start must succeed. Answers what was not synced."""
    rng, lost, forge = random.Random(seed), Counter[str](), Forge()
    listen, pages = [f"{HOST}:{port}" for port in free_ports(2)]
    try:
        for number in range(times):
            async with open_disk(folder / f"{number}") as disk:
                database = f"sqlite:///{disk.folder}/comptoir.db"
                arguments = ("serve", "--listen", listen, "--http", pages, "--database", database)
                child = Child("server", arguments, folder / "server.log", forge=forge)
                await child.start()
                while not list(disk.folder.iterdir()):
                    await asyncio.sleep(0.002)
                await asyncio.sleep(rng.uniform(*FIRST_SECONDS))
                child.signal(signal.SIGKILL)
                await child.ended(5)
                lost.update(await disk.cut([*Loss][number % len(Loss)], f"{seed}/{number}"))
                await disk.start()
                await child.start()
                await answers(child, f"http://{pages}/healthz")
                assert await child.stop() == 0, child.tail()
    finally:
        await forge.close()
    return lost
