"""One request, however often it is sent and to whichever server: one payment, the same answer. Real processes."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path
from typing import Any

import grpc
import pytest

from comptoir import AsyncClient
from comptoir.errors import CredentialInvalid, RequestIdReused
from comptoir.v1 import ConfirmCheckoutRequest, CreateApiKeyRequest, Payment, RevokeApiKeyRequest
from tests.support.databases import new_postgresql, new_sqlite
from tests.support.processes import Site, open_site
from tests.support.reckoning import read, require_equal_books
from tests.support.shop import confirmation, open_shop

COPIES = 16
MASTER_KEY = base64.b64encode(bytes(range(32))).decode()
QUICK: dict[str, Any] = {"provider_limit_seconds": "5", "provider_settle_seconds": "2", "standin_latency": 0.05}


async def sent_at_once(site: Site, copies: int) -> list[bytes]:
    """The answers to one confirm that is sent `copies` times at once, shared by all servers of the site."""
    async with open_shop(site) as shop:
        person = await shop.person()
        checkout = await shop.checkout(person)
        request = confirmation(checkout, "the-one")
        clients = [AsyncClient(server.target, site.keys.channel["key"]) for server in site.servers]
        try:
            answers = await asyncio.gather(
                *(
                    clients[number % len(clients)].for_user(person.user_id).checkouts.confirm_checkout(request)
                    for number in range(copies)
                )
            )
        finally:
            await asyncio.gather(*(client.close() for client in clients))
    assert answers[0].payment.state == Payment.STATE_CAPTURED
    return [answer.SerializeToString(deterministic=True) for answer in answers]


async def test_one_server_answers_sixteen_copies_with_one_payment(tmp_path: Path) -> None:
    database = new_sqlite(tmp_path)
    async with open_site(tmp_path / "site", database, **QUICK) as site:
        answers = await sent_at_once(site, COPIES)

        assert answers == [answers[0]] * COPIES
        assert require_equal_books(read(database), await site.standin.books()) == (1, 0)


@pytest.mark.timeout(180)
async def test_two_servers_answer_sixteen_copies_with_one_payment(tmp_path: Path) -> None:
    database = new_postgresql()
    async with open_site(tmp_path / "site", database, servers=2, master_key=MASTER_KEY, **QUICK) as site:
        answers = await sent_at_once(site, COPIES)

        assert answers == [answers[0]] * COPIES
        assert require_equal_books(read(database), await site.standin.books()) == (1, 0)
        assert (await site.check())[0] == 0


async def test_a_key_that_was_rotated_between_two_tries_changes_nothing(tmp_path: Path) -> None:
    database = new_sqlite(tmp_path)
    async with open_site(tmp_path / "site", database, **QUICK) as site, open_shop(site) as shop:
        person = await shop.person()
        checkout = await shop.checkout(person)
        first = await person.confirm(checkout, "the-one")
        async with AsyncClient(site.server.target, site.keys.operator["key"]) as operator:
            owner = site.keys.channel["channel_id"]
            made = await operator.partners.create_api_key(CreateApiKeyRequest(owner_id=owner))
            old = RevokeApiKeyRequest(api_key_id=site.keys.channel["api_key_id"])
            await operator.partners.revoke_api_key(old)

        async with AsyncClient(site.server.target, made.secret) as rotated:
            services = rotated.for_user(person.user_id)
            again = await services.checkouts.confirm_checkout(confirmation(checkout, "the-one"))
            with pytest.raises(RequestIdReused):
                await services.checkouts.confirm_checkout(
                    ConfirmCheckoutRequest(request_id="the-one", checkout_id=checkout.checkout_id, version=7)
                )

        with pytest.raises(CredentialInvalid):
            await person.confirm(checkout, "the-one")
        assert again == first
        assert require_equal_books(read(database), await site.standin.books()) == (1, 0)


SEED_STEP_SECONDS = 0.017
CUT_OFF = 40


async def test_callers_who_are_cut_off_at_any_moment_leave_no_doubt_behind(tmp_path: Path) -> None:
    database = new_sqlite(tmp_path)
    async with open_site(tmp_path / "site", database, **QUICK) as site, open_shop(site) as shop:
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
