"""`comptoir chat`: what is typed becomes words, pressed buttons, codes and payments."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass, field
from typing import Annotated

import typer
from rich.console import Console

from comptoir.aio import AsyncClient
from comptoir.chat.conversation import Conversation
from comptoir.chat.render import draw
from comptoir.errors import ComptoirError
from comptoir.v1 import Button, Message, PayButton, Referral, RegisterUserRequest

CODE_LENGTH = 8


@dataclass
class Desk:
    """What is on the screen: the numbered buttons, and the link that waits for its code."""

    buttons: list[tuple[str, Button | PayButton]] = field(default_factory=list)
    """(checkout id or empty, button), numbered from 1."""
    wallet_link_id: str = ""

    def put(self, message: Message) -> int:
        """Numbers the buttons of a message on, and answers the number of its first."""
        first = len(self.buttons) + 1
        content = message.content
        self.buttons += [("", button) for button in content.text.buttons]
        self.buttons += [(content.checkout.checkout_id, button) for button in content.checkout.buttons]
        return first


def command(
    key: Annotated[str, typer.Option(envvar="COMPTOIR_KEY", help="A channel key.")],
    bot: Annotated[str, typer.Option(envvar="COMPTOIR_BOT", help="The bot to talk to, bot_…")],
    target: Annotated[str, typer.Option(envvar="COMPTOIR_TARGET", help="HOST:PORT of the server.")] = "127.0.0.1:7600",
    name: Annotated[str, typer.Option("--as", help="Who is typing.")] = "terminal",
    market: Annotated[str, typer.Option(help="ISO 3166-1 code of the person's market.")] = "US",
    locale: Annotated[str, typer.Option(help="BCP 47 tag by which money and dates are written.")] = "en-US",
    time_zone: Annotated[str, typer.Option(help="IANA name.")] = "UTC",
    ad: Annotated[str, typer.Option(help="The reference of the advertisement that brought the person.")] = "",
) -> None:
    """Talk to a bot in the terminal: type words, a button's number, or the code of a wallet link. Ctrl-D ends it."""
    person = RegisterUserRequest(
        channel_user_id=name, display_name=name, market=market, locale=locale, time_zone=time_zone
    )
    referral = Referral(source=Referral.SOURCE_AD, ad_id="terminal", ref=ad) if ad else None
    try:
        asyncio.run(_chat(target, key, bot, person, referral))
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


async def _chat(target: str, key: str, bot_id: str, person: RegisterUserRequest, referral: Referral | None) -> None:
    console = Console()
    desk = Desk()
    async with AsyncClient(target, key) as client:
        conversation = await Conversation.open(client, bot_id, person, referral)
        console.print(f"{conversation.bot.display_name}, run by {conversation.bot.partner_display_name}", style="bold")
        showing = asyncio.create_task(_show(console, conversation, desk))
        try:
            while (words := await asyncio.to_thread(sys.stdin.readline)) != "":
                await _obey(console, conversation, desk, words.strip())
        finally:
            showing.cancel()


async def _show(console: Console, conversation: Conversation, desk: Desk) -> None:
    user = conversation.user
    async for message in conversation.messages():
        first = desk.put(message)
        console.print(
            draw(
                message,
                locale=user.locale,
                time_zone=user.time_zone,
                bot_name=conversation.bot.display_name,
                buttons_from=first,
            )
        )


async def _obey(console: Console, conversation: Conversation, desk: Desk, words: str) -> None:
    """Does what was typed; a refusal is shown and ends nothing."""
    try:
        if words.isdecimal() and 0 < int(words) <= len(desk.buttons):
            await _press(console, conversation, desk, *desk.buttons[int(words) - 1])
        elif desk.wallet_link_id and len(words.replace("-", "").replace(" ", "")) == CODE_LENGTH:
            await conversation.confirm_link(desk.wallet_link_id, words)
            desk.wallet_link_id = ""
        elif words:
            await conversation.say(words)
    except ComptoirError as refusal:
        console.print(refusal.message, style="red")


async def _press(
    console: Console, conversation: Conversation, desk: Desk, checkout_id: str, button: Button | PayButton
) -> None:
    if isinstance(button, Button):
        await conversation.press(button)
    elif button.link_provider:
        desk.wallet_link_id = (await conversation.link(button.link_provider)).wallet_link_id
    else:
        with console.status("Paying…"):
            await conversation.pay(checkout_id, button)
