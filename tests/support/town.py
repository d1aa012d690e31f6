"""Two airlines, two channels and the operator, made by the use cases themselves: for all that is not about money."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from comptoir_server.app import partners, sessions, users
from comptoir_server.app.call import CallContext, Caller
from comptoir_server.app.deps import Deps, Settings
from comptoir_server.app.settled import Settled
from comptoir_server.app.users import UserView
from comptoir_server.domain.cards import Content, TextContent
from comptoir_server.domain.partners import ApiKey, Bot, Channel, KeyState, Partner
from comptoir_server.domain.sessions import Referral, Session
from comptoir_server.runtime import Runtime
from comptoir_server.store.columns import metadata
from comptoir_server.store.database import open_database
from comptoir_server.store.tables import RELATIONS
from comptoir_server.store.tx import Tx
from comptoir_server.vault import KEY_BYTES, Vault

MASTER_KEY = bytes(range(KEY_BYTES))


@dataclass
class Town:
    """The server's parts, and calls as each kind of caller makes them."""

    deps: Deps
    runtime: Runtime
    _requests: int = 0

    def operator(self, method: str = "Test", **more: Any) -> CallContext:
        """A call of the operator."""
        return self._call(Caller.OPERATOR, method, **more)

    def partner(self, partner: Partner, method: str = "Test", bot: Bot | None = None, **more: Any) -> CallContext:
        """A call of a partner, with a key bound to `bot` where one is given."""
        return self._call(Caller.PARTNER, method, partner_id=partner.id, bot_id=bot.id if bot else "", **more)

    def channel(self, channel: Channel, method: str = "Test", user: UserView | None = None, **more: Any) -> CallContext:
        """A call of a channel, for `user` where one is given."""
        user_id = user.user.id if user else ""
        return self._call(Caller.CHANNEL, method, channel_id=channel.id, user_id=user_id, **more)

    def person(self, user: UserView, method: str = "Test", **more: Any) -> CallContext:
        """A call of a person's own device."""
        return self._call(Caller.USER, method, user_id=user.user.id, channel_id=user.user.channel_id, **more)

    def _call(self, caller: Caller, method: str, **more: Any) -> CallContext:
        self._requests += 1
        more = {"request_id": f"request-{self._requests}", **more}
        return CallContext(caller=caller, method=method, deadline=self.runtime.monotonic() + 10.0, **more)

    async def with_key(self, call: CallContext, *scopes: str, expire_time: int = 0) -> CallContext:
        """The call with a working key behind it that may do `scopes`, everything where none are given."""
        key = ApiKey(
            id=self.runtime.new_id("key"),
            owner_id=call.partner_id or call.channel_id,
            bot_id=call.bot_id,
            secret_hash=self.runtime.new_id("hash"),
            hint="cmp_test_0000",
            scopes=scopes or ("*",),
            state=KeyState.ACTIVE,
            create_time=self.runtime.now(),
            expire_time=expire_time,
        )
        await self.put(key)
        return replace(call, key_id=key.id, scopes=frozenset(key.scopes))

    async def put(self, *records: object) -> None:
        """Writes records that are not there yet."""

        async def work(tx: Tx) -> None:
            for record in records:
                tx.put(record)

        await self.deps.store.write(work)

    async def new_partner(self, name: str = "Comptoir Air") -> Partner:
        """An active partner."""
        answer = await partners.create_partner(
            self.deps,
            self.operator("CreatePartner"),
            display_name=name,
            support_contact="help@example.com",
            fee_basis_points=150,
        )
        partner: Partner = answer["partner"]
        return partner

    async def new_bot(self, partner: Partner, name: str = "Ada", *, live: bool = True) -> Bot:
        """A bot, live or still a draft."""
        answer = await partners.create_bot(
            self.deps, self.partner(partner, "CreateBot"), display_name=name, greeting="Where to?"
        )
        bot: Bot = answer["bot"]
        if live:
            await partners.submit_bot(self.deps, self.partner(partner, "SubmitBot"), bot_id=bot.id)
            answer = await partners.approve_bot(self.deps, self.operator("ApproveBot"), bot_id=bot.id)
            bot = answer["bot"]
        return bot

    async def new_channel(self, name: str = "Messenger") -> Channel:
        """A channel."""
        answer = await partners.create_channel(self.deps, self.operator("CreateChannel"), display_name=name)
        channel: Channel = answer["channel"]
        return channel

    async def new_user(self, channel: Channel, channel_user_id: str = "psid-1", **changed: str) -> UserView:
        """A person whom the channel has registered, in New York unless `changed` says otherwise."""
        fields = {"display_name": "Jo", "market": "US", "locale": "en-US", "time_zone": "America/New_York", **changed}
        answer = await users.register_user(
            self.deps, self.channel(channel, "RegisterUser"), channel_user_id=channel_user_id, **fields
        )
        user: UserView = answer["user"]
        return user

    async def open_session(self, user: UserView, bot: Bot, referral: Referral | None = None) -> Session:
        """The open session of a person with a bot."""
        answer = await sessions.open_session(
            self.deps, self.person(user, "OpenSession"), bot_id=bot.id, referral=referral
        )
        session: Session = answer["session"]
        return session

    async def say(self, call: CallContext, session: Session, content: Content | str) -> dict[str, Any]:
        """Says something as whoever calls."""
        said = TextContent(content) if isinstance(content, str) else content
        return await sessions.send_message(self.deps, call, session_id=session.id, content=said)


@asynccontextmanager
async def open_town(database_url: str) -> AsyncIterator[Town]:
    """An empty town on a new database."""
    runtime = Runtime()
    database = open_database(database_url, RELATIONS, runtime)
    await database.open()
    await database.create_all(metadata)
    settled = Settled(runtime)
    database.subscribe(settled.wake)
    settings = Settings("test", "http://127.0.0.1:7680", "worker")
    deps = Deps(runtime, database, Vault(MASTER_KEY, runtime), {}, settled, settings)
    try:
        yield Town(deps, runtime)
    finally:
        await runtime.drain(5)
        await database.close()
