"""A day of somebody whose every word and secret is a canary."""

from __future__ import annotations

from dataclasses import dataclass, field

from comptoir_server.app.provider_tokens import revoke_tokens
from tests.access.door import METHODS
from tests.access.sides import press_continue
from tests.support.attacks import Street
from tests.support.canaries import Canaries
from tests.support.linking import code_in, nonce_in
from tests.support.standin_world import CONFIG
from tests.support.world import MASTER_KEY

CARD = "4111 1111 1111 1111"


@dataclass
class Day:
    """What went in: `secret` is nobody's to read again, `personal` is the person's, `words` are said to the bot."""

    secret: dict[str, str] = field(default_factory=dict)
    personal: dict[str, str] = field(default_factory=dict)
    words: dict[str, str] = field(default_factory=dict)

    @property
    def everything(self) -> Canaries:
        """All of it."""
        return {**self.secret, **self.personal, **self.words}


async def a_day(street: Street) -> Day:
    """Somebody talks, links a wallet, pays, gets money back and unlinks; the bot answers; the provider tells of it."""
    day = Day(
        personal={
            "name": "canary name 0 of Harbour Chat",
            "channel's id": "canary id 0 of Harbour Chat",
            "payer's address": "blaise.pays@example.com",
            "card number": CARD,
            "card number without spaces": CARD.replace(" ", ""),
        },
        words={
            "person's words": "canary words: I am ill and cannot fly",
            "pressed title": "canary press",
            "bot's words": "canary answer: get well soon",
            "bot's payload": "canary payload",
            "passenger": "Canary Passenger",
            "ticket": "canary-ticket-1",
            "booking": "CANARYBOOKING",
            "barcode": "CANARY/BARCODE M1",
        },
    )
    await _talk(street, day.words)
    await _link(street, day.secret)
    await _pay(street, day.secret)
    await _unlink(street)
    _credentials(street, day.secret)
    return day


async def _talk(street: Street, words: dict[str, str]) -> None:
    victim, session_id = street.victim, street.victim.ids["ses"]
    await victim.say(words["person's words"] + f". My card is {CARD}")
    button = {"title": "Go", "payload": words["bot's payload"]}
    stop = {"code": "JFK", "city": "New York"}
    segment = {"segment_ref": "s1", "carrier_number": "CM 417", "departure": stop, "arrival": stop}
    passenger = {"passenger_ref": "p1", "display_name": words["passenger"], "ticket_number": words["ticket"]}
    itinerary = {"booking_reference": words["booking"], "passengers": [passenger], "segments": [segment]}
    boarding = {"passenger": passenger, "segment": segment, "barcode": words["barcode"]}
    boarding |= {"booking_reference": words["booking"]}
    for content in (
        {"text": {"text": words["bot's words"], "buttons": [button]}},
        {"itinerary": itinerary},
        {"boarding_pass": boarding},
    ):
        await victim.by_bot(
            "SendMessage", request_id=street.estate.request_id(), session_id=session_id, content=content
        )
    await victim.by_person(
        "SendMessage",
        request_id=street.estate.request_id(),
        session_id=session_id,
        content={"postback": {"title": words["pressed title"], "payload": words["bot's payload"]}},
    )


async def _link(street: Street, secret: dict[str, str]) -> None:
    victim = street.victim
    await victim.give_up_links()
    started = await victim.by_person(
        "StartWalletLink", request_id=street.estate.request_id(), provider="paypal", session_id=victim.ids["ses"]
    )
    link = started.wallet_link
    secret["link's address"] = link.link_url.rpartition("/")[2]
    async with street.estate.browser() as browser:
        secret["form's nonce"] = nonce_in(await browser.get(link.link_url))
        return_url = victim.approve(await press_continue(browser, link.link_url))
        secret["proof of approval"] = return_url.partition("state=")[2].partition("&")[0]
        await browser.get(return_url)
        secret["code"] = code_in(await browser.get(link.link_url))
        secret["code without its hyphen"] = secret["code"].replace("-", "")
        secret["browser's cookie"] = next(iter(browser.cookies.values()))
    secret["guessed code"] = "CANARYGUESS"
    await street.confirm_link(victim, link.wallet_link_id, secret["guessed code"])
    assert (await street.confirm_link(victim, link.wallet_link_id, secret["code"])).code == 0


async def _pay(street: Street, secret: dict[str, str]) -> None:
    victim = street.victim
    checkout_id = await victim.new_checkout()
    button = await street.pay_button(victim, checkout_id)
    secret["pay payload"] = button.payload
    paid = await street.as_person(victim, "ConfirmCheckout", checkout_id=checkout_id, button_payload=button.payload)
    payment_id = paid.response(METHODS["ConfirmCheckout"]).payment.payment_id
    await victim.by_bot("CreateRefund", request_id=street.estate.request_id(), payment_id=payment_id)
    for headers, body in street.deliveries():
        secret["webhook's signature"] = headers["paypal-transmission-sig"]
        assert await street.deliver(headers, body) == 204
        assert await street.deliver({**headers, "paypal-transmission-sig": "canary-signature"}, body) == 400
    secret["forged signature"] = "canary-signature"


async def _unlink(street: Street) -> None:
    wallet_id = await street.victim.new_wallet()
    await street.victim.by_person("UnlinkWallet", request_id=street.estate.request_id(), wallet_id=wallet_id)
    await revoke_tokens(street.estate.deps)
    for headers, body in street.deliveries():
        await street.deliver(headers, body)


def _credentials(street: Street, secret: dict[str, str]) -> None:
    estate = street.estate
    secret["operator's key"] = estate.operator_secret
    secret["partner's key"] = street.victim.tenant.secret
    secret["bot's key"] = street.victim.bot_secret
    secret["channel's key"] = street.victim.venue.secret
    secret["token"] = estate.spent["expired user token"]
    secret |= {name: text for name, text in estate.spent.items() if text.startswith("cmp_")}
    secret["provider's secret"] = CONFIG.client_secret
    secret["master key"] = MASTER_KEY.hex()
    books = street.standin.control("GET", "books")
    secret |= {f"wallet's token {number}": token["id"] for number, token in enumerate(books["payment_tokens"])}
    access = street.standin.paypal.state.access_tokens
    secret |= {f"access token {number}": token for number, token in enumerate(access)}
