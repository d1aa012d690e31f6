"""People with chats and browsers, who link wallets at a scripted provider."""

from __future__ import annotations

import html
import itertools
import re
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import sqlalchemy as sa

from comptoir_server.app import wallets
from comptoir_server.app.call import CallContext, Caller
from comptoir_server.app.deps import Deps, Settings
from comptoir_server.app.markets import seed_markets
from comptoir_server.app.settled import Settled
from comptoir_server.domain.cards import CONTENT_KINDS, Content
from comptoir_server.domain.errors import Refused
from comptoir_server.domain.events import Event
from comptoir_server.domain.partners import Bot, BotState, Channel, Partner, PartnerState
from comptoir_server.domain.sessions import Message, Referral, Session, SessionState
from comptoir_server.domain.users import BotUser, User, UserState
from comptoir_server.domain.wallets import Wallet, WalletLink
from comptoir_server.store.columns import metadata
from comptoir_server.store.database import open_database
from comptoir_server.store.snapshots import load
from comptoir_server.store.tables import EVENTS, MESSAGES, RELATIONS, USERS, WALLET_LINKS, WALLETS
from comptoir_server.store.tx import Tx
from comptoir_server.transport.http import create_http
from comptoir_server.vault import Vault
from tests.support.providers import ScriptedProvider
from tests.support.world import MASTER_KEY, MovableRuntime

PUBLIC_URL = "https://pay.example"
MINUTE = 60


@dataclass
class World:
    """A server's parts, its provider, and everybody who talks to it."""

    deps: Deps
    runtime: MovableRuntime
    provider: ScriptedProvider
    app: Any
    channel: Channel
    partner: Partner
    bot: Bot
    numbers: itertools.count[int] = field(default_factory=itertools.count)

    def id(self, prefix: str) -> str:
        return self.runtime.new_id(prefix)

    async def person(self, name: str = "Ana", market: str = "US") -> Person:
        """Somebody of the world's channel, with an open session."""
        user_id = self.id("usr")
        wrapped = self.deps.vault.new_key(user_id)
        key = self.deps.vault.key(user_id, wrapped)
        user = User(
            id=user_id,
            channel_id=self.channel.id,
            channel_user_hash=user_id,
            channel_user_sealed=b"",
            display_name_sealed=key.seal(user_id, name),
            wrapped_key=wrapped,
            market=market,
            locale="en-US",
            time_zone="UTC",
            state=UserState.ACTIVE,
            default_wallet_id="",
            create_time=self.runtime.now(),
        )
        bot_user = BotUser(self.id("bsu"), self.bot.id, user_id, "", self.runtime.now())
        session = Session(
            id=self.id("ses"),
            bot_id=self.bot.id,
            partner_id=self.partner.id,
            user_id=user_id,
            bot_user_id=bot_user.id,
            channel_id=self.channel.id,
            state=SessionState.OPEN,
            referral=Referral(),
            previous_session_id="",
            message_count=0,
            locale="en-US",
            create_time=self.runtime.now(),
        )
        await self.put(user, bot_user, session)
        return Person(self, user_id, session.id)

    async def put(self, *records: object) -> None:
        """Inserts records."""

        async def work(tx: Tx) -> None:
            for record in records:
                tx.put(record)

        await self.deps.store.write(work)

    def browser(self) -> httpx.AsyncClient:
        """A browser with a cookie jar of its own."""
        transport = httpx.ASGITransport(app=self.app)
        return httpx.AsyncClient(transport=transport, base_url=PUBLIC_URL, follow_redirects=False)

    async def link(self, link_id: str) -> WalletLink:
        """The link as it is stored."""
        found = await self.deps.store.read(lambda tx: tx.load(WALLET_LINKS.get(link_id)))
        assert found is not None
        return found

    async def rows(self, relation: Any) -> list[Any]:
        """Every row of a relation."""
        columns = [relation.table.c[name] for name in relation.columns]
        rows = await self.deps.store.read(lambda tx: tx.query(sa.select(*columns)))
        return [relation.codec.decode(row) for row in rows]

    async def events(self) -> list[str]:
        """The types of the events in the channel's log, in order."""
        events: list[Event] = await self.rows(EVENTS)
        mine = [event for event in events if event.channel_id == self.channel.id]
        return [event.type for event in sorted(mine, key=lambda event: event.channel_position or 0)]

    async def everything(self) -> str:
        """All that the database holds, as text; sealed columns as their bytes."""
        return "\n".join([repr(row) for relation in RELATIONS for row in await self.rows(relation)])


