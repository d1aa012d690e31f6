"""What a bot may rely on: handling an event twice says and charges nothing twice, and each event finds its function."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator

import grpc
import pytest

from comptoir import AsyncBot, AsyncContext, Bot, Context, line_item, money
from comptoir._context import EventRequestIds
from comptoir.errors import CredentialInvalid, FieldInvalid
from comptoir.v1 import CreateCheckoutRequest
from tests.support.running_bots import IMPATIENT, running
from tests.support.scripted_comptoir import ScriptedServer, event, refusal_details


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    async with ScriptedServer() as server:
        yield server


async def test_a_reply_is_said_in_the_session_of_the_event(server: ScriptedServer) -> None:
    bot = Bot(server.target, "key", runtime=IMPATIENT)

    @bot.on_message
    def answer(context: Context) -> None:
        context.reply(f"heard {context.text}", buttons=[("More", "more:1")])

    async with running(bot):
        await server.happen(event(1, "ses_a"))
        await server.until_acked("000001")

    (said,) = server.said.values()
    assert (said.session_id, said.content.text.text) == ("ses_a", "heard words 1")
    assert [(each.title, each.payload) for each in said.content.text.buttons] == [("More", "more:1")]


async def test_a_function_that_raises_half_way_says_and_charges_once(server: ScriptedServer) -> None:
    bot = Bot(server.target, "key", runtime=IMPATIENT)
    attempts = itertools.count(1)

    @bot.on_message
    def sell(context: Context) -> None:
        context.reply("One moment.")
        context.create_checkout(CreateCheckoutRequest(items=[line_item("Espresso", money(250, "EUR"), 2)]))
        context.reply("Here it is.")
        if next(attempts) < 3:
            raise RuntimeError("the partner's own database is away")

    async with running(bot):
        await server.happen(event(1))
        await server.until_acked("000001")

    assert [each.content.text.text for each in server.said.values()] == ["One moment.", "Here it is."]
    assert [each.total for each in server.checkouts.values()] == [money(500, "EUR")]
    assert [each.session_id for each in server.checkouts.values()] == ["ses_a"]
    assert len(server.calls) > 6, "the calls were repeated; their request ids made them one"


async def test_an_event_that_comes_again_to_the_next_process_is_answered_once(server: ScriptedServer) -> None:
    bots = [Bot(server.target, "key", runtime=IMPATIENT) for _ in range(2)]
    handled = []
    for bot in bots:

        @bot.on_message
        def answer(context: Context) -> None:
            handled.append(context.event.event_id)
            context.reply("once")

    await server.happen(event(1))
    async with running(bots[0]):
        await server.until_acked("000001")
    server.acked.clear()
    async with running(bots[1]):
        await server.until_acked("000001")

    assert handled == ["evt_1", "evt_1"]
    assert [each.content.text.text for each in server.said.values()] == ["once"]


async def test_an_answer_in_other_words_is_not_said_beside_the_first(server: ScriptedServer) -> None:
    bot = AsyncBot(server.target, "key", runtime=IMPATIENT)
    words = iter(["first", "second"])
    answers: list[bool] = []

    @bot.on_message
    async def answer(context: AsyncContext) -> None:
        answers.append(await context.reply(next(words)) is not None)
        if len(answers) == 1:
            raise RuntimeError("after it was said")

    async with running(bot):
        await server.happen(event(1))
        await server.until_acked("000001")

    assert answers == [True, False]
    assert [each.content.text.text for each in server.said.values()] == ["first"]


def test_two_consumers_of_a_log_do_not_answer_for_each_other() -> None:
    bot, books = EventRequestIds("evt_1", "bot"), EventRequestIds("evt_1", "books")

    drawn = [bot("SendMessage"), bot("SendMessage"), bot("CreateCheckout"), books("SendMessage")]

    assert len(set(drawn)) == 4
    assert drawn[:2] == [EventRequestIds("evt_1", "bot")("SendMessage"), drawn[1]]


async def test_the_longest_prefix_gets_the_button_and_what_fits_none_its_type(server: ScriptedServer) -> None:
    bot = AsyncBot(server.target, "key", runtime=IMPATIENT)
    taken: list[tuple[str, str]] = []

    @bot.on_postback("seat:")
    async def seat(context: AsyncContext) -> None:
        taken.append(("seat", context.payload))

    @bot.on_postback("seat:exit:")
    async def exit_row(context: AsyncContext) -> None:
        taken.append(("exit row", context.payload))

    @bot.on_event("postback.received")
    async def other(context: AsyncContext) -> None:
        taken.append(("other", context.text))

    payloads = ["seat:12A", "seat:exit:10C", "meal:veg"]
    async with running(bot):
        await server.happen(*(event(n, kind="postback.received", payload=p) for n, p in enumerate(payloads, 1)))
        await server.until_acked("000003")

    assert taken == [("seat", "seat:12A"), ("exit row", "seat:exit:10C"), ("other", "A button")]


def test_a_second_function_for_the_same_events_is_refused() -> None:
    bot = Bot("localhost:1", "key")
    bot.on_message(print)
    bot.on_postback("seat:")(print)

    with pytest.raises(ValueError, match=r"'message\.received' have a handler already"):
        bot.on_event("message.received")(print)
    with pytest.raises(ValueError, match="'seat:' have a handler already"):
        bot.on_postback("seat:")(print)


@pytest.mark.parametrize("kind", [Bot, AsyncBot])
async def test_a_bot_whose_key_is_refused_ends_with_that_error(
    server: ScriptedServer, kind: type[Bot] | type[AsyncBot]
) -> None:
    server.refuse("StreamEvents", grpc.StatusCode.UNAUTHENTICATED, refusal_details("CREDENTIAL_INVALID"))
    bot = kind(server.target, "wrong", runtime=IMPATIENT)

    with pytest.raises(CredentialInvalid):
        await (bot.run() if isinstance(bot, AsyncBot) else asyncio.to_thread(bot.run))

    assert server.ack_history == []


async def test_a_refused_checkout_is_the_function_s_to_handle(server: ScriptedServer) -> None:
    bot = Bot(server.target, "key", runtime=IMPATIENT)
    server.refuse("CreateCheckout", grpc.StatusCode.INVALID_ARGUMENT, refusal_details("FIELD_INVALID"))

    @bot.on_message
    def sell(context: Context) -> None:
        try:
            context.create_checkout(CreateCheckoutRequest(items=[line_item("Espresso", money(250, "EUR"))]))
        except FieldInvalid as error:
            context.reply(f"Cannot: {error.reason}")

    async with running(bot):
        await server.happen(event(1))
        await server.until_acked("000001")

    assert [each.content.text.text for each in server.said.values()] == ["Cannot: FIELD_INVALID"]
    assert server.checkouts == {}


def test_a_coroutine_on_a_bot_of_plain_functions_is_refused_instead_of_never_run() -> None:
    bot = Bot("localhost:1", "key")

    async def answer(context: Context) -> None: ...

    for register in (bot.on_message, bot.on_postback("seat:"), bot.on_event("session.opened"), bot.on_failure):
        with pytest.raises(TypeError, match="needs an AsyncBot"):
            register(answer)  # type: ignore[arg-type]
