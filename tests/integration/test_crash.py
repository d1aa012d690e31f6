"""Killed at every point, with kill -9, again and again on one database: what was in doubt is decided by evidence.

Three sites run beside each other, each a server, its database and a stand-in that outlives every kill. Damage
accumulates: nothing is cleaned up between two kills, and nobody waits until the last one is healed. Each point is
struck five times; more with CRASHES_A_POINT=50.
"""

from __future__ import annotations

import asyncio
import copy
import os
import random
import signal
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from comptoir.v1 import Payment
from tests.support.customers import Customers, new_customers
from tests.support.processes import LOOK_SECONDS, QUICK, Site, open_site, run
from tests.support.reckoning import Account, read, require_equal_books
from tests.support.shop import open_shop, until

SEED = 20_260_214
SITES = 3
TIMES = int(os.environ.get("CRASHES_A_POINT", "5"))

CHARGING = (
    "begin.committed",
    "charge.unsent",
    "charge.sent",
    "charge.answered",
    "settle.committed",
    "answer.unsent",
    "events.flushed",
)
REFUNDING = ("refund.sent", "refund.answered")
LINKING = ("link.exchanged",)
HEARING = ("webhook.stored", "webhook.processed")
POINTS = CHARGING + REFUNDING + LINKING + HEARING
LOSABLE = CHARGING + REFUNDING + HEARING
"""Where an answer is lost as well; a provider that forgets the key of a link while it is made is another story."""

AT_ONCE = 3
TRAFFIC_SECONDS = 6.0
DECIDED_SECONDS = 120.0

pytestmark = pytest.mark.timeout(300 + 60 * TIMES)


@dataclass(frozen=True)
class Crash:
    """Where the server is killed; `lost`: the answer of the provider is lost as well, and it forgets its keys."""

    point: str
    count: int
    lost: bool


