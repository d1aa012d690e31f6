"""The conversation as the person sees it: printed as it is said, up to what is waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from comptoir.chat import Conversation, draw
from comptoir.v1 import Message, NoticeCard
from comptoir_server.demo.failure import Failure
from comptoir_server.demo.screen import Screen

SAY_SECONDS = 20.0
"""For whatever somebody is to say, unless more is known to be needed."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A message that has to come: in words for whoever waits, and as a test."""

    words: str
    fits: Callable[[Message], bool]


def card(kind: str) -> Wanted:
    """A message of a kind of the contract: `checkout`, `receipt`, `itinerary`, ..."""
    return Wanted(f"the {kind.replace('_', ' ')}", lambda message: message.content.WhichOneof("kind") == kind)


def notice(kind: NoticeCard.Kind.ValueType) -> Wanted:
    """A sentence of the platform's."""
    name = NoticeCard.Kind.Name(kind).removeprefix("KIND_").replace("_", " ").lower()
    return Wanted(f"the notice “{name}”", lambda message: message.content.notice.kind == kind)


def words(part: str) -> Wanted:
    """Words of the bot's that hold `part`."""
    return Wanted(
        f"the words “{part}”",
        lambda message: message.sender == Message.SENDER_BOT and part in message.content.text.text,
    )


class Transcript:
    """Prints a conversation; what was drawn in full before is named in a line, so that what is new stands out."""

    def __init__(self, conversation: Conversation, screen: Screen) -> None:
        self._conversation = conversation
        self._screen = screen
        self._messages = conversation.messages()
        self._drawn: set[str] = set()
        self._last = "nothing"

    async def until(self, *wanted: Wanted, seconds: float = SAY_SECONDS) -> list[Message]:
        """Prints what is said until everything wanted was, in whatever order, and answers those messages.

        Raises Failure naming what did not come.
        """
        found: dict[Wanted, Message] = {}
        missing = list(wanted)
        try:
            async with asyncio.timeout(seconds):
                with self._screen.waiting("…"):
                    while missing:
                        message = await anext(self._messages)
                        self._print(message)
                        for one in [each for each in missing if each.fits(message)]:
                            missing.remove(one)
                            found[one] = message
        except (TimeoutError, StopAsyncIteration):
            names = " and ".join(one.words for one in missing)
            raise Failure(f"In {seconds:.0f} s, {names} did not come into the chat; last came {self._last}.") from None
        return [found[one] for one in wanted]

    def _print(self, message: Message) -> None:
        kind = message.content.WhichOneof("kind") or ""
        self._last = f"“{message.plain_text.partition(chr(10))[0]}”"
        bot_name = self._conversation.bot.display_name
        if kind in self._drawn:
            self._screen.tell(f"[{bot_name} sends {_BRIEF[kind](message)}]")
            return
        if kind in _BRIEF:
            self._drawn.add(kind)
        user = self._conversation.user
        self._screen.show(draw(message, locale=user.locale, time_zone=user.time_zone, bot_name=bot_name))


_BRIEF: dict[str, Callable[[Message], str]] = {
    "itinerary": lambda message: f"the itinerary of booking {message.content.itinerary.booking_reference}",
    "boarding_pass": lambda message: (
        f"the boarding pass of {message.content.boarding_pass.passenger.display_name}, "
        f"seat {message.content.boarding_pass.seat}"
    ),
}
"""What is drawn in full only the first time, in words."""
