"""A server that is killed with -9 again and again under load, on one database file, with time passing while it is down.

The customers and the stand-in are processes of their own and live through every kill. The server runs with the
limits and the schedule that it has by default; its clock is put forward by minutes before each start, so that minutes
until something is decided can be read off the rows themselves.
"""

from __future__ import annotations

import asyncio
import random
import signal
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from comptoir_server.runtime import MICROSECONDS
from comptoir_server.store.checks import check_database
from tests.support.altered import Orders
from tests.support.customers import Customers, buying, new_customers
from tests.support.processes import UNALTERED, Site, open_site
from tests.support.reckoning import Account, read, require_equal_books
from tests.support.shop import open_shop

PEOPLE = 5
LOST_SHARE = 0.25
POINT_SHARE = 0.3
POINTS = (
    "begin.committed",
    "charge.unsent",
    "charge.sent",
    "charge.answered",
    "refund.sent",
    "refund.answered",
    "capture.sent",
    "capture.answered",
    "void.sent",
    "void.answered",
    "settle.committed",
    "answer.unsent",
    "batch.flushed",
    "batch.committed",
    "webhook.stored",
    "webhook.processed",
)
STRIKES = (
    ("orders.capture", "lost_answer"),
    ("orders.capture", "error_after"),
    ("captures.refund", "lost_answer"),
    ("orders.authorize", "lost_answer"),
    ("authorizations.capture", "lost_answer"),
    ("authorizations.void", "lost_answer"),
)
"""Money moves, and the server is not told; 5xx after the effect is the same in other words."""

OPTIONS = {"--drain-seconds": "2"}
RUN_SECONDS = (0.02, 0.35)
AFTER_STRIKE_SECONDS = (0.0, 0.03)
REACHED_SECONDS = 4.0
DOWN_MINUTES = (1, 8)
DECIDED_MINUTES_MAX = 60
STEP_SECONDS = 3.0
REPEATED = 8
CHECK_EVERY = 25


@dataclass(frozen=True)
class Kill:
    """One kill: at a fault point, or after some seconds. `strike`: an answer of the provider is lost before it."""

    seconds: float
    point: str
    strike: tuple[str, str] | None
    down_minutes: int


