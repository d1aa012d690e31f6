"""Two refunds of the rest at once, again and again: one wins, and nothing is ever asked to be given back twice.

On PostgreSQL through two server processes, with seeded pauses between their statements; on SQLite through one. The
stand-in's own books say what was given back, and its list of requests what it was asked for. With the row locks taken
away the same harness finds what it is there to find.
"""

from __future__ import annotations

import asyncio
import base64
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from comptoir.errors import RefundExceedsCapture
from comptoir.v1 import Payment, Refund
from tests.support.altered import Orders
from tests.support.databases import new_postgresql, new_sqlite
from tests.support.processes import Site, open_site
from tests.support.reckoning import read, require_equal_books
from tests.support.shop import Person, Shop, open_shop

TRIES = 200
AT_ONCE = 8
AMOUNT = 24_000
SEED = 20_261_124
PAUSES: Orders = {"pause": {"seed": SEED, "seconds_max": 0.002}}
NO_LOCKS: Orders = {**PAUSES, "unlocked": True}
MASTER_KEY = base64.b64encode(bytes(range(32))).decode()

pytestmark = pytest.mark.timeout(300)


async def agrees(shop: Shop, payment: Payment, asker: str) -> bool:
    """Asks one server for the rest of a payment; whether it gave it back."""
    try:
        answer = await shop.refund(payment.payment_id, None, f"{asker} {payment.payment_id}")
    except RefundExceedsCapture:
        return False
    assert (answer.refund.state, answer.refund.amount.minor_units) == (Refund.STATE_SUCCEEDED, AMOUNT)
    return True


async def race(shops: list[Shop], person: Person, tries: int) -> list[int]:
    """How many of the two refunds were agreed to, for each try."""
    places = asyncio.Semaphore(AT_ONCE)

    async def once() -> int:
        async with places:
            payment = await shops[0].pay(person, AMOUNT)
            return sum(await asyncio.gather(*(agrees(shop, payment, f"{i}") for i, shop in enumerate(shops))))

    return await asyncio.gather(*(once() for _ in range(tries)))


async def asked(site: Site) -> Counter[str]:
    """How many different refunds of each capture the stand-in was asked for, whether it made them or not."""
    requests = (await site.standin.control("GET", "requests"))["requests"]
    refunds = {(one["path"], one["request_id"]) for one in requests if one["path"].endswith("/refund")}
    return Counter(path for path, _ in refunds)


async def require_one_refund_each(site: Site, agreed: list[int]) -> None:
    """Every try ended with one refund: by the answers, by what the stand-in was asked and did, and by our books."""
    counts = await asked(site)
    print(
        f"{len(agreed)} tries, seed {SEED}: {dict(Counter(agreed))} agreed to, {dict(Counter(counts.values()))} asked"
    )
    assert agreed == [1] * TRIES
    assert [*counts.values()] == [1] * TRIES
    books = await site.standin.books()
    assert require_equal_books(read(site.database), books) == (TRIES, TRIES)
    assert [one["given_back"] for one in books["captures"]] == [AMOUNT] * TRIES
    assert [await server.stop() for server in site.servers] == [0] * len(site.servers)
    code, said = await site.check()
    assert code == 0, said


async def test_without_the_locks_the_race_is_lost_and_the_harness_sees_it(tmp_path: Path) -> None:
    site_opened = open_site(tmp_path, new_postgresql(), servers=2, master_key=MASTER_KEY, alterations=NO_LOCKS)
    async with site_opened as site, open_shop(site) as first, open_shop(site, site.servers[1]) as second:
        person = await first.person()
        most = 0
        for number in range(TRIES):
            payment = await first.pay(person, AMOUNT)
            refunds = [asyncio.create_task(agrees(shop, payment, f"{i}")) for i, shop in enumerate((first, second))]
            # without locks other things break too, and are neither counted nor waited for
            while most < 2 and not all(refund.done() for refund in refunds):
                most = max([0, *(await asked(site)).values()])
            for refund in refunds:
                refund.cancel()
            await asyncio.gather(*refunds, return_exceptions=True)
            if most > 1:
                print(f"without locks, in try {number + 1}: {most} refunds of one capture were asked for")
                break

    assert most == 2, "the harness did not notice that the locks were gone"


async def test_two_servers_on_postgresql_never_give_back_twice(tmp_path: Path) -> None:
    site_opened = open_site(tmp_path, new_postgresql(), servers=2, master_key=MASTER_KEY, alterations=PAUSES)
    async with site_opened as site, open_shop(site) as first, open_shop(site, site.servers[1]) as second:
        agreed = await race([first, second], await first.person(), TRIES)

        await require_one_refund_each(site, agreed)


async def test_one_server_on_sqlite_never_gives_back_twice(tmp_path: Any) -> None:
    async with open_site(tmp_path, new_sqlite(tmp_path)) as site, open_shop(site) as shop:
        agreed = await race([shop, shop], await shop.person(), TRIES)

        await require_one_refund_each(site, agreed)
