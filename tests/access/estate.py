"""Two partners with two bots each, two channels with two people each, and a live object of every kind on each side.

Everything is made by the use cases themselves, through the boundary and the pages of wallet links, as outsiders do it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
from google.protobuf.message import Message

from comptoir_server.app.deps import Deps, Settings
from comptoir_server.app.markets import seed_markets
from comptoir_server.app.ports import Provider
from comptoir_server.app.provisioning import provision_operator
from comptoir_server.app.settled import Settled
from comptoir_server.domain.partners import BotState, PartnerState
from comptoir_server.domain.users import UserState
from comptoir_server.store.columns import metadata
from comptoir_server.store.database import open_database
from comptoir_server.store.relation import Relation
from comptoir_server.store.tables import BOTS, PARTNERS, RELATIONS, USERS
from comptoir_server.store.tx import Tx
from comptoir_server.transport.boundary import Boundary
from comptoir_server.transport.http import create_http
from comptoir_server.vault import Vault
from tests.access.door import METHODS, Credential, Reply, bearer, knock
from tests.access.sides import Side, Tenant, Venue
from tests.support.linking import PUBLIC_URL
from tests.support.providers import ScriptedProvider
from tests.support.world import MASTER_KEY, MovableRuntime

ROLES = (
    ("victim", "sibling", "neighbour", "stranger"),
    ("sibling", "victim", "neighbour", "stranger"),
    ("neighbour", "sibling", "victim", "stranger"),
    ("stranger", "sibling", "neighbour", "victim"),
)
"""Each side as the victim, with another bot, another person, and another partner to knock there."""


@dataclass(frozen=True)
class Connected:
    """A provider, and how somebody approves there: given its reference and an account, where their browser is sent."""

    provider: Provider
    approve: Callable[[str, str], str]


def scripted(_runtime: MovableRuntime) -> Connected:
    """The double with books of its own."""
    provider = ScriptedProvider()
    return Connected(provider, provider.approve)


@dataclass
class Estate:
    """The server's parts, its doors, and the four sides.

    By their names, `sibling` is another bot of `victim`'s partner with the same person, `neighbour` another person at
    that very bot, `stranger` another partner's bot with another channel's person.
    """

    deps: Deps
    runtime: MovableRuntime
    connected: Connected
    boundary: Boundary
    live: Boundary
    pages: Any
    operator_secret: str = ""
    tenants: tuple[Tenant, ...] = ()
    venues: tuple[Venue, ...] = ()
    sides: dict[str, Side] = field(default_factory=dict)
    roles: tuple[str, str, str, str] = ROLES[0]
    spent: dict[str, str] = field(default_factory=dict)
    """Credentials that no longer work, or do not yet, by what is wrong with them."""
    _requests: int = 0

    @property
    def provider(self) -> ScriptedProvider:
        """The double, where the estate was opened with one."""
        assert isinstance(self.connected.provider, ScriptedProvider)
        return self.connected.provider

    @property
    def victim(self) -> Side:
        """The side that everybody knocks at."""
        return self.sides[self.roles[0]]

    @property
    def others(self) -> tuple[Side, Side, Side]:
        """Whose bot, whose person, and whose partner and channel knock there."""
        return self.sides[self.roles[1]], self.sides[self.roles[2]], self.sides[self.roles[3]]

    def request_id(self) -> str:
        """A request id that was not used before; all have the same length."""
        self._requests += 1
        return f"request-{self._requests:08}"

    async def reply(self, name: str, credential: Credential, request: Message) -> Reply:
        """What is answered to a request in which a request id is put where one is missing."""
        if METHODS[name].takes_request_id and not request.request_id:  # type: ignore[attr-defined]
            request.request_id = self.request_id()  # type: ignore[attr-defined]
        return await knock(self.boundary, METHODS[name], credential, request.SerializeToString())

    async def by_operator(self, name: str, **fields: Any) -> Any:
        """A call of the operator."""
        return await self.asked(name, bearer(self.operator_secret), **fields)

    async def asked(self, name: str, credential: Credential, **fields: Any) -> Any:
        """The response to a call that is answered."""
        return (await self.reply(name, credential, METHODS[name].request(**fields))).response(METHODS[name])

    async def token(self, venue: Venue, user_id: str) -> str:
        """A token for the person's own device."""
        return str((await self.asked("IssueUserToken", bearer(venue.secret), user_id=user_id)).token)

    async def new_key(self, owner_id: str, **fields: Any) -> tuple[str, str]:
        """The secret and the id of a key that the operator makes."""
        made = await self.by_operator("CreateApiKey", owner_id=owner_id, **fields)
        return made.secret, made.api_key.api_key_id

    async def new_tenant(self, name: str, bots: int = 2) -> Tenant:
        """A partner with live bots, each with a key of its own."""
        made = await self.by_operator("CreatePartner", display_name=name, support_contact="help@example.com")
        partner_id = made.partner.partner_id
        secret, _ = await self.new_key(partner_id)
        pairs = []
        for number in range(bots):
            bot_id = await self.new_bot(secret, f"{name} {number}")
            bound, _ = await self.new_key(partner_id, bot_id=bot_id)
            pairs.append((bot_id, bound))
        return Tenant(partner_id, secret, tuple(pairs))

    async def new_bot(self, secret: str, name: str, *, until: BotState = BotState.LIVE) -> str:
        """A bot on its way to people, as far as `until`."""
        bot_id = (await self.asked("CreateBot", bearer(secret), display_name=name)).bot.bot_id
        if until != BotState.DRAFT:
            await self.asked("SubmitBot", bearer(secret), bot_id=bot_id)
        if until == BotState.LIVE:
            await self.by_operator("ApproveBot", bot_id=bot_id)
        return str(bot_id)

    async def new_venue(self, name: str, people: int = 2) -> Venue:
        """A channel with people whom it has registered."""
        made = await self.by_operator("CreateChannel", display_name=name)
        secret, _ = await self.new_key(made.channel.channel_id)
        found = []
        for number in range(people):
            user = {
                "channel_user_id": f"canary id {number} of {name}",
                "display_name": f"canary name {number} of {name}",
                "market": "US",
            }
            found.append((await self.asked("RegisterUser", bearer(secret), **user)).user.user_id)
        return Venue(name, made.channel.channel_id, secret, tuple(found))

    async def suspend(self, relation: Relation[Any], row_id: str, state: object) -> None:
        """Suspends somebody: no method of the contract does that yet."""

        async def work(tx: Tx) -> None:
            row: Any = await tx.load(relation.lock(row_id))
            tx.put(replace(row, state=state))

        await self.deps.store.write(work)

    def browser(self) -> httpx.AsyncClient:
        """A browser with a cookie jar of its own."""
        transport = httpx.ASGITransport(app=self.pages, raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url=PUBLIC_URL, follow_redirects=False)

    async def idle(self) -> None:
        """Waits for every task of the server."""
        assert await self.runtime.drain(10) == 0

    async def settle_in(self) -> None:
        """Makes everybody, and all that the four sides have."""
        self.operator_secret = (await provision_operator(self.deps)).secret
        air, rail = await self.new_tenant("Comptoir Air"), await self.new_tenant("Comptoir Rail")
        harbour, web = await self.new_venue("Harbour Chat"), await self.new_venue("Web Chat")
        self.tenants, self.venues = (air, rail), (harbour, web)
        await self._spend()
        for name, tenant, bot, venue, person in (
            ("victim", air, 0, harbour, 0),
            ("sibling", air, 1, harbour, 0),
            ("neighbour", air, 0, harbour, 1),
            ("stranger", rail, 0, web, 0),
        ):
            bot_id, bot_secret = tenant.bots[bot]
            side = Side(self, name, tenant, bot_id, bot_secret, venue, venue.people[person])
            await side.furnish()
            self.sides[name] = side
        await self.idle()

    async def _spend(self) -> None:
        """Makes credentials that are revoked, expired or suspended; the clock is put forward for it."""
        air, harbour = self.tenants[0], self.venues[0]
        soon = {"seconds": self.runtime.now() // 1_000_000 + 60}
        bot_id = air.bots[0][0]
        operator = await provision_operator(self.deps)
        for kind, owner, fields in (
            ("partner", air.partner_id, {}),
            ("bot", air.partner_id, {"bot_id": bot_id}),
            ("channel", harbour.channel_id, {}),
        ):
            self.spent[f"expired {kind} key"], _ = await self.new_key(owner, expire_time=soon, **fields)
            self.spent[f"revoked {kind} key"], key_id = await self.new_key(owner, **fields)
            await self.by_operator("RevokeApiKey", api_key_id=key_id)
        self.spent["revoked operator key"] = operator.secret
        await self.by_operator("RevokeApiKey", api_key_id=operator.api_key_id)
        self.spent["expired user token"] = await self.token(harbour, harbour.people[0])
        self.runtime.advance(20 * 60)
        closed, quiet = await self.new_tenant("Comptoir Closed"), await self.new_venue("Quiet Chat", people=1)
        self.spent["token of a suspended user"] = await self.token(quiet, quiet.people[0])
        self.spent["channel key for a suspended user"] = quiet.secret
        self.spent["suspended user"] = quiet.people[0]
        self.spent["key of a suspended partner"] = closed.secret
        half = await self.new_tenant("Comptoir Half", bots=1)
        self.spent["key of a suspended bot"] = half.bots[0][1]
        await self.suspend(PARTNERS, closed.partner_id, PartnerState.SUSPENDED)
        await self.suspend(BOTS, half.bots[0][0], BotState.SUSPENDED)
        await self.suspend(USERS, quiet.people[0], UserState.SUSPENDED)


@asynccontextmanager
async def open_estate(
    database_url: str, connect: Callable[[MovableRuntime], Connected] = scripted
) -> AsyncIterator[Estate]:
    """An estate on a new database, with everybody in it."""
    runtime = MovableRuntime()
    inline = database_url.startswith("sqlite:")
    store = open_database(database_url, RELATIONS, runtime, inline=inline)
    await store.open()
    try:
        await store.create_all(metadata)
        await store.write(seed_markets)
        connected = connect(runtime)
        settled = Settled(runtime)
        store.subscribe(settled.wake)
        deps = Deps(
            runtime=runtime,
            store=store,
            vault=Vault(MASTER_KEY, runtime),
            providers={"paypal": connected.provider},
            settled=settled,
            settings=Settings("test", PUBLIC_URL, "worker"),
        )
        live = replace(deps, settings=Settings("live", PUBLIC_URL, "worker"))
        estate = Estate(deps, runtime, connected, Boundary(deps), Boundary(live), create_http(deps))
        await estate.settle_in()
        yield estate
    finally:
        await runtime.drain(5)
        await store.close()