def schedule(rng: random.Random) -> list[Crash]:
    """Each point `TIMES` times in random order; a quarter of them with a lost answer."""
    places = [(point, number) for point in POINTS for number in range(TIMES)]
    lost = set(rng.sample([place for place in places if place[0] in LOSABLE], len(places) // 4))
    rng.shuffle(places)
    most = dict.fromkeys(LINKING, 1)
    return [Crash(place[0], rng.randint(1, most.get(place[0], 2)), place in lost) for place in places]


@dataclass
class Crashing:
    """A site whose server is killed, and the people who never stop buying there."""

    site: Site
    customers: Customers
    traffic: asyncio.TaskGroup
    links: int = 0
    hits: Counter[str] = field(default_factory=Counter)
    lost: int = 0

    @property
    def rng(self) -> random.Random:
        """What everything here is drawn from."""
        return self.customers.rng

    async def link(self) -> None:
        """Somebody links one more wallet."""
        await self.customers.shop.link(self.rng.choice(self.customers.people))
        self.links += 1

    def cause(self, point: str, count: int = AT_ONCE) -> list[asyncio.Task[None]]:
        """Starts what leads to a point; it goes on while the server is down, and after."""
        if point in REFUNDING:
            works = [self.customers.give_back(self.rng.choice(self.customers.captured)) for _ in range(count)]
        elif point in LINKING:
            works = [self.link()]
        else:
            works = [self.customers.buy() for _ in range(count)]
        return [self.traffic.create_task(work) for work in works]

    async def suffer(self, crash: Crash) -> None:
        """Is killed at a point, and starts again."""
        server = self.site.server
        if crash.lost:
            await self.lose_an_answer()
        server.arm(crash.point, crash.count)
        started = []
        for _ in range(5):
            started += self.cause(crash.point)
            try:
                async with asyncio.timeout(TRAFFIC_SECONDS):
                    assert server.child.process is not None
                    await server.child.process.wait()
                    break
            except TimeoutError:
                continue
        assert await server.child.ended(1) == -signal.SIGKILL, server.child.tail()
        assert server.was_hit
        self.hits[crash.point] += 1
        if crash.lost:
            await self.site.standin.control("POST", "forget", what="keys")
        await server.start()
        if crash.point in LINKING:
            await asyncio.gather(*started)

    async def lose_an_answer(self) -> None:
        """Money moves, its answer is lost, and no webhook tells of it."""
        standin = self.site.standin
        await standin.control("POST", "webhooks", mode="dropped")
        operation, point = self.rng.choice([("orders.capture", CHARGING[0]), ("captures.refund", REFUNDING[0])])
        await standin.fault(operation, "lost_answer", times=1)
        self.cause(point, 1)
        async with asyncio.timeout(TRAFFIC_SECONDS):
            while (await standin.control("GET", "faults"))["faults"][0]["hits"] == 0:
                await asyncio.sleep(LOOK_SECONDS)
        await standin.heal()
        self.lost += 1

    async def repeat_everything(self) -> None:
        """Sends every yes again with its request id: what was final stays word for word, what was not has become so."""
        said = self.customers.said
        repeated = await asyncio.gather(*(yes.person.confirm(yes.checkout, yes.request_id) for yes in said))
        for yes, now in zip(said, repeated, strict=True):
            if yes.answer.payment.state == Payment.STATE_PROCESSING:
                assert now.payment.payment_id == yes.answer.payment.payment_id
            else:
                assert now == yes.answer
            assert now.payment.state in {Payment.STATE_CAPTURED, Payment.STATE_FAILED}


async def run_site(folder: Path, crashes: list[Crash], seed: str) -> tuple[Crashing, Account]:
    """A site that suffers these crashes, and its database once everything was decided."""
    database = f"sqlite:///{folder}/comptoir.db"
    async with open_site(folder, database, forged=True, options=QUICK) as site, open_shop(site) as shop:
        async with asyncio.TaskGroup() as traffic:
            one = Crashing(site, await new_customers(shop, seed, people=3), traffic)
            await asyncio.gather(*(one.customers.buy() for _ in range(AT_ONCE)))
            for crash in crashes:
                await one.suffer(crash)
        await until(lambda: not read(database).undecided, "everything is decided", DECIDED_SECONDS)
        await one.repeat_everything()
        assert await site.server.stop() == 0
        account, books = read(database), await site.standin.books()
        require_equal_books(account, books)
        tokens = [token for token in books["payment_tokens"] if not token["deleted"]]
        assert len(tokens) == len(one.customers.people) + one.links
        spoiled = copy.deepcopy(books)
        spoiled["captures"].pop()
        with pytest.raises(AssertionError):
            require_equal_books(account, spoiled)
        code, said = await site.check()
        assert code == 0, said
    return one, account


async def test_a_live_server_refuses_a_fault_file(tmp_path: Path) -> None:
    arguments = ("serve", "--mode", "live", "--fault-file", str(tmp_path / "fault"))
    assert await run(tmp_path, *arguments, "--database", f"sqlite:///{tmp_path}/live.db") == (2, "")
    assert "--fault-file is for tests" in (tmp_path / "commands.log").read_text(encoding="utf-8")
    assert not (tmp_path / "live.db").exists()


async def test_killed_at_every_point_every_payment_is_decided_by_evidence_and_the_books_are_equal(
    tmp_path: Path,
) -> None:
    crashes = schedule(random.Random(SEED))
    async with asyncio.TaskGroup() as sites:
        running = [
            sites.create_task(run_site(tmp_path / f"site-{i}", crashes[i::SITES], f"{SEED}/{i}")) for i in range(SITES)
        ]
    results = [site.result() for site in running]
    hits, evidence, states = Counter[str](), Counter[str](), Counter[str]()
    for one, account in results:
        hits, evidence, states = hits + one.hits, evidence + account.evidence, states + account.states
    print(f"seed {SEED}; {hits.total()} kills on {SITES} databases: {dict(hits)}")
    print(f"answers lost and keys forgotten in {sum(one.lost for one, _ in results)} of them")
    print(f"payments: {dict(states)}; evidence: {dict(evidence)}")
    assert hits == Counter(dict.fromkeys(POINTS, TIMES))
    assert sum(one.lost for one, _ in results) == len(crashes) // 4
    assert evidence["look-up"] >= 1
    assert evidence["look-up: absent"] >= 1
    assert set(states) == {"CAPTURED", "FAILED"}