def schedule(rng: random.Random, kills: int) -> list[Kill]:
    """Random kills; exactly a quarter of them, rounded up, lose an answer as well."""
    lost = set(rng.sample(range(kills), -int(-kills * LOST_SHARE // 1)))
    return [
        Kill(
            seconds=rng.uniform(*(AFTER_STRIKE_SECONDS if number in lost else RUN_SECONDS)),
            point=rng.choice(POINTS) if number not in lost and rng.random() < POINT_SHARE else "",
            strike=rng.choice(STRIKES) if number in lost else None,
            down_minutes=rng.randint(*DOWN_MINUTES),
        )
        for number in range(kills)
    ]


@dataclass
class Killing:
    """A site whose server is killed, and its customers."""

    site: Site
    customers: Customers
    ahead_file: Path
    ahead_minutes: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    violations: list[str] = field(default_factory=list)

    async def suffer(self, kill: Kill) -> None:
        """Is killed, and comes back when minutes have passed; then everything that was told still holds."""
        server = self.site.server
        if kill.strike is not None:
            await self._lose_an_answer(*kill.strike)
            self.lost += 1
        if kill.point:
            server.arm(kill.point)
        await self._dies(kill)
        self.kills[kill.point if server.was_hit else "any moment"] += 1
        server.fault_file.unlink(missing_ok=True)
        if kill.strike is not None:
            await self.site.standin.control("POST", "forget", what="keys")
            await self.site.standin.heal()
        await self.start(kill.down_minutes)
        self.compare()
        self.violations += await self.customers.repeat(self.customers.final(REPEATED))

    async def _dies(self, kill: Kill) -> None:
        child = self.site.server.child
        assert child.process is not None
        if kill.point:
            try:
                async with asyncio.timeout(REACHED_SECONDS):
                    await child.process.wait()
            except TimeoutError:
                child.signal(signal.SIGKILL)
        else:
            await asyncio.sleep(kill.seconds)
            child.signal(signal.SIGKILL)
        assert await child.ended(5) == -signal.SIGKILL, child.tail()

    async def _lose_an_answer(self, operation: str, kind: str) -> None:
        """Money moves, its answer is lost, and no webhook tells of it."""
        standin = self.site.standin
        await standin.control("POST", "webhooks", mode="dropped")
        await standin.fault(operation, kind, times=1)
        async with asyncio.timeout(30):
            while (await standin.control("GET", "faults"))["faults"][0]["hits"] == 0:
                await asyncio.sleep(0.01)

    async def start(self, minutes: int) -> None:
        """Starts the server after it was down for so long."""
        self.ahead_minutes += minutes
        self.ahead_file.write_text(str(self.ahead_minutes * 60), encoding="utf-8")
        await self.site.server.start()

    async def heal(self) -> Account:
        """Nothing fails any more: time passes until everything is decided, and nobody waits for an answer."""
        for _ in range(DECIDED_MINUTES_MAX // DOWN_MINUTES[1]):
            try:
                async with asyncio.timeout(STEP_SECONDS):
                    while read(self.site.database).undecided or self.customers.unanswered:
                        await asyncio.sleep(0.1)
            except TimeoutError:
                await self.stop()
                await self.start(DOWN_MINUTES[1])
            else:
                return self.compare()
        raise AssertionError(f"after {DECIDED_MINUTES_MAX} minutes not decided: {self.compare().undecided}")

    async def stop(self) -> None:
        """Ends the server as an operator does."""
        assert await self.site.server.stop() == 0, self.site.server.child.tail()

    def compare(self) -> Account:
        """Holds the database against what was told."""
        account = read(self.site.database)
        self.violations += self.customers.contradictions(account)
        return account

    def check(self) -> None:
        """Every invariant of the database, as `comptoir-server check` knows them."""
        report = check_database(self.site.database)
        self.violations += [f"check: {code} is broken" for code in report.broken]
        self.violations += [report.failure] if report.failure else []


def longest_minutes(account: Account) -> float:
    """How long the slowest operation took from its beginning to its end, on the server's clock."""
    return max((one.update_time - one.create_time for one in account.operations), default=0) / MICROSECONDS / 60


@dataclass(frozen=True)
class Outcome:
    """What a series of kills left."""

    killing: Killing
    account: Account
    books: dict[str, Any]

    @property
    def figures(self) -> dict[str, int | float]:
        """What was done and found, for a report."""
        customers = self.killing.customers
        return {
            "kills": self.killing.kills.total(),
            "kills with a lost answer and forgotten keys": self.killing.lost,
            "requests sent": len(customers.sent),
            "answers": customers.answers,
            "payments": len(self.account.payments),
            "captures": len(self.account.captures),
            "refunds": len(self.account.refunds),
            "decided after doubt": sum(one.tries > 0 for one in self.account.operations),
            "longest minutes until decided": round(longest_minutes(self.account), 1),
        }


async def kill_again_and_again(folder: Path, kills: int, seed: str, changes: Orders = UNALTERED) -> Outcome:
    """Kills one server so many times, on one database, and holds what is left against the stand-in's books.

    Raises AssertionError where the books differ or something stays undecided; what else is wrong is in the answer.
    """
    folder.mkdir(parents=True, exist_ok=True)
    database, ahead_file = f"sqlite:///{folder}/comptoir.db", folder / "ahead"
    ahead_file.write_text("0", encoding="utf-8")
    opened = open_site(
        folder, database, forged=True, options=OPTIONS, alterations={"ahead_file": str(ahead_file), **changes}
    )
    async with opened as site, open_shop(site) as shop:
        one = Killing(site, await new_customers(shop, seed, PEOPLE), ahead_file)
        async with buying(one.customers) as traffic:
            for number, kill in enumerate(schedule(random.Random(seed), kills), 1):
                await one.suffer(kill)
                await traffic.go_on()
                if number % CHECK_EVERY == 0:
                    one.check()
            traffic.enough.set()
            account = await one.heal()
            await traffic.end()
        one.violations += await one.customers.repeat(one.customers.said)
        await one.stop()
        code, said = await site.check()
        assert code == 0, said
        books = await site.standin.books()
        require_equal_books(account, books)
    return Outcome(one, account, books)
