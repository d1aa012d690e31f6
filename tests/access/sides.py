"""Partners, channels, and the sides of the estate: one bot and one person each, with all that is between them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx

from comptoir import line_item, money, total_of
from tests.access.door import METHODS, Reply, bearer
from tests.support.linking import code_in, nonce_in

if TYPE_CHECKING:
    from tests.access.estate import Estate

ID = re.compile(rb"\b[a-z]{3}_[0-9a-hjkmnp-tv-z]{26}\b")
"""An id, wherever it stands in an answer."""


@dataclass(frozen=True)
class Tenant:
    """A partner: a key for all of its bots, and each bot with a key of its own."""

    partner_id: str
    secret: str
    bots: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Venue:
    """A channel with its key, and its people by id."""

    name: str
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
        link = await self.start_link()
        async with self.estate.browser() as browser:
            reference = await press_continue(browser, link.link_url)
            await browser.get(self.approve(reference))
            return link.wallet_link_id, code_in(await browser.get(link.link_url))

    async def start_link(self) -> Any:
        """A link that the person has just started."""
        started = await self.by_person("StartWalletLink", request_id=self.estate.request_id(), provider="paypal")
        return started.wallet_link

    def approve(self, reference: str) -> str:
        """The person approves at the provider, in an account of their own; answers where their browser is sent."""
        return self.estate.connected.approve(reference, f"{self.name}@example.com")

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
        number = self.venue.people.index(self.user_id)
        self.words = tuple(
            each.encode()
            for each in (
                word,
                f"{self.name}@example.com",
                f"canary id {number} of {self.venue.name}",
                f"canary name {number} of {self.venue.name}",
            )
        )
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


async def press_continue(browser: httpx.AsyncClient, link_url: str) -> str:
    """Opens a link's page and presses the button; answers the provider's reference of what is to be approved."""
    page = await browser.get(link_url)
    left = await browser.post(f"{link_url}/continue", data={"nonce": nonce_in(page)})
    location = httpx.URL(left.headers["location"])
    return location.params.get("token") or location.path.rpartition("/")[2]