@dataclass(frozen=True)
class Person:
    """Somebody with an account in the chat."""

    world: World
    user_id: str
    session_id: str

    def call(self, method: str, request_id: str = "", content: str = "") -> CallContext:
        """A call of this person; the same request id and content is the same request."""
        return CallContext(
            caller=Caller.USER,
            method=method,
            deadline=self.world.runtime.monotonic() + 10,
            user_id=self.user_id,
            channel_id=self.world.channel.id,
            request_id=request_id or f"request {next(self.world.numbers)}",
            fingerprint=self.world.deps.vault.hash("request fingerprint", content),
        )

    async def start(self, session_id: str = "", request_id: str = "") -> tuple[str, str]:
        """Starts a link: its id, and the address of its page."""
        call = self.call("StartWalletLink", request_id)
        answer = await wallets.start_wallet_link(self.world.deps, call, provider="paypal", session_id=session_id)
        view = answer["wallet_link"]
        return view.wallet_link.id, view.link_url

    async def confirm(self, link_id: str, code: str, request_id: str = "") -> dict[str, Any]:
        """Types a code into the chat."""
        call = self.call("ConfirmWalletLink", request_id, code)
        return await wallets.confirm_wallet_link(self.world.deps, call, wallet_link_id=link_id, confirmation_code=code)

    async def cancel(self, link_id: str) -> None:
        """Gives a link up in the chat."""
        await wallets.cancel_wallet_link(self.world.deps, self.call("CancelWalletLink"), wallet_link_id=link_id)

    async def wallets(self) -> list[Wallet]:
        """The person's wallets as they are stored, oldest first."""
        user_id = self.user_id
        return list(await self.world.deps.store.read(lambda tx: tx.load(WALLETS.list_by("by_user", user_id))))

    async def default_wallet_id(self) -> str:
        """The wallet that pays where none is named."""
        user = await self.world.deps.store.read(lambda tx: tx.load(USERS.get(self.user_id)))
        assert user is not None
        return user.default_wallet_id

    async def link_wallet(self) -> Wallet:
        """Does all that an honest person does."""
        link_id, link_url = await self.start()
        async with self.world.browser() as browser:
            await approve(self.world, browser, link_url)
            code = code_in(await browser.get(link_url))
        answer = await self.confirm(link_id, code)
        wallet_id = answer["wallet"].wallet.id
        return next(wallet for wallet in await self.wallets() if wallet.id == wallet_id)

    async def contents(self) -> list[Content]:
        """What the person reads in their session, opened."""
        user = await self.world.deps.store.read(lambda tx: tx.load(USERS.get(self.user_id)))
        assert user is not None
        key = self.world.deps.vault.key(user.id, user.wrapped_key)
        messages: list[Message] = await self.world.rows(MESSAGES)
        mine = sorted((m for m in messages if m.session_id == self.session_id), key=lambda message: message.sequence)
        return [load(CONTENT_KINDS[message.kind], key.open(message.id, message.sealed)) for message in mine]


async def press_continue(browser: httpx.AsyncClient, link_url: str) -> str:
    """Opens the page, presses the button, and answers the provider's reference in the address that comes next."""
    page = await browser.get(link_url)
    assert page.status_code == 200, page.text
    answer = await browser.post(f"{link_url}/continue", data={"nonce": nonce_in(page)})
    assert answer.status_code == 303, answer.text
    return answer.headers["location"].rpartition("/")[2]


async def approve(world: World, browser: httpx.AsyncClient, link_url: str) -> httpx.Response:
    """Continues, approves at the provider, and comes back, all in one browser."""
    reference = await press_continue(browser, link_url)
    return await browser.get(world.provider.approve(reference))


async def refusal(awaitable: Awaitable[object]) -> Refused:
    """The refusal that `awaitable` ends with."""
    with pytest.raises(Refused) as caught:
        await awaitable
    return caught.value


def nonce_in(page: httpx.Response) -> str:
    """What the page's form carries."""
    found = re.search(r'name="nonce" value="([^"]+)"', page.text)
    assert found, page.text
    return html.unescape(found[1])


def code_in(page: httpx.Response) -> str:
    """The code that a page shows; empty where it shows none."""
    found = re.search(r"<output[^>]*>([^<]+)</output>", page.text)
    return found[1] if found else ""


def secret_of(link_url: str) -> str:
    """The secret in the address of a link's page."""
    return urlsplit(link_url).path.rpartition("/")[2]


@asynccontextmanager
async def open_world(
    database_url: str, *providers: ScriptedProvider, runtime: MovableRuntime | None = None, inline: bool = False
) -> AsyncIterator[World]:
    """A world on a new database, with PayPal open in the US as on any new database.

    With a `runtime` of the test's own and `inline`, nothing happens but what the test does.
    """
    runtime = runtime or MovableRuntime()
    store = open_database(database_url, RELATIONS, runtime, inline=inline)
    await store.open()
    try:
        await store.create_all(metadata)
        await store.write(seed_markets)
        settled = Settled(runtime)
        store.subscribe(settled.wake)
        chosen = providers or (ScriptedProvider(),)
        deps = Deps(
            runtime=runtime,
            store=store,
            vault=Vault(MASTER_KEY, runtime),
            providers={provider.capabilities.name: provider for provider in chosen},
            settled=settled,
            settings=Settings("test", PUBLIC_URL, "worker"),
        )
        now = runtime.now()
        channel = Channel(runtime.new_id("chn"), "Harbour Chat", now)
        partner = Partner(runtime.new_id("prt"), "Example Air", "", 0, PartnerState.ACTIVE, now)
        bot = Bot(runtime.new_id("bot"), partner.id, "Example Air", "", BotState.LIVE, now)
        world = World(deps, runtime, chosen[0], create_http(deps), channel, partner, bot)
        await world.put(channel, partner, bot)
        yield world
    finally:
        await runtime.drain(1.0)
        await store.close()
