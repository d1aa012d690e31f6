"""Under far too much load everybody else is served as before, memory is bounded, and no payment is told to be declined.

Real processes. A noisy partner calls from a process of its own and ignores what it is told; others come at a steady
rate, as people do. How many of theirs are answered, with the noise and without, is printed.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from comptoir import line_item, money, total_of
from comptoir.errors import ComptoirError
from comptoir.v1 import CreateCheckoutRequest, OpenSessionRequest, Payment
from tests.hostile.memory import MIB, resident_bytes
from tests.hostile.patience import Waits, watched
from tests.support.altered import Orders
from tests.support.databases import new_sqlite
from tests.support.processes import QUICK, Site, open_site
from tests.support.reckoning import read, require_equal_books
from tests.support.shop import Shop, confirmation, open_shop, until

SECONDS = 5.0
A_SECOND = 12
"""At which rate honest calls come, answered or not."""

BOUND_SECONDS = 10.0
"""How long an honest caller waits."""

SHARE_MIN = 0.9
NOISY_CALLERS = 2_500
"""Four times as many calls at once as there is room for."""

SLOW_DISK: Orders = {"slow_disk": 0.1}
"""So that it is sure to be asked more than it can do, however fast the machine is on which both sides run."""

HUNG = 40
GROWTH_MAX = 400 * MIB

pytestmark = pytest.mark.timeout(300)


async def served(ask: Callable[[], Awaitable[object]], seconds: float) -> tuple[float, Waits]:
    """Which share of calls that come at a steady rate is answered, and how long that took."""
    waits = Waits()

    async def one() -> None:
        started = time.monotonic()
        try:
            async with asyncio.timeout(BOUND_SECONDS):
                await ask()
        except (ComptoirError, TimeoutError):
            return
        waits.seconds.append(time.monotonic() - started)

    offered = []
    for _ in range(int(seconds * A_SECOND)):
        offered.append(asyncio.create_task(one()))
        await asyncio.sleep(1 / A_SECOND)
    await asyncio.gather(*offered)
    return len(waits.seconds) / len(offered), waits


async def second_partner(site: Site) -> dict[str, str]:
    """The key and bot of another partner; on an embedded database no server may run meanwhile."""
    await site.server.stop()
    keys = await site.create_key("--partner", "Noisy Air", "--bot", "Noisy Air")
    await site.server.start()
    return keys


async def noise(site: Site, key: str, session_id: str, seconds: float) -> Counter[str]:
    """How the calls of the noisy partner ended."""
    arguments = (site.server.target, key, session_id, str(NOISY_CALLERS), str(seconds))
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.hostile.neighbour", *arguments, stdout=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(seconds + 60):
            said, _ = await child.communicate()
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    return Counter(json.loads(said))


def asking(shop: Shop, session_id: str) -> Callable[[], Awaitable[object]]:
    """A call as the honest partner makes it."""
    items = [line_item("Flight", money(12_000, "USD"))]

    def ask() -> Awaitable[object]:
        request = CreateCheckoutRequest(session_id=session_id, items=items, total=total_of(items))
        return shop.partner.checkouts.create_checkout(request, timeout_seconds=BOUND_SECONDS)

    return ask


async def test_calls_that_nobody_answers_lower_the_share() -> None:
    async def never() -> None:
        if next(numbers) % 2:
            raise TimeoutError

    numbers = iter(range(1_000))

    share, _ = await served(never, 1.0)

    assert share == 0.5


async def overload(folder: Path, seconds: float) -> tuple[dict[str, float], Counter[str], list[str], int]:
    """Shares of honest calls that were answered, how the noisy ones ended, what to print, and by how much it grew."""
    async with open_site(folder, new_sqlite(folder), alterations=SLOW_DISK) as site:
        noisy = await second_partner(site)
        async with open_shop(site) as shop:
            person = await shop.person()
            opened = await person.services.sessions.open_session(OpenSessionRequest(bot_id=noisy["bot_id"]))
            ask = asking(shop, person.session_id)
            process = site.server.child.process
            assert process is not None
            alone, before = await served(ask, seconds)
            size = resident_bytes(process.pid)
            async with watched(process.pid) as footprint:
                loud = asyncio.create_task(noise(site, noisy["key"], opened.session.session_id, seconds + 2))
                await asyncio.sleep(1.0)
                beside, during = await served(ask, seconds)
                ended = await loud
        assert await site.server.stop() == 0
        checked = await site.check()
        assert checked[0] == 0, checked
    lines = [
        f"alone: {alone:.0%} of {A_SECOND} a second answered, {before}",
        f"beside {NOISY_CALLERS} callers: {beside:.0%} answered, {during}; ratio {beside / alone:.2f}",
        f"the noisy partner: {dict(ended)}",
    ]
    return {"alone": alone, "beside": beside}, ended, lines, footprint.most_bytes - size


async def test_beside_a_partner_that_asks_far_too_much_others_are_served(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shares, ended, lines, grown = await overload(tmp_path, SECONDS)
    with capsys.disabled():
        print("", *lines, sep="\n")

    assert shares["alone"] >= SHARE_MIN
    assert shares["beside"] >= SHARE_MIN * shares["alone"]
    assert ended["OK"] > 0
    assert ended.total() > ended["OK"]
    assert ended.keys() - {"OK"} <= {
        "RESOURCE_EXHAUSTED RATE_LIMITED with RetryInfo",
        "RESOURCE_EXHAUSTED OVERLOADED with RetryInfo",
    }
    assert grown < GROWTH_MAX


async def test_while_a_provider_hangs_others_are_served_and_nobody_is_told_that_a_payment_was_declined(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with open_site(tmp_path, new_sqlite(tmp_path), options=QUICK) as site, open_shop(site) as shop:
        person = await shop.person()
        bought = [await shop.checkout(person) for _ in range(HUNG)]
        await site.standin.fault("orders.capture", "latency", seconds=20, times=HUNG)
        confirm = person.services.checkouts.confirm_checkout
        calls = [
            asyncio.create_task(confirm(confirmation(one, one.checkout_id), timeout_seconds=BOUND_SECONDS))
            for one in bought
        ]
        share, waits = await served(asking(shop, person.session_id), SECONDS)
        ended = await asyncio.gather(*calls, return_exceptions=True)
        await site.standin.heal()
        with capsys.disabled():
            print(f"\nbeside {HUNG} payments that hang: {share:.0%} answered, {waits}")
        states = Counter(
            type(each).__name__ if isinstance(each, BaseException) else each.payment.state for each in ended
        )
        await until(lambda: not read(site.database).undecided, "everything is decided", 120)
        account = read(site.database)
        require_equal_books(account, await site.standin.books())
        assert await site.server.stop() == 0

    assert share >= SHARE_MIN
    assert states[Payment.STATE_DECLINED] == 0
    assert account.states.keys() <= {"CAPTURED", "FAILED"}
