"""The server that is measured: the real door, use cases, store and log, an instant provider, and an empty method.

    python -m tests.load.measured_server DATABASE_URL CHECKOUTS [PROFILE_FILE]

Makes one partner, a person a caller with a wallet and a session, and CHECKOUTS open checkouts; prints one JSON line
(port, keys, who, and the checkouts of each), then serves until its standard input closes.
"""

from __future__ import annotations

import asyncio
import cProfile
import json
import sys
from dataclasses import replace
from typing import Any

import grpc

from comptoir_server import log
from comptoir_server.app.credentials import hint, new_secret, secret_hash
from comptoir_server.app.deps import Deps, Settings
from comptoir_server.app.settled import Settled
from comptoir_server.domain.checkouts import CaptureMode, Checkout, CheckoutState, LineItem
from comptoir_server.domain.partners import ApiKey, Bot, BotState, Channel, KeyState, Partner, PartnerState
from comptoir_server.domain.sessions import Referral, Session, SessionState
from comptoir_server.domain.users import BotUser, User, UserState
from comptoir_server.domain.wallets import Market, Wallet, WalletState
from comptoir_server.runtime import Runtime
from comptoir_server.store.columns import metadata
from comptoir_server.store.database import open_database
from comptoir_server.store.tables import RELATIONS
from comptoir_server.store.tx import Tx
from comptoir_server.transport.boundary import Boundary
from comptoir_server.transport.server import OPTIONS, _Door
from comptoir_server.vault import KEY_BYTES, Vault
from tests.load.instant import InstantProvider

CALLERS = 64
EMPTY = "/comptoir.bench.Empty/Call"


class _Empty(grpc.GenericRpcHandler):
    """A method that does nothing, on the same stack."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        if handler_call_details.method != EMPTY:
            return None

        async def answer(raw: bytes, _context: Any) -> bytes:
            return raw

        return grpc.unary_unary_rpc_method_handler(answer)


class Shop:
    """One partner and as many people as there are callers, each with a wallet and a session."""

    def __init__(self, deps: Deps) -> None:
        now, new_id, vault = deps.runtime.now(), deps.runtime.new_id, deps.vault
        self.secret = new_secret(deps.runtime, "test")
        partner = Partner(new_id("prt"), "Shop", "", 100, PartnerState.ACTIVE, now)
        bot = Bot(new_id("bot"), partner.id, "Shop", "", BotState.LIVE, now)
        channel = Channel(new_id("chn"), "Bench", now)
        key = ApiKey(
            new_id("key"), channel.id, "", secret_hash(vault, self.secret), hint(self.secret), ("*",),
            KeyState.ACTIVE, now, 0,
        )  # fmt: skip
        self.records: list[object] = [partner, bot, channel, key, Market("US", "instant", True, 0)]
        self.people: list[tuple[str, Checkout]] = []
        for number in range(CALLERS):
            user_id, wallet_id, session_id, bot_user_id = new_id("usr"), new_id("wal"), new_id("ses"), new_id("bsu")
            wrapped = vault.new_key(user_id)
            seal = vault.key(user_id, wrapped).seal
            user = User(
                user_id, channel.id, vault.hash("channel user", str(number)), seal(user_id, str(number)),
                seal(user_id, "Ada"), wrapped, "US", "en-US", "UTC", UserState.ACTIVE, wallet_id, now,
            )  # fmt: skip
            session = Session(
                session_id, bot.id, partner.id, user_id, bot_user_id, channel.id, SessionState.OPEN, Referral(), "", 0,
                "en-US", now,
            )  # fmt: skip
            wallet = Wallet(
                wallet_id, user_id, channel.id, "instant", "a•••", WalletState.ACTIVE,
                vault.seal_token(wallet_id, "token"), vault.hash("provider token", str(number)), 0, 0, now,
            )  # fmt: skip
            self.records += [user, BotUser(bot_user_id, bot.id, user_id, session_id, now), session, wallet]
            pattern = Checkout(
                "", partner.id, bot.id, session_id, user_id, bot_user_id, channel.id, CheckoutState.OPEN, 1, 0, "", "",
                {}, "USD", 24_000, (LineItem("Flight", "", 1, 24_000, 24_000, "CM417"),), (), CaptureMode.AUTOMATIC,
                (), "", "", False, now, now, now + 86_400_000_000,
            )  # fmt: skip
            self.people.append((user_id, pattern))


async def _store(deps: Deps, records: list[object]) -> None:
    for start in range(0, len(records), 1000):
        chunk = records[start : start + 1000]

        async def work(tx: Tx, chunk: list[object] = chunk) -> None:
            for record in chunk:
                tx.put(record)

        await deps.store.write(work)


async def serve(url: str, count: int, profile_file: str) -> None:
    """Until standard input closes."""
    log.set_up()
    runtime = Runtime()
    database = open_database(url, RELATIONS, runtime)
    await database.open()
    await database.create_all(metadata)
    settled = Settled(runtime)
    database.subscribe(settled.wake)
    settings = Settings("test", "http://127.0.0.1", "bench")
    vault = Vault(bytes(KEY_BYTES), runtime)
    deps = Deps(runtime, database, vault, {"instant": InstantProvider()}, settled, settings)
    shop = Shop(deps)
    checkouts: list[object] = [
        replace(shop.people[number % CALLERS][1], id=runtime.new_id("chk")) for number in range(count)
    ]
    await _store(deps, shop.records)
    await _store(deps, checkouts)
    server = grpc.aio.server(options=OPTIONS)
    server.add_generic_rpc_handlers((_Door(Boundary(deps)), _Empty()))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    about = {
        "port": port,
        "key": shop.secret,
        "users": [user_id for user_id, _ in shop.people],
        "checkouts": [[c.id for c in checkouts[n::CALLERS] if isinstance(c, Checkout)] for n in range(CALLERS)],
    }
    print(json.dumps(about), flush=True)
    profile = cProfile.Profile() if profile_file else None
    if profile is not None:
        profile.enable()
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    if profile is not None:
        profile.disable()
        profile.dump_stats(profile_file)
    await server.stop(1)
    await runtime.drain(5)
    await database.close()


if __name__ == "__main__":
    arguments = [*sys.argv[1:], ""]
    try:
        import uvloop

        uvloop.run(serve(arguments[0], int(arguments[1]), arguments[2]))
    except ImportError:
        asyncio.run(serve(arguments[0], int(arguments[1]), arguments[2]))
