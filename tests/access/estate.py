"""Two partners with two bots each, two channels with two people each, and a live object of every kind on each side.

Everything is made by the use cases themselves, through the boundary and the pages of wallet links, as outsiders do it.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
from google.protobuf.message import Message

from comptoir import line_item, money, total_of
from comptoir_server.app.deps import Deps, Settings
from comptoir_server.app.markets import seed_markets
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
from tests.support.linking import PUBLIC_URL, code_in, nonce_in
from tests.support.providers import ScriptedProvider
from tests.support.world import MASTER_KEY, MovableRuntime

ID = re.compile(rb"\b[a-z]{3}_[0-9a-hjkmnp-tv-z]{26}\b")
"""An id, wherever it stands in an answer."""


ROLES = (
    ("victim", "sibling", "neighbour", "stranger"),
    ("sibling", "victim", "neighbour", "stranger"),
    ("neighbour", "sibling", "victim", "stranger"),
    ("stranger", "sibling", "neighbour", "victim"),
)
"""Each side as the victim, with another bot, another person, and another partner to knock there."""


@dataclass(frozen=True)
class Tenant:
    """A partner: a key for all of its bots, and each bot with a key of its own."""

    partner_id: str
    secret: str
    bots: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Venue:
    """A channel with its key, and its people by id."""

    channel_id: str
    secret: str
    people: tuple[str, ...]


@dataclass
class Side:
    """One bot and one person, with what there is between them: `ids` holds a live object of each kind by its prefix.

    `seen` is every id that an answer to this side's own callers ever held; `words` are texts of its own that nobody
    else is to read.
    """

    estate: Estate
    name: str
    tenant: Tenant
    bot_id: str
    bot_secret: str
    venue: Venue
    user_id: str
    ids: dict[str, str] = field(default_factory=dict)
    seen: set[bytes] = field(default_factory=set)
    words: tuple[bytes, ...] = ()

    async def by_partner(self, name: str, **fields: Any) -> Any:
        """A call with the partner's key that is bound to no bot."""
        return await self._asked(name, self.tenant.secret, "", fields)

    async def by_bot(self, name: str, **fields: Any) -> Any:
        """A call with the bot's own key."""
        return await self._asked(name, self.bot_secret, "", fields)

    async def by_person(self, name: str, **fields: Any) -> Any:
        """A call of the channel for the person."""
        return await self._asked(name, self.venue.secret, self.user_id, fields)

    async def _asked(self, name: str, secret: str, user_id: str, fields: dict[str, Any]) -> Any:
        reply = await self.estate.reply(name, bearer(secret, user_id), METHODS[name].request(**fields))
        self.notice(reply)
        return reply.response(METHODS[name])

    def notice(self, reply: Reply) -> None:
        """Keeps the ids that an answer to this side's own callers holds."""
        for raw in reply.answers:
            self.seen.update(ID.findall(raw))

    async def open_session(self) -> None:
        """The open session of the person with the bot, a new one where it was closed."""
        opened = await self.by_person("OpenSession", request_id=self.estate.request_id(), bot_id=self.bot_id)
        self.ids["ses"] = opened.session.session_id

    async def say(self, text: str) -> str:
        """A message of the person."""
        content = {"text": {"text": text}}
        said = await self.by_person(
            "SendMessage", request_id=self.estate.request_id(), session_id=self.ids["ses"], content=content
        )
        return str(said.message.message_id)

    async def new_checkout(self, **fields: Any) -> str:
        """An open checkout."""
        items = [line_item("Flight", money(24_000, "USD"), item_reference="CM417")]
        fields = {"session_id": self.ids["ses"], "items": items, "total": total_of(items), **fields}
        return str(
            (await self.by_bot("CreateCheckout", request_id=self.estate.request_id(), **fields)).checkout.checkout_id
        )

    async def new_payment(self, **fields: Any) -> Any:
        """A payment with the person's yes: captured, or only held with `capture_mode`."""
        checkout_id = await self.new_checkout(**fields)
        confirmed = await self.by_person(
            "ConfirmCheckout", request_id=self.estate.request_id(), checkout_id=checkout_id, version=1
        )
        return confirmed.payment

    async def new_key(self) -> str:
        """A key of the bot, which nobody uses."""
        made = await self.by_partner("CreateApiKey", request_id=self.estate.request_id(), bot_id=self.bot_id)
        return str(made.api_key.api_key_id)

    async def new_link(self) -> tuple[str, str]:
        """A wallet link that was approved, and the code that its page shows. Earlier pending ones are given up."""
        await self.give_up_links()
        started = await self.by_person("StartWalletLink", request_id=self.estate.request_id(), provider="paypal")
        link = started.wallet_link
        async with self.estate.browser() as browser:
            page = await browser.get(link.link_url)
            left = await browser.post(f"{link.link_url}/continue", data={"nonce": nonce_in(page)})
            reference = left.headers["location"].rpartition("/")[2]
            await browser.get(self.estate.provider.approve(reference, account=f"{self.name}@example.com"))
            return link.wallet_link_id, code_in(await browser.get(link.link_url))

    async def new_wallet(self) -> str:
        """A wallet of the person."""
        link_id, code = await self.new_link()
        confirmed = await self.by_person(
            "ConfirmWalletLink", request_id=self.estate.request_id(), wallet_link_id=link_id, confirmation_code=code
        )
        return str(confirmed.wallet.wallet_id)

    async def give_up_links(self) -> None:
        """Cancels whatever link of the person is pending: only so many may be."""
        for raw in sorted(each for each in self.seen if each.startswith(b"wlk_")):
            fields = {"request_id": self.estate.request_id(), "wallet_link_id": raw.decode()}
            await self.estate.reply(
                "CancelWalletLink",
                bearer(self.venue.secret, self.user_id),
                METHODS["CancelWalletLink"].request(**fields),
            )

    async def furnish(self) -> None:
        """Makes a live object of every kind."""
        word = f"canary of {self.name}"
        self.words = (word.encode(), f"{self.name}@example.com".encode())
        self.ids = {
            "prt": self.tenant.partner_id,
            "bot": self.bot_id,
            "chn": self.venue.channel_id,
            "usr": self.user_id,
        }
        self.seen.update(each.encode() for each in self.ids.values())
        await self.open_session()
        self.ids["msg"] = await self.say(word)
        self.ids["wal"] = await self.new_wallet()
        payment = await self.new_payment()
        self.ids["pay"] = payment.payment_id
        found = await self.by_bot("ListCaptures", payment_id=payment.payment_id)
        self.ids["cap"] = found.captures[0].capture_id
        given = await self.by_bot(
            "CreateRefund",
            request_id=self.estate.request_id(),
            payment_id=payment.payment_id,
            amount=money(100, "USD"),
        )
        self.ids["rfd"] = given.refund.refund_id
        self.ids["ord"] = (await self.by_bot("GetCheckout", checkout_id=payment.checkout_id)).checkout.order_id
        self.ids["acc"] = (await self.by_partner("ListAccounts")).accounts[0].account_id
        self.ids["chk"] = await self.new_checkout(metadata={"note": word})
        self.ids["key"] = await self.new_key()
        self.ids["wlk"], _ = await self.new_link()
        await self.by_person("ListMessages", session_id=self.ids["ses"])


