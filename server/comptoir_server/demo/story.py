"""The acts: what a person goes through, one after the other, each ending in what she has to see."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from comptoir.chat import Conversation
from comptoir.v1 import Button, Message, NoticeCard, PayButton, Wallet
from comptoir_server.demo.browser import Browser
from comptoir_server.demo.failure import Failure
from comptoir_server.demo.screen import Screen
from comptoir_server.demo.standin import Standin
from comptoir_server.demo.transcript import Transcript, Wanted, card, notice, words

AD, AD_REFERENCE = "buy-now", "Lisbon for two"
"""The advertisement that Ada pressed “Buy now” under, and what the airline wrote into it."""

DOUBT_SECONDS = 30.0
"""The server looks for evidence after about five seconds, then after fifteen."""

OFFER = words("Where would you like to go")
GOODBYE = words("Have a good flight")


@dataclass
class Cast:
    """Ada and everything she touches. What one act leaves to the next stands below."""

    screen: Screen
    conversation: Conversation
    transcript: Transcript
    browser: Browser
    standin: Standin
    wallets: list[Wallet] = field(default_factory=list)
    goodbye: Message = field(default_factory=Message)

    async def choose_flight(self, city: str, *wanted: Wanted) -> Message:
        """Asks for flights, chooses the one to `city`, and answers the card with the price."""
        await self.conversation.say("Another trip, please!")
        (offer,) = await self.transcript.until(OFFER)
        return await self.press_flight(offer, city)

    async def press_flight(self, offer: Message, city: str) -> Message:
        """Presses the button of the flight to `city`, and answers the card with the price."""
        await self.conversation.press(button(offer, city))
        (bill,) = await self.transcript.until(card("checkout"))
        return bill

    async def link(self, account: str) -> Message:
        """Links a wallet while a card waits to be paid, and answers that card as it is drawn again."""
        started = await self.conversation.link("paypal")
        (invitation,) = await self.transcript.until(card("wallet_link"))
        code = await self._approve(invitation.content.wallet_link.link_url, account)
        self.screen.tell(f"Ada types {code} into the chat.")
        self.wallets.append(await self.conversation.confirm_link(started.wallet_link_id, code))
        _, bill = await self.transcript.until(notice(NoticeCard.KIND_WALLET_LINKED), card("checkout"))
        return bill

    async def _approve(self, link_url: str, account: str) -> str:
        """The way through the browser: our page, PayPal's, and ours again, which shows the code."""
        page = await self.browser.open(link_url)
        self.screen.tell(f"Ada opens the link in her browser: “{page.title}”. She presses “Continue to PayPal”.")
        page = await self.browser.press(page, "Continue to PayPal")
        self.screen.tell(f"PayPal: “{page.title}”. She logs in as “{account}” and presses “Agree”.")
        page = await self.browser.press(page, "Agree", account=account)
        if not page.output:
            raise Failure(f"After the approval the browser shows “{page.title}” ({page.status}), and no code.")
        self.screen.tell(f"Back on our page: “{page.title}”: {page.output}.")
        return page.output

    async def pay(self, bill: Message, wallet: Wallet) -> None:
        """Presses the pay button of a wallet: the one tap."""
        chosen = pay_button(bill, lambda each: each.wallet_id == wallet.wallet_id, wallet.label)
        self.screen.tell(f"Ada presses “{chosen.title}”.")
        await self.conversation.pay(bill.content.checkout.checkout_id, chosen)

    async def receive_trip(self) -> None:
        """Waits for everything that a paid trip brings."""
        wanted = (card("receipt"), card("itinerary"), card("boarding_pass"), GOODBYE)
        *_, self.goodbye = await self.transcript.until(*wanted)


def button(message: Message, part: str) -> Button:
    """The bot's button whose title holds `part`. Raises Failure where there is none."""
    for each in message.content.text.buttons:
        if part in each.title:
            return each
    raise Failure(
        f"The bot offers no button with “{part}”, but {[each.title for each in message.content.text.buttons]}."
    )


def pay_button(bill: Message, fits: Callable[[PayButton], bool], what: str) -> PayButton:
    """The button of the platform's card that fits. Raises Failure where there is none."""
    offered = bill.content.checkout.buttons
    for each in offered:
        if fits(each):
            return each
    raise Failure(f"The card has no button for {what}, but {[each.title for each in offered]}.")


async def first_purchase(cast: Cast) -> None:
    """From the advertisement to the boarding pass, with the wallet linked on the way."""
    _, offer = await cast.transcript.until(words(AD_REFERENCE), OFFER)
    bill = await cast.press_flight(offer, "Lisbon")
    chosen = pay_button(bill, lambda each: each.link_provider == "paypal", "linking PayPal")
    cast.screen.tell(f"Ada presses “{chosen.title}”.")
    bill = await cast.link("pays")
    await cast.pay(bill, cast.wallets[0])
    await cast.receive_trip()


async def second_purchase(cast: Cast) -> None:
    """The wallet is linked: nothing but the tap is left."""
    bill = await cast.choose_flight("Paris")
    await cast.pay(bill, cast.wallets[0])
    await cast.receive_trip()


async def partial_refund(cast: Cast) -> None:
    """One of two passengers stays at home; half of the money comes back."""
    await cast.conversation.press(button(cast.goodbye, "Bea"))
    given_back = Wanted(
        "the receipt with what was given back", lambda message: message.content.receipt.refunded.minor_units > 0
    )
    await cast.transcript.until(given_back, words("on its way back"))


async def declined(cast: Cast) -> None:
    """A wallet that the provider declines: told kindly, nothing charged, and another wallet pays."""
    await cast.choose_flight("Lisbon")
    cast.screen.tell("Ada would rather pay with another account, and links it.")
    bill = await cast.link("declined")
    await cast.pay(bill, cast.wallets[-1])
    told = notice(NoticeCard.KIND_DECLINED)
    _, bill, _ = await cast.transcript.until(told, card("checkout"), words("Another wallet works"))
    await cast.pay(bill, cast.wallets[0])
    await cast.receive_trip()


async def lost_answer(cast: Cast) -> None:
    """The money moves and PayPal's answer is lost: nobody guesses, nobody pays twice."""
    bill = await cast.choose_flight("Paris")
    await cast.standin.lose_next_capture_answer()
    cast.screen.tell("Behind the scenes, PayPal will take the money, and its answer and its webhook will be lost.")
    paying = cast.pay(bill, cast.wallets[0])
    await asyncio.gather(paying, cast.transcript.until(notice(NoticeCard.KIND_BEING_CONFIRMED)))
    cast.screen.tell("The server does not guess: it asks PayPal what became of the payment.")
    await cast.transcript.until(card("receipt"), seconds=DOUBT_SECONDS)
    await cast.standin.behave()
    await cast.transcript.until(GOODBYE)


ACTS: tuple[tuple[str, Callable[[Cast], Awaitable[None]]], ...] = (
    ("An advertisement, a flight, a wallet, a boarding pass", first_purchase),
    ("The second purchase takes one tap", second_purchase),
    ("One of the two passengers cannot fly", partial_refund),
    ("A wallet is declined, and another one works", declined),
    ("PayPal's answer is lost on the way", lost_answer),
)
"""Every act with its heading, in order."""
