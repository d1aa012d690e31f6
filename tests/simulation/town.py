"""Those who live in a world: an operator, a channel, two partners with a bot each, and people with wallets."""

from __future__ import annotations

import asyncio
import copy
import functools
import json
import re
import sqlite3
from dataclasses import dataclass, field, replace

import httpx

from comptoir.v1 import (
    ApproveBotRequest,
    ConfirmWalletLinkRequest,
    CreateApiKeyRequest,
    CreateBotRequest,
    CreateChannelRequest,
    CreatePartnerRequest,
    OpenSessionRequest,
    RegisterUserRequest,
    StartWalletLinkRequest,
    SubmitBotRequest,
    Wallet,
)
from comptoir_server.app.provisioning import provision_operator
from comptoir_server.standins.paypal.accounts import ACCOUNTS
from comptoir_server.standins.paypal.books import Books
from comptoir_server.standins.paypal.keys import Keys
from comptoir_server.transport.failures import Failed
from tests.simulation.browser import Browser, Page
from tests.simulation.calls import Credential
from tests.simulation.plan import PARTNERS, PEOPLE, Plan
from tests.simulation.servers import Unreachable
from tests.simulation.trouble import courier
from tests.simulation.world import FOUNDED_SECONDS, World

_NONCE = re.compile(r'name="nonce" value="([^"]+)"')
_CODE = re.compile(r"<output[^>]*>([^<]+)</output>")

LOADS_MAX = 12
"""How often a page is loaded again."""


@dataclass
class Partner:
    """A partner and its bot."""

    number: int
    partner_id: str
    bot_id: str
    credential: Credential


@dataclass
class Person:
    """Somebody in the chat. `channel` speaks for them; `sessions` are theirs by the number of the partner."""

    number: int
    user_id: str
    account: str
    channel: Credential
    sessions: list[str] = field(default_factory=list)


