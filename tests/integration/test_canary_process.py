"""What a real server leaves behind: its process's own output, its database's files, whatever was thrown at it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc
import pytest

from comptoir import ComptoirError
from comptoir.v1 import GetWalletRequest, MessageContent, RegisterUserRequest, SendMessageRequest, TextContent
from tests.support.canaries import found, in_database
from tests.support.databases import new_sqlite
from tests.support.processes import CALL_SECONDS, Site, open_site
from tests.support.shop import Person, Shop, open_shop

NAME, WORDS, ID = "Canary Name", "canary words: I am ill", "canary-psid-1"
NO_WALLET = f"wal_{'0' * 26}"


async def a_purchase(shop: Shop) -> Person:
    """Somebody links a wallet, says something, pays and gets a part back; another one has a name of canaries."""
    person = await shop.person()
    await shop.channel.users.register_user(
        RegisterUserRequest(channel_user_id=ID, display_name=NAME, market="US", locale="en-US")
    )
    said = MessageContent(text=TextContent(text=f"{WORDS}, 4111 1111 1111 1111"))
    await person.services.sessions.send_message(
        SendMessageRequest(request_id="said", session_id=person.session_id, content=said)
    )
    payment = await shop.pay(person)
    await shop.refund(payment.payment_id, 1_000, "back")
    return person


async def thrown_at(site: Site, canary: str) -> None:
    """Requests that no honest client sends, with a canary wherever something can be put."""
    pages = urlsplit(site.server.pages)
    for line in (
        f"GET /link/{canary} HTTP/1.1\r\nHost: {canary}\r\nCookie: comptoir-link={canary}\r\n\r\n",
        f"POST /webhooks/paypal HTTP/1.1\r\nPaypal-Transmission-Sig: {canary}\r\nContent-Length: 2\r\n\r\n{{}}",
        f"{canary} {canary} {canary}\r\n\r\n",
        f"GET / HTTP/1.1\r\n{canary}\r\n\r\n",
    ):
        reader, writer = await asyncio.open_connection(pages.hostname, pages.port)
        writer.write(line.encode())
        async with asyncio.timeout(CALL_SECONDS):
            await reader.read(1024)
        writer.close()
    async with grpc.aio.insecure_channel(site.server.target) as channel:
        for method in (canary, "ListWallets"):
            call: Any = channel.unary_unary(f"/comptoir.v1.WalletService/{method}")
            with pytest.raises(grpc.aio.AioRpcError):
                await call(canary.encode(), metadata=(("authorization", f"Bearer {canary}"),))


async def test_a_server_leaves_no_secret_behind_in_its_output_or_its_files(tmp_path: Path) -> None:
    database, thrown = new_sqlite(tmp_path / "data"), "canary-thrown-at-it"
    (tmp_path / "data").mkdir()
    async with open_site(tmp_path, database) as site, open_shop(site) as shop:
        person = await a_purchase(shop)
        await site.standin.fault("orders.capture", "garbage")
        with pytest.raises(ComptoirError):
            await person.services.wallets.get_wallet(GetWalletRequest(wallet_id=NO_WALLET))
        await shop.pay(person)
        await thrown_at(site, thrown)
        books = await site.standin.control("GET", "books")
        secret = {
            "channel's key": site.keys.channel["key"],
            "partner's key": site.keys.partner["key"],
            "wallet's token": books["payment_tokens"][0]["id"],
            "payer's address": "ada.pays@example.com",
            "person's name": NAME,
            "person's words": WORDS,
            "person's id": ID,
            "card number": "4111 1111 1111 1111",
            "client's secret": "standin-secret",
            "what was thrown": thrown,
        }
        found_before = in_database(secret, database)
        await site.server.child.stop()
    written = site.server.child.log.read_bytes()

    assert found(secret, "the log", written) == []
    assert found_before + in_database(secret, database) == []
    lines = [json.loads(line) for line in written.decode().splitlines() if not line.startswith("Serving gRPC")]
    assert {line["event"] for line in lines} >= {"serving", "call", "library", "draining", "stopped"}
