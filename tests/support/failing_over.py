"""Two servers on a PostgreSQL whose primary is killed again and again under load; its standby takes its place.

Before each kill the standby is held up for a moment, so that commits wait for it; in some the answer to a COMMIT, or
the COMMIT itself, is lost on the way as well.
"""

from __future__ import annotations

import asyncio
import base64
import random
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from comptoir_server.store.checks import check_database
from tests.support.cluster import Cluster, open_cluster
from tests.support.customers import Buying, Customers, buying, new_customers
from tests.support.cut_line import Cut
from tests.support.processes import QUICK, Site, open_site
from tests.support.reckoning import Account, read, require_equal_books
from tests.support.shop import open_shop, until

MASTER_KEY = base64.b64encode(bytes(range(32))).decode()
PEOPLE = 4
PAUSE_SECONDS = 0.2
RUN_SECONDS = (0.2, 0.8)
HELD_UP_SECONDS = (0.0, 0.5)
FOLLOWED_SECONDS = 60.0
DECIDED_SECONDS = 120.0
REPEATED = 6
WAYS: tuple[Cut | None, ...] = (None, Cut.AFTER, Cut.BEFORE)
"""What else is lost: nothing, the answer to a COMMIT, or a COMMIT."""


@dataclass
class FailingOver:
    """A site on a cluster, and the customers of each of its servers."""

    site: Site
    cluster: Cluster
    customers: tuple[Customers, ...]
    rng: random.Random
    ways: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)

    async def suffer(self, cut: Cut | None, traffic: Buying) -> bool:
        """Loses its primary, and goes on with the standby; whether everything that was told still holds."""
        await asyncio.sleep(self.rng.uniform(*RUN_SECONDS))
        cluster = self.cluster
        if cut is not None:
            line = cluster.primary.line
            before = line.cuts
            line.refuses_after_cut, line.cut = True, cut
            await until(lambda: line.cuts > before, "a COMMIT was on its way")
        cluster.hold_up()
        await asyncio.sleep(self.rng.uniform(*HELD_UP_SECONDS))
        await cluster.fail_over()
        self.ways[cut.value if cut else "nothing else is lost"] += 1
        if self.compare():
            return False
        answers = [len(customers.said) for customers in self.customers]

        def follow() -> bool:
            traffic.require_alive()
            return all(len(one.said) > before for one, before in zip(self.customers, answers, strict=True))

        await until(follow, "both servers follow", FOLLOWED_SECONDS)
        for customers in self.customers:
            self.violations += await customers.repeat(customers.final(REPEATED))
        await cluster.renew_standby()
        return not self.violations

    def compare(self) -> list[str]:
        """Holds the database against what was told."""
        account = read(self.cluster.url)
        self.violations += [fault for customers in self.customers for fault in customers.contradictions(account)]
        self.violations += [f"check: {code} is broken" for code in check_database(self.cluster.url).broken]
        return self.violations


@dataclass(frozen=True)
class Outcome:
    """What a series of failovers left; `account` is None where something was lost, and the series broken off."""

    failing: FailingOver
    account: Account | None

    @property
    def figures(self) -> dict[str, int | float]:
        """What was done and found, for a report."""
        all_customers = self.failing.customers
        return {
            "failovers": self.failing.ways.total(),
            "failovers with the answer to a COMMIT lost": self.failing.ways[Cut.AFTER.value],
            "failovers with a COMMIT lost": self.failing.ways[Cut.BEFORE.value],
            "requests sent": sum(len(customers.sent) for customers in all_customers),
            "answers": sum(customers.answers for customers in all_customers),
            "captures": len(self.account.captures) if self.account else 0,
        }


async def fail_over_again_and_again(folder: Path, times: int, seed: str, *, synchronous: bool = True) -> Outcome:
    """Kills the primary so many times, or until something that was answered is lost.

    Raises AssertionError where, at the end, the stand-in's books differ from ours.
    """
    async with open_cluster(synchronous=synchronous) as cluster:
        opened = open_site(folder, cluster.url, servers=2, master_key=MASTER_KEY, options=QUICK)
        async with opened as site, open_shop(site) as first, open_shop(site, site.servers[1]) as second:
            shops = (first, second)
            customers = tuple([await new_customers(shop, f"{seed}/{i}", PEOPLE) for i, shop in enumerate(shops)])
            for each in customers:
                each.pause_seconds = PAUSE_SECONDS
            one = FailingOver(site, cluster, customers, random.Random(seed))
            async with buying(*customers) as traffic:
                for number in range(times):
                    if not await one.suffer(WAYS[number % len(WAYS)], traffic):
                        return Outcome(one, None)
                await traffic.end()
            return Outcome(one, await _settled(one))


async def _settled(one: FailingOver) -> Account:
    """The database once everything is decided and the servers have ended."""
    site = one.site
    await until(lambda: not read(site.database).undecided, "everything is decided", DECIDED_SECONDS)
    for customers in one.customers:
        one.violations += await customers.repeat(customers.said)
    assert [await server.stop() for server in site.servers] == [0, 0]
    one.compare()
    account = read(site.database)
    require_equal_books(account, await site.standin.books())
    code, said = await site.check()
    assert code == 0, said
    return account
