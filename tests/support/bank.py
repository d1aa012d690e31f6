"""Three servers on one PostgreSQL under load, one of which is killed every few seconds, and readers at each of them.

Money goes to and fro between people and a partner. Meanwhile every look at the books balances; each reader follows the
partner's log at a server of its own; and what the servers send to the stand-in is overheard.
"""

from __future__ import annotations

import asyncio
import base64
import json
import random
import signal
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles

import psycopg

from comptoir import AsyncClient
from comptoir.v1 import Event, ListEventsRequest
from comptoir_server.store.checks import check_database
from tests.support.customers import Customers, buying, new_customers
from tests.support.databases import new_postgresql
from tests.support.overheard import Call, calls_in, driven_by_two
from tests.support.processes import QUICK, Server, Site, open_site
from tests.support.reckoning import Account, read, require_equal_books
from tests.support.shop import open_shop, until

SERVERS = 3
PEOPLE = 3
KILL_SECONDS = 5.0
DOWN_SECONDS = 0.5
PAUSE_SECONDS = 0.5
"""So that events are late because of what happens, and not because everybody waits for a processor."""

STANDIN_SECONDS = 0.02
"""What is sent takes a moment, in which another server could send it too."""

LATE_SECONDS = 0.25
DECIDED_SECONDS = 120.0
HEARD_SECONDS = 60.0
REPEATED = 6
MASTER_KEY = base64.b64encode(bytes(range(32))).decode()
BAD_REASONS = frozenset({"INTERNAL", "DEADLOCK"})
BAD_EVENTS = frozenset({"unforeseen", "task failed", "job failed"})


@dataclass(frozen=True)
class Heard:
    """One event as it arrived, on the clock that the servers have too; `connected` since when the stream was open."""

    event: Event
    time: float
    connected: float

    @property
    def seconds(self) -> float:
        """How long it took from the beginning of the work that caused it."""
        return self.time - self.event.create_time.ToNanoseconds() / 1e9


@dataclass
class Reader:
    """Somebody who follows the partner's log at one server, across its falls."""

    server: int
    client: AsyncClient
    heard: list[Heard] = field(default_factory=list)

    async def follow(self) -> None:
        """Until it is cancelled."""
        connected, breaks = time.time(), 0
        async with self.client.events.stream(f"reader-{self.server}", max_outstanding=1000) as events:
            async for event in events:
                if events.breaks > breaks:
                    connected, breaks = time.time(), events.breaks
                self.heard.append(Heard(event, time.time(), connected))

    def faults(self, log: Sequence[Event]) -> list[str]:
        """Where what it heard is not the log: something skipped, or out of order."""
        heard, written = [one.event.event_id for one in self.heard], [event.event_id for event in log]
        if heard == written:
            return []
        missing = len(set(written) - set(heard))
        return [
            f"the reader at server {self.server} missed {missing} of {len(written)} events, or heard them in disorder"
        ]


def out_of_sequence(log: Sequence[Event]) -> list[str]:
    """The sessions whose events are not numbered from 1 without gaps, in the order of the log."""
    last: dict[str, int] = {}
    found = []
    for event in log:
        if event.session_id:
            expected = last.get(event.session_id, 0) + 1
            if event.session_sequence != expected:
                found.append(f"{event.session_id}: {event.session_sequence} came instead of {expected}")
            last[event.session_id] = event.session_sequence
    return found


def bad_lines(log: str) -> list[str]:
    """What a server's log says that no client may be told: a deadlock, or something that nobody foresaw."""
    found = []
    for line in log.splitlines():
        if "deadlock" in line.lower():
            found.append(line)
        elif line.startswith("{"):
            said = json.loads(line)
            if said.get("reason") in BAD_REASONS or said.get("event") in BAD_EVENTS:
                found.append(line)
    return found