class Town:
    """Everybody in one world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.operator = Credential("", "operator")
        self.channel = Credential("", "")
        self.partners: list[Partner] = []
        self.people: list[Person] = []

    async def found(self) -> None:
        """Makes everybody, in a world where nothing goes wrong."""
        world, insist = self.world, self.world.network.insist
        [process, *_] = world.processes
        self.operator.secret = (await process.serve(provision_operator(process.deps))).secret
        made = await insist(
            self.operator, "CreateChannel", CreateChannelRequest(request_id="channel", display_name="Messenger")
        )
        self.channel.owner = made.channel.channel_id
        self.channel.secret = await self._key(self.channel.owner)
        for number in range(PARTNERS):
            self.partners.append(await self._partner(number))
        for number, account in enumerate(world.plan.accounts):
            person = await self.newcomer(number, account, f"person {number}")
            assert person is not None
            self.people.append(person)

    def settle_in(self, founded: Founded) -> None:
        """Takes over the people of a world that was made before; how they pay is this world's own."""
        self.operator, self.channel = replace(founded.operator), replace(founded.channel)
        self.partners = [replace(one, credential=replace(one.credential)) for one in founded.partners]
        self.people = [replace(one, sessions=list(one.sessions)) for one in founded.people]
        state = self.world.paypal.state
        state.books, state.keys = copy.deepcopy((founded.books, founded.keys))
        for token, person, account in zip(
            state.books.payment_tokens.values(), self.people, self.world.plan.accounts, strict=True
        ):
            token.account, person.account = ACCOUNTS[account], account

    async def _key(self, owner_id: str) -> str:
        request = CreateApiKeyRequest(request_id=f"key of {owner_id}", owner_id=owner_id)
        return str((await self.world.network.insist(self.operator, "CreateApiKey", request)).secret)

    async def _partner(self, number: int) -> Partner:
        insist = self.world.network.insist
        request = CreatePartnerRequest(
            request_id=f"partner {number}", display_name=f"Air {number}", fee_basis_points=150
        )
        partner_id = (await insist(self.operator, "CreatePartner", request)).partner.partner_id
        credential = Credential(await self._key(partner_id), partner_id)
        made = await insist(credential, "CreateBot", CreateBotRequest(request_id="bot", display_name="Bot"))
        bot_id = made.bot.bot_id
        await insist(credential, "SubmitBot", SubmitBotRequest(request_id="submit", bot_id=bot_id))
        await insist(self.operator, "ApproveBot", ApproveBotRequest(request_id=f"approve {number}", bot_id=bot_id))
        return Partner(number, partner_id, bot_id, credential)

    async def newcomer(self, number: int, account: str, name: str) -> Person | None:
        """Somebody whom the channel registers now; None where that does not come to an end."""
        insist = self.world.network.insist
        request = RegisterUserRequest(
            channel_user_id=name, display_name="Ada", market="US", locale="en-US", time_zone="America/New_York"
        )
        try:
            user_id = (await insist(self.channel, "RegisterUser", request)).user.user_id
            if (await insist(self.channel, "RegisterUser", request)).user.user_id != user_id:
                self.world.failed("C11 the same person was registered twice")
            credential = Credential(self.channel.secret, f"{self.channel.owner}+{user_id}", user_id)
            person = Person(number, user_id, account, credential)
            for partner in self.partners:
                opening = OpenSessionRequest(request_id=f"open {partner.number}", bot_id=partner.bot_id)
                person.sessions.append((await insist(credential, "OpenSession", opening)).session.session_id)
        except (Unreachable, Failed) as failure:
            self.world.note(f"{name}: {failure}")
            return None
        await self.link(person, account, f"link of {name}")
        return person

    async def link(self, person: Person, account: str, name: str) -> Wallet | None:
        """Links a wallet as a browser and a chat do; None where that does not come to an end."""
        insist = self.world.network.insist
        browser = Browser()
        try:
            start = StartWalletLinkRequest(request_id=name, provider="paypal", session_id=person.sessions[0])
            link = (await insist(person.channel, "StartWalletLink", start)).wallet_link
            code = await self._approve(browser, link.link_url, account) if link.link_url else ""
            if not code:
                return None
            confirm = ConfirmWalletLinkRequest(
                request_id=f"{name}, confirmed", wallet_link_id=link.wallet_link_id, confirmation_code=code
            )
            answer = await insist(person.channel, "ConfirmWalletLink", confirm)
        except (Unreachable, Failed) as failure:
            self.world.note(f"{name}: {failure}")
            return None
        wallet: Wallet = answer.wallet
        return wallet

    async def _approve(self, browser: Browser, url: str, account: str) -> str:
        """The code that the browser is shown in the end, "" for none."""
        nonce = _NONCE.search((await self._load(browser, "GET", url)).text)
        if nonce is None:
            return ""
        leaving = await self._load(browser, "POST", f"{url}/continue", nonce=nonce[1])
        address = httpx.URL(leaving.headers.get("location", ""))
        if leaving.status != httpx.codes.SEE_OTHER or "token" not in address.params:
            return ""
        approved = self.control("approve", token=address.params["token"], account=account)
        if "return_url" not in approved:
            return ""
        await self._load(browser, "GET", str(approved["return_url"]))
        code = _CODE.search((await self._load(browser, "GET", url)).text)
        return code[1] if code else ""

    async def _load(self, browser: Browser, method: str, url: str, **form: str) -> Page:
        """A page, loaded again while nobody answers, or the answer is to come again."""
        for _ in range(LOADS_MAX):
            try:
                process = await self.world.network.reach()
                page: Page = await process.serve(browser.load(process.pages, method, url, **form))
            except Unreachable:
                await self._wait()
                continue
            if page.status < httpx.codes.INTERNAL_SERVER_ERROR:
                return page
            await self._wait()
        raise Unreachable("the page does not load")

    async def _wait(self) -> None:
        await self.world.pause(2.0)

    def control(self, name: str, **body: object) -> dict[str, object]:
        """One of the provider's controls."""
        now = self.world.clock.now()
        answer = self.world.paypal.handle("POST", f"/_standin/{name}", {}, {}, json.dumps(body).encode(), now)
        self.world.courier_bell.set()
        found: dict[str, object] = json.loads(answer.body)
        return found


@dataclass(frozen=True)
class Founded:
    """A town at its beginning: our database, the provider's books, and who lives there."""

    image: sqlite3.Connection
    books: Books
    keys: Keys
    operator: Credential
    channel: Credential
    partners: tuple[Partner, ...]
    people: tuple[Person, ...]


@functools.cache
def founded() -> Founded:
    """The town in which every world begins, made once a process by the same calls that anybody makes."""
    plan = Plan(-1, 1, False, True, {}, ("pays",) * PEOPLE, (), ())
    world = World(plan)
    town = Town(world)

    async def found() -> None:
        await world.start()
        carrier = world.spawn(courier(world))
        await town.found()
        await asyncio.sleep(FOUNDED_SECONDS / 2)
        carrier.cancel()
        await world.end()

    world.loop.run(found())
    assert not world.found.violations, world.found.violations
    books, keys = world.paypal.state.books, world.paypal.state.keys
    people = tuple(town.people)
    return Founded(world.disk.image(), books, keys, town.operator, town.channel, tuple(town.partners), people)
