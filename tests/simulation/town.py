"""Those who live in a world: an operator, a channel, two partners with a bot each, and people with wallets."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field

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
from comptoir_server.transport.failures import Failed
from tests.simulation.browser import Browser, Page
from tests.simulation.calls import Credential
from tests.simulation.servers import Unreachable
from tests.simulation.world import World

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
        """Makes everybody, while nothing goes wrong yet."""
        world, insist = self.world, self.world.network.insist
        [process, *_] = world.processes
        self.operator.secret = (await process.serve(provision_operator(process.deps))).secret
        made = await insist(
            self.operator, "CreateChannel", CreateChannelRequest(request_id="channel", display_name="Messenger")
        )
        self.channel.owner = made.channel.channel_id
        self.channel.secret = await self._key(self.channel.owner)
        for number in range(2):
            self.partners.append(await self._partner(number))
        for number, account in enumerate(world.plan.accounts):
            self.people.append(await self._person(number, account))

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

    async def _person(self, number: int, account: str) -> Person:
        insist = self.world.network.insist
        request = RegisterUserRequest(
            channel_user_id=f"psid-{number}",
            display_name="Ada",
            market="US",
            locale="en-US",
            time_zone="America/New_York",
        )
        user_id = (await insist(self.channel, "RegisterUser", request)).user.user_id
        credential = Credential(self.channel.secret, f"{self.channel.owner}+{user_id}", user_id)
        person = Person(number, user_id, account, credential)
        for partner in self.partners:
            opening = OpenSessionRequest(request_id=f"open {partner.number}", bot_id=partner.bot_id)
            person.sessions.append((await insist(credential, "OpenSession", opening)).session.session_id)
        await self.link(person, account, "first link")
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
