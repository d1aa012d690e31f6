"""The demonstration notices what does not come, and its browser does only what a page offers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import httpx
import pytest

from comptoir.chat import Conversation
from comptoir.v1 import BotProfile, Button, Message, MessageContent, NoticeCard, Session, TextContent, User
from comptoir_server.demo.browser import Browser
from comptoir_server.demo.failure import Failure
from comptoir_server.demo.screen import Screen
from comptoir_server.demo.story import button
from comptoir_server.demo.transcript import Transcript, card, notice, words
from comptoir_server.runtime import Runtime

FORM = """<h1>Approve</h1><form method="post" action="/decide"><input type="hidden" name="token" value="T1">
<input type="radio" name="account" value="pays" checked><input type="radio" name="account" value="declined">
<button type="submit" name="action" value="agree">Agree</button></form>"""


class Scripted(Conversation):
    """A conversation in which these messages are said, and then nothing any more."""

    def __init__(self, *messages: Message) -> None:
        user = User(locale="en-US", time_zone="UTC")
        super().__init__(cast(Any, None), user, Session(), BotProfile(display_name="Comptoir Air"))
        self._said = messages

    async def messages(self, after_sequence: int = 0) -> AsyncIterator[Message]:
        for message in self._said:
            yield message
        await asyncio.Event().wait()


def says(text: str, *buttons: Button) -> Message:
    content = MessageContent(text=TextContent(text=text, buttons=buttons))
    return Message(sender=Message.SENDER_BOT, content=content, plain_text=text)


def tells(kind: NoticeCard.Kind.ValueType) -> Message:
    return Message(sender=Message.SENDER_PLATFORM, content=MessageContent(notice=NoticeCard(kind=kind, text="Told.")))


def transcript(*messages: Message) -> Transcript:
    return Transcript(Scripted(*messages), Screen(Runtime()))


async def test_what_does_not_come_is_named_with_what_came_last() -> None:
    with pytest.raises(Failure) as failure:
        await transcript(says("Welcome!"), says("Hello?")).until(words("Welcome"), card("receipt"), seconds=0)

    assert str(failure.value) == "In 0 s, the receipt did not come into the chat; last came “Hello?”."


async def test_messages_are_found_in_whatever_order_they_come() -> None:
    first, second = tells(NoticeCard.KIND_DECLINED), says("Another wallet works as well.")
    wanted = (words("Another wallet"), notice(NoticeCard.KIND_DECLINED))

    assert await transcript(first, second).until(*wanted) == [second, first]


async def test_a_notice_of_another_kind_is_not_what_was_waited_for() -> None:
    with pytest.raises(Failure, match="the notice “being confirmed” did not come"):
        await transcript(tells(NoticeCard.KIND_DECLINED)).until(notice(NoticeCard.KIND_BEING_CONFIRMED), seconds=0)


def test_a_button_that_the_bot_does_not_offer_cannot_be_pressed() -> None:
    offer = says("Where to?", Button(title="New York – Lisbon", payload="flight:CM417"))

    assert button(offer, "Lisbon").payload == "flight:CM417"
    with pytest.raises(Failure, match="no button with “Paris”"):
        button(offer, "Paris")


class Offline(Runtime):
    """Its pages come from a function, and what is sent there is kept."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[tuple[str, str, str]] = []

    def http_client(self, base_url: str, timeout_seconds: float, **options: Any) -> httpx.AsyncClient:
        def answer(request: httpx.Request) -> httpx.Response:
            self.sent.append((request.method, request.url.path, request.content.decode()))
            if request.url.path == "/decide":
                return httpx.Response(303, headers={"location": "/code?state=1"})
            return httpx.Response(200, text="<output>ABCD-EFGH</output>" if request.url.path == "/code" else FORM)

        return super().http_client(base_url, timeout_seconds, transport=httpx.MockTransport(answer), **options)


async def test_a_form_is_sent_with_what_it_holds_and_what_was_chosen_and_its_redirect_is_followed() -> None:
    runtime = Offline()
    async with Browser(runtime) as browser:
        page = await browser.press(await browser.open("http://there/approve"), "Agree", account="declined")

    assert page.output == "ABCD-EFGH"
    assert runtime.sent == [
        ("GET", "/approve", ""),
        ("POST", "/decide", "token=T1&account=declined&action=agree"),
        ("GET", "/code", ""),
    ]


@pytest.mark.parametrize(
    ("pressed", "choices", "why"),
    [("Pay", {}, "has no button “Pay”"), ("Agree", {"account": "mallory"}, "does not offer")],
)
async def test_a_browser_cannot_press_or_choose_what_a_page_does_not_offer(
    pressed: str, choices: dict[str, str], why: str
) -> None:
    runtime = Offline()
    async with Browser(runtime) as browser:
        page = await browser.open("http://there/approve")
        with pytest.raises(Failure, match=why):
            await browser.press(page, pressed, **choices)

    assert [method for method, _, _ in runtime.sent] == ["GET"]
