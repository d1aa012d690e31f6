"""Callers who hang up, or who have next to no time: what they began is settled all the same. Real processes."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc

from tests.support.databases import new_sqlite
from tests.support.processes import open_site
from tests.support.reckoning import read, require_equal_books
from tests.support.shop import confirmation, open_shop

QUICK = {"--provider-limit-seconds": "5", "--provider-settle-seconds": "2"}
LATENCY_SECONDS = 0.05


SEED_STEP_SECONDS = 0.017
CUT_OFF = 40


async def test_callers_who_are_cut_off_at_any_moment_leave_no_doubt_behind(tmp_path: Path) -> None:
    database = new_sqlite(tmp_path)
    async with (
        open_site(tmp_path / "site", database, standin_latency=LATENCY_SECONDS, options=QUICK) as site,
        open_shop(site) as shop,
    ):
        person = await shop.person()
        checkouts = [await shop.checkout(person) for _ in range(2 * CUT_OFF)]
        headers = (("authorization", f"Bearer {site.keys.channel['key']}"), ("comptoir-user", person.user_id))
        async with grpc.aio.insecure_channel(site.server.target) as channel:
            confirm: Any = channel.unary_unary("/comptoir.v1.CheckoutService/ConfirmCheckout")

            async def hung_up(number: int) -> None:
                raw = confirmation(checkouts[number], f"hung-up-{number}").SerializeToString()
                call: Any = confirm(raw, metadata=headers, timeout=10)
                await asyncio.sleep(number * SEED_STEP_SECONDS)
                call.cancel()

            async def impatient(number: int) -> grpc.StatusCode:
                raw = confirmation(checkouts[number], f"impatient-{number}").SerializeToString()
                try:
                    await confirm(raw, metadata=headers, timeout=0.2)
                except grpc.aio.AioRpcError as error:
                    return error.code()
                return grpc.StatusCode.OK

            await asyncio.gather(*(hung_up(number) for number in range(CUT_OFF)))
            codes = set(await asyncio.gather(*(impatient(number) for number in range(CUT_OFF, 2 * CUT_OFF))))

        async with asyncio.timeout(60):
            while read(database).undecided:
                await asyncio.sleep(0.2)
        account = read(database)
        captures, _ = require_equal_books(account, await site.standin.books())

        print(f"{CUT_OFF} hung up, {CUT_OFF} with 200 ms: {captures} paid, {dict(account.states)}, {codes}")
        assert set(account.evidence) <= {"reply", "webhook"}
        assert set(account.states) == {"CAPTURED"}
        assert codes <= {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}
        assert (await site.check())[0] == 0