@dataclass
class Bank:
    """The site, its customers and readers, by server."""

    site: Site
    customers: tuple[Customers, ...]
    readers: tuple[Reader, ...]
    rng: random.Random
    killed: dict[int, float] = field(default_factory=dict)
    looks: int = 0
    log: list[Event] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)

    async def suffer(self) -> None:
        """One server is killed and comes back; the books balance all the while."""
        began = time.monotonic()
        server = self.rng.choice(self.site.servers)
        await self.look()
        await asyncio.sleep(self.rng.uniform(0, max(0.0, KILL_SECONDS - DOWN_SECONDS - time.monotonic() + began)))
        await self._kill(server)
        await self.look()
        await asyncio.sleep(DOWN_SECONDS)
        await server.start()
        for customers in self.customers:
            self.violations += await customers.repeat(customers.final(REPEATED))
        await asyncio.sleep(max(0.0, KILL_SECONDS - time.monotonic() + began))

    async def _kill(self, server: Server) -> None:
        assert server.child.process is not None
        server.child.signal(signal.SIGKILL)
        assert await server.child.ended(5) == -signal.SIGKILL, server.child.tail()
        self.killed[server.child.process.pid] = time.monotonic()

    def calls(self) -> list[Call]:
        """What was sent to the stand-in with a key, by every process that there was."""
        return calls_in(self.site.folder, self.killed)

    async def look(self) -> None:
        """Every invariant on one state of the database, while others write."""
        report = await asyncio.to_thread(check_database, self.site.database)
        self.looks += 1
        self.violations += [f"check: {code} is broken" for code in report.broken]

    async def settle(self) -> Account:
        """Waits until everything is decided and heard, ends the servers, and compares all that was seen."""
        site = self.site
        await until(lambda: not read(site.database).undecided, "everything is decided", DECIDED_SECONDS)
        for customers in self.customers:
            self.violations += await customers.repeat(customers.said)
        self.log = await _whole_log(self.readers[0].client)
        await until(
            lambda: all(len(reader.heard) >= len(self.log) for reader in self.readers),
            f"{[len(reader.heard) for reader in self.readers]} readers hear all {len(self.log)} events",
            HEARD_SECONDS,
        )
        account = read(site.database)
        self.violations += [fault for customers in self.customers for fault in customers.contradictions(account)]
        self.violations += [fault for reader in self.readers for fault in reader.faults(self.log)]
        self.violations += out_of_sequence(self.log)
        self.violations += driven_by_two(self.calls())
        await self.look()
        return account

    def delays(self) -> list[float]:
        """Seconds from the beginning of a work at one server until its event was heard at another that was there."""
        home = {person.session_id: server for server, one in enumerate(self.customers) for person in one.people}
        return [
            heard.seconds
            for reader in self.readers
            for heard in reader.heard
            if home.get(heard.event.session_id, reader.server) != reader.server
            and heard.time - heard.seconds > heard.connected
        ]

    def figures(self, account: Account) -> dict[str, int | float]:
        """What was done and found, for a report."""
        delays = self.delays()
        cuts = quantiles(delays, n=100)
        return {
            "kills": len(self.killed),
            "answers": sum(one.answers for one in self.customers),
            "captures": len(account.captures),
            "refunds": len(account.refunds),
            "events": len(self.log),
            "events heard at another server": len(delays),
            "half of them heard within ms": round(cuts[49] * 1000, 1),
            "99 of 100 of them heard within ms": round(cuts[98] * 1000, 1),
            "sends overheard": len(self.calls()),
            "looks at the books": self.looks,
            "events later than 250 ms": sum(delay > LATE_SECONDS for delay in delays),
            "deadlocks inside PostgreSQL": deadlocks(self.site.database),
        }


async def _whole_log(client: AsyncClient) -> list[Event]:
    log: list[Event] = []
    cursor = ""
    while True:
        page = await client.events.list_events(ListEventsRequest(cursor=cursor, page_size=1000))
        if not page.events:
            return log
        log += page.events
        cursor = page.next_cursor


def deadlocks(database: str) -> int:
    """How many transactions PostgreSQL has ended because they met; the servers run them again."""
    with psycopg.connect(database) as connection:
        row = connection.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()").fetchone()
    assert row is not None
    return int(row[0])


@asynccontextmanager
async def _open_bank(folder: Path, seed: str) -> AsyncIterator[Bank]:
    """A bank whose customers have their wallets."""
    async with AsyncExitStack() as stack:
        opened = open_site(
            folder,
            new_postgresql(),
            servers=SERVERS,
            master_key=MASTER_KEY,
            standin_latency=STANDIN_SECONDS,
            forged=True,
            options=QUICK,
            alterations={"overhear": str(folder)},
        )
        site = await stack.enter_async_context(opened)
        shops = [await stack.enter_async_context(open_shop(site, server)) for server in site.servers]
        customers = tuple([await new_customers(shop, f"{seed}/{i}", PEOPLE) for i, shop in enumerate(shops)])
        for one in customers:
            one.pause_seconds = PAUSE_SECONDS
        readers = tuple(Reader(i, shop.partner) for i, shop in enumerate(shops))
        yield Bank(site, customers, readers, random.Random(seed))


async def run_bank(folder: Path, kills: int, seed: str) -> tuple[Bank, dict[str, int | float]]:
    """The bank for so many kills, and what it came to.

    Raises AssertionError where, at the end, the stand-in's books differ from ours.
    """
    async with _open_bank(folder, seed) as bank:
        following = [asyncio.create_task(reader.follow()) for reader in bank.readers]
        try:
            async with buying(*bank.customers) as traffic:
                for _ in range(kills):
                    await bank.suffer()
                    traffic.require_alive()
                await traffic.end()
            account = await bank.settle()
        finally:
            for task in following:
                task.cancel()
            await asyncio.gather(*following, return_exceptions=True)
        figures = bank.figures(account)
        assert [await server.stop() for server in bank.site.servers] == [0] * SERVERS
        require_equal_books(account, await bank.site.standin.books())
        for server in bank.site.servers:
            bank.violations += bad_lines(server.child.log.read_text(encoding="utf-8"))
    return bank, figures
