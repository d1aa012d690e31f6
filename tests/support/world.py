"""A small world to pay in: one partner with a bot, one person with a wallet and an open session, a scripted provider.

The use cases are the real ones on a real database; only the provider is a double, with books of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from comptoir_server.app import checkouts, payments
from comptoir_server.app.call import CallContext, Caller
from comptoir_server.app.checkouts import ItemOrder
from comptoir_server.app.deps import Deps, Settings
from comptoir_server.app.events import tell
from comptoir_server.app.settled import Settled
from comptoir_server.app.wallet_views import bare_wallet
from comptoir_server.domain.checkouts import CaptureMode, Checkout
from comptoir_server.domain.money import Money
from comptoir_server.domain.partners import Bot, BotState, Channel, Partner, PartnerState
from comptoir_server.domain.payments import Payment
from comptoir_server.domain.sessions import Referral, Session, SessionState
from comptoir_server.domain.users import BotUser, User, UserState
from comptoir_server.domain.wallets import Market, Wallet, WalletState
from comptoir_server.runtime import MICROSECONDS, Runtime
from comptoir_server.store.columns import metadata
from comptoir_server.store.database import open_database
from comptoir_server.store.tables import CHECKOUTS, PAYMENTS, RELATIONS
from comptoir_server.store.tx import Tx
from comptoir_server.vault import KEY_BYTES, Vault
from comptoir_server.workers import rounds
from tests.support.providers import ScriptedProvider

MASTER_KEY = bytes(range(KEY_BYTES))
FEE_BASIS_POINTS = 100
QUIET_SECONDS = 2.0


class MovableRuntime(Runtime):
    """The real runtime with a wall clock that a test can put forward."""

    def __init__(self) -> None:
        super().__init__()
        self.ahead = 0
        self._passed = 0.0

    def now(self) -> int:
        return super().now() + self.ahead

    def monotonic(self) -> float:
        return super().monotonic() + self._passed

    async def quiet(self, seconds: float) -> None:
        """Returns when no task is under way, or after `seconds`; ends none."""
        others = {task for task in self._tasks if task is not asyncio.current_task()}
        if others:
            await asyncio.wait(others, timeout=seconds)

    def advance(self, seconds: float) -> None:
        """Puts the wall clock forward; the monotonic clock goes on as it was."""
        self.ahead += int(seconds * MICROSECONDS)

    def let_pass(self, seconds: float) -> None:
        """So much time goes by, on every clock."""
        self.advance(seconds)
        self._passed += seconds


@dataclass
class World:
    """Everybody, and what they can do. Ids are those of the one of each kind."""

    deps: Deps
    runtime: MovableRuntime
    provider: ScriptedProvider
    partner_id: str
    bot_id: str
    channel_id: str
    user_id: str
    session_id: str
    wallet_id: str
    _requests: int = 0

    def by_partner(self, method: str = "Test", request_id: str = "", **content: Any) -> CallContext:
        """A call of the partner's bot."""
        return self._call(Caller.PARTNER, method, request_id, content, partner_id=self.partner_id, bot_id=self.bot_id)

    def by_user(self, method: str = "Test", request_id: str = "", seconds: float = 10.0, **content: Any) -> CallContext:
        """A call of the person, who waits `seconds`."""
        return self._call(
            Caller.USER, method, request_id, content, seconds=seconds, user_id=self.user_id, channel_id=self.channel_id
        )

    def _call(
        self, caller: Caller, method: str, request_id: str, content: dict[str, Any], seconds: float = 10.0, **who: str
    ) -> CallContext:
        self._requests += 1
        call = CallContext(
            caller=caller,
            method=method,
            deadline=self.runtime.monotonic() + seconds,
            request_id=request_id or f"request-{self._requests}",
            fingerprint=repr(sorted(content.items())),
        )
        return replace(call, **who)  # type: ignore[arg-type]

    async def checkout(
        self, minor_units: int = 24_000, capture_mode: CaptureMode | None = None, **fields: Any
    ) -> Checkout:
        """A new open checkout of one item."""
        price = Money(minor_units, "USD")
        answer = await checkouts.create_checkout(
            self.deps,
            self.by_partner("CreateCheckout"),
            session_id=self.session_id,
            partner_reference=fields.pop("partner_reference", ""),
            statement_descriptor="",
            metadata={},
            items=(ItemOrder("Flight", "", 1, price, price, "CM417"),),
            adjustments=(),
            total=price,
            capture_mode=capture_mode,
            expire_time=fields.pop("expire_time", 0),
            replaces_checkout_id=fields.pop("replaces_checkout_id", ""),
        )
        assert not fields, fields
        checkout: Checkout = answer["checkout"]
        return checkout

    async def confirm(
        self, checkout: Checkout, request_id: str = "", *, version: int = 0, seconds: float = 10.0, wallet_id: str = ""
    ) -> dict[str, Any]:
        """The person's yes."""
        version = version or checkout.version
        call = self.by_user("ConfirmCheckout", request_id, seconds, checkout=checkout.id, version=version)
        return await checkouts.confirm_checkout(
            self.deps, call, checkout_id=checkout.id, version=version, wallet_id=wallet_id, button_payload=""
        )

    async def refund(
        self, payment_id: str, minor_units: int | None = None, request_id: str = "", seconds: float = 10.0
    ) -> dict[str, Any]:
        """The partner gives money back."""
        amount = None if minor_units is None else Money(minor_units, "USD")
        call = self._call(
            Caller.PARTNER,
            "CreateRefund",
            request_id,
            {"payment": payment_id, "amount": minor_units},
            seconds,
            partner_id=self.partner_id,
            bot_id=self.bot_id,
        )
        return await payments.create_refund(
            self.deps, call, payment_id=payment_id, amount=amount, capture_id="", reason="Seat 12B was not available"
        )

    async def cancel(self, checkout: Checkout) -> Checkout:
        """The person calls it off."""
        answer = await checkouts.cancel_checkout(self.deps, self.by_user("CancelCheckout"), checkout_id=checkout.id)
        canceled: Checkout = answer["checkout"]
        return canceled

    async def now_checkout(self, checkout_id: str) -> Checkout:
        """The checkout as it is."""
        found = await self.deps.store.read(lambda tx: tx.load(CHECKOUTS.get(checkout_id)))
        assert found is not None
        return found

    async def now_payment(self, payment_id: str) -> Payment:
        """The payment as it is."""
        found = await self.deps.store.read(lambda tx: tx.load(PAYMENTS.get(payment_id)))
        assert found is not None
        return found

    async def work(self, seconds: float = 0.0) -> None:
        """Lets time pass and the workers do what is due, until their tasks have ended.

        What is under way may end before, unless it waits for the test.
        """
        await self.runtime.quiet(QUIET_SECONDS)
        self.runtime.let_pass(seconds)
        for one in rounds.ROUNDS:
            await one.job(self.deps)
        await self.idle()

    async def idle(self) -> None:
        """Waits for every task of the server."""
        assert await self.runtime.drain(10) == 0