@dataclass
class Estate:
    """The server's parts, its doors, and the four sides.

    By their names, `sibling` is another bot of `victim`'s partner with the same person, `neighbour` another person at
    that very bot, `stranger` another partner's bot with another channel's person.
    """

    deps: Deps
    runtime: MovableRuntime
    provider: ScriptedProvider
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
            user = {"channel_user_id": f"{name}-{number}", "display_name": f"Person {number} of {name}", "market": "US"}
            found.append((await self.asked("RegisterUser", bearer(secret), **user)).user.user_id)
        return Venue(made.channel.channel_id, secret, tuple(found))

    async def suspend(self, relation: Relation[Any], row_id: str, state: object) -> None:
        """Suspends somebody: no method of the contract does that yet."""

        async def work(tx: Tx) -> None:
            row: Any = await tx.load(relation.lock(row_id))
            tx.put(replace(row, state=state))

        await self.deps.store.write(work)

    def browser(self) -> httpx.AsyncClient:
        """A browser with a cookie jar of its own."""
        transport = httpx.ASGITransport(app=self.pages)
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
async def open_estate(database_url: str) -> AsyncIterator[Estate]:
    """An estate on a new database, with everybody in it."""
    runtime = MovableRuntime()
    inline = database_url.startswith("sqlite:")
    store = open_database(database_url, RELATIONS, runtime, inline=inline)
    await store.open()
    try:
        await store.create_all(metadata)
        await store.write(seed_markets)
        provider = ScriptedProvider()
        settled = Settled(runtime)
        store.subscribe(settled.wake)
        deps = Deps(
            runtime=runtime,
            store=store,
            vault=Vault(MASTER_KEY, runtime),
            providers={"paypal": provider},
            settled=settled,
            settings=Settings("test", PUBLIC_URL, "worker"),
        )
        live = replace(deps, settings=Settings("live", PUBLIC_URL, "worker"))
        estate = Estate(deps, runtime, provider, Boundary(deps), Boundary(live), create_http(deps))
        await estate.settle_in()
        yield estate
    finally:
        await runtime.drain(5)
        await store.close()