@asynccontextmanager
async def open_world(database_url: str, provider: ScriptedProvider | None = None) -> AsyncIterator[World]:
    """A new world on a new database."""
    runtime = MovableRuntime()
    double = provider or ScriptedProvider()
    database = open_database(database_url, RELATIONS, runtime)
    await database.open()
    await database.create_all(metadata)
    settled = Settled(runtime)
    database.subscribe(settled.wake)
    deps = Deps(
        runtime,
        database,
        Vault(MASTER_KEY, runtime),
        {"paypal": double},
        settled,
        Settings("test", "http://127.0.0.1:7680", "worker"),
    )
    try:
        yield await _populate(deps, runtime, double)
    finally:
        await runtime.drain(5)
        await database.close()


async def another_server(world: World, database_url: str) -> Deps:
    """A second server process, as far as the database can tell: its own connections and leases, the same provider."""
    database = open_database(database_url, RELATIONS, world.runtime)
    await database.open()
    settled = Settled(world.runtime)
    database.subscribe(settled.wake)
    settings = Settings("test", world.deps.settings.public_url, "another worker")
    return Deps(world.runtime, database, world.deps.vault, world.deps.providers, settled, settings)


async def _populate(deps: Deps, runtime: MovableRuntime, provider: ScriptedProvider) -> World:
    vault, now, new_id = deps.vault, runtime.now(), runtime.new_id
    partner = Partner(new_id("prt"), "Comptoir Air", "help@example.com", FEE_BASIS_POINTS, PartnerState.ACTIVE, now)
    bot = Bot(new_id("bot"), partner.id, "Comptoir Air", "Hello", BotState.LIVE, now)
    channel = Channel(new_id("chn"), "Messenger", now)
    user_id, wallet_id, session_id, bot_user_id = new_id("usr"), new_id("wal"), new_id("ses"), new_id("bsu")
    wrapped = vault.new_key(user_id)
    key = vault.key(user_id, wrapped)
    user = User(
        user_id,
        channel.id,
        vault.hash("channel user", "psid-1"),
        key.seal(f"{user_id} channel_user_id", "psid-1"),
        key.seal(user_id, "Ada"),
        wrapped,
        "US",
        "en-US",
        "America/New_York",
        UserState.ACTIVE,
        wallet_id,
        now,
    )
    bot_user = BotUser(bot_user_id, bot.id, user_id, session_id, now)
    session = Session(
        session_id,
        bot.id,
        partner.id,
        user_id,
        bot_user_id,
        channel.id,
        SessionState.OPEN,
        Referral(),
        "",
        0,
        "en-US",
        now,
    )
    token = provider.new_token("ada@example.com")
    wallet = Wallet(
        wallet_id,
        user_id,
        channel.id,
        "paypal",
        "a•••@example.com",
        WalletState.ACTIVE,
        vault.seal_token(wallet_id, token),
        vault.hash("provider token", token),
        0,
        0,
        now,
    )
    market = Market("US", "paypal", True, 0)

    async def work(tx: Tx) -> None:
        for record in (partner, bot, channel, user, bot_user, session, wallet, market):
            tx.put(record)
        tell(tx, "session", session)
        tell(tx, "wallet", bare_wallet(wallet))

    await deps.store.write(work)
    return World(deps, runtime, provider, partner.id, bot.id, channel.id, user_id, session_id, wallet_id)
