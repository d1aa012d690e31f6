"""How a bot works through its log: in order, side by side, and past what nobody can handle."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import suppress

import grpc
import pytest

from comptoir import AsyncBot, AsyncContext, Bot, ComptoirError, Context
from comptoir._acknowledgements import Acknowledgements
from comptoir._runtime import Runtime
from tests.support.running_bots import IMPATIENT, running
from tests.support.scripted_comptoir import ScriptedServer, event

AWAY = ComptoirError("nobody there", reason="UNAVAILABLE", code=grpc.StatusCode.UNAVAILABLE)


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    async with ScriptedServer() as server:
        yield server


async def test_events_of_a_session_come_in_order_and_sessions_side_by_side(server: ScriptedServer) -> None:
    bot = AsyncBot(server.target, "key", runtime=IMPATIENT)
    started: list[str] = []
    finished: list[str] = []
    other_session_done = asyncio.Event()

    @bot.on_message
    async def answer(context: AsyncContext) -> None:
        started.append(context.event.event_id)
        if context.event.event_id == "evt_1":
            await other_session_done.wait()
        if context.session_id == "ses_b":
            other_session_done.set()
        finished.append(context.event.event_id)

    async with running(bot):
        await server.happen(event(1, "ses_a"), event(2, "ses_a"), event(3, "ses_a"), event(4, "ses_b"))
        await server.until_acked("000004")

    assert started == ["evt_1", "evt_4", "evt_2", "evt_3"]
    assert [each for each in finished if each != "evt_4"] == ["evt_1", "evt_2", "evt_3"]


async def test_no_more_functions_run_at_once_than_were_allowed(server: ScriptedServer) -> None:
    bot = AsyncBot(server.target, "key", concurrency=3, runtime=IMPATIENT)
    running_now = 0
    most = 0

    @bot.on_message
    async def answer(context: AsyncContext) -> None:
        nonlocal running_now, most
        running_now += 1
        most = max(most, running_now)
        await asyncio.sleep(0.01)
        running_now -= 1

    async with running(bot):
        await server.happen(*(event(number, f"ses_{number}") for number in range(1, 13)))
        await server.until_acked("000012")

    assert most == 3


async def test_nothing_is_acknowledged_before_all_events_before_it_are_finished(server: ScriptedServer) -> None:
    bot = AsyncBot(server.target, "key", runtime=IMPATIENT)
    second_done, first_may_end = asyncio.Event(), asyncio.Event()

    @bot.on_message
    async def answer(context: AsyncContext) -> None:
        if context.session_id == "ses_a":
            await first_may_end.wait()
        elif context.event.event_id == "evt_3":
            second_done.set()

    async with running(bot):
        await server.happen(event(1, "ses_a"), event(2, "ses_b"), event(3, "ses_b"))
        await second_done.wait()
        history_while_first_runs = list(server.ack_history)
        first_may_end.set()
        await server.until_acked("000003")

    assert history_while_first_runs == []
    assert server.ack_history[0] == "000003"


@pytest.mark.parametrize("order", list(itertools.permutations(range(1, 5))))
def test_an_acknowledgement_never_speaks_for_an_event_that_is_not_finished(order: tuple[int, ...]) -> None:
    acknowledgements = Acknowledgements()
    events = {number: event(number) for number in range(1, 5)}
    for each in events.values():
        acknowledgements.begin(each)

    finished: set[int] = set()
    for number in order:
        finished.add(number)
        last = acknowledgements.finish(events[number])
        contiguous = max((n for n in events if set(range(1, n + 1)) <= finished), default=0)
        if last is not None:
            assert last.cursor == f"{contiguous:06}"
        else:
            assert number > contiguous


async def test_an_event_that_nobody_can_handle_is_reported_and_does_not_stop_the_others(
    server: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    bot = Bot(server.target, "key", max_attempts=3, runtime=IMPATIENT)
    attempts: list[str] = []

    @bot.on_message
    def answer(context: Context) -> None:
        attempts.append(context.event.event_id)
        if context.event.event_id == "evt_1":
            context.reply("half of it")
            raise ValueError("poison")

    @bot.on_failure
    def apologise(context: Context, error: Exception) -> None:
        context.reply(f"Sorry: {error}")

    async with running(bot):
        await server.happen(event(1), event(2))
        await server.until_acked("000002")

    assert attempts == ["evt_1", "evt_1", "evt_1", "evt_2"]
    assert [each.content.text.text for each in server.said.values()] == ["half of it", "Sorry: poison"]
    errors = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert errors == ["evt_1 (message.received) is given up after 3 attempts"]


async def test_reporting_that_fails_itself_does_not_stop_the_others(server: ScriptedServer) -> None:
    bot = AsyncBot(server.target, "key", max_attempts=1, runtime=IMPATIENT)

    @bot.on_message
    async def answer(context: AsyncContext) -> None:
        raise ValueError("poison")

    @bot.on_failure
    async def report(context: AsyncContext, error: Exception) -> None:
        raise OSError("the pager is away too")

    async with running(bot):
        await server.happen(event(1), event(2))
        await server.until_acked("000002")

    assert server.said == {}


async def test_attempts_while_the_platform_is_away_are_not_counted(server: ScriptedServer) -> None:
    bot = AsyncBot(server.target, "key", max_attempts=2, runtime=IMPATIENT)
    attempts = itertools.count(1)
    failures: list[Exception] = []

    @bot.on_message
    async def answer(context: AsyncContext) -> None:
        if next(attempts) <= 5:
            await server.break_streams()
            raise AWAY
        await context.reply("back again")

    @bot.on_failure
    async def report(context: AsyncContext, error: Exception) -> None:
        failures.append(error)

    async with running(bot):
        await server.happen(event(1))
        await server.until_acked("000001")

    assert failures == []
    assert [each.content.text.text for each in server.said.values()] == ["back again"]


async def test_an_attempt_during_which_the_platform_went_and_came_back_is_not_counted(server: ScriptedServer) -> None:
    bot = AsyncBot(server.target, "key", max_attempts=1, runtime=IMPATIENT)
    heard_again = asyncio.Event()
    attempts = itertools.count(1)
    failures: list[Exception] = []

    @bot.on_message
    async def answer(context: AsyncContext) -> None:
        if context.session_id == "ses_b":
            heard_again.set()
        elif next(attempts) == 1:
            await server.break_streams()
            await server.happen(event(2, "ses_b"))
            await heard_again.wait()
            raise AWAY

    @bot.on_failure
    async def report(context: AsyncContext, error: Exception) -> None:
        failures.append(error)

    async with running(bot):
        await server.happen(event(1, "ses_a"))
        await server.until_acked("000002")

    assert failures == []
    assert next(attempts) == 3


async def test_a_platform_that_answers_the_log_but_not_the_event_is_counted(server: ScriptedServer) -> None:
    bot = AsyncBot(server.target, "key", max_attempts=2, runtime=IMPATIENT)
    failures: list[Exception] = []

    @bot.on_message
    async def answer(context: AsyncContext) -> None:
        raise AWAY

    @bot.on_failure
    async def report(context: AsyncContext, error: Exception) -> None:
        failures.append(error)

    async with running(bot):
        await server.happen(event(1))
        await server.until_acked("000001")

    assert failures == [AWAY]


async def test_a_broken_stream_goes_on_behind_the_last_event_and_repeats_the_acknowledgement(
    server: ScriptedServer,
) -> None:
    bot = AsyncBot(server.target, "key", runtime=IMPATIENT)
    handled: list[str] = []

    @bot.on_message
    async def answer(context: AsyncContext) -> None:
        handled.append(context.event.event_id)

    async with running(bot):
        await server.happen(event(1), event(2))
        await server.until_acked("000002")
        await server.break_streams()
        await server.happen(event(3))
        await server.until_acked("000003")

    assert handled == ["evt_1", "evt_2", "evt_3"]
    assert server.subscriptions == ["", "000002"]
    assert server.ack_history[:4] == ["000001", "000002", "000002", "000003"]


async def test_an_event_without_a_function_is_acknowledged(server: ScriptedServer) -> None:
    bot = AsyncBot(server.target, "key", runtime=IMPATIENT)

    async with running(bot):
        await server.happen(event(1, kind="checkout.opened"))
        await server.until_acked("000001")

    assert server.said == {}


async def test_a_function_that_runs_when_the_bot_stops_finishes_and_is_acknowledged(server: ScriptedServer) -> None:
    bot = AsyncBot(server.target, "key", runtime=IMPATIENT)
    begun, may_end = asyncio.Event(), asyncio.Event()

    @bot.on_message
    async def answer(context: AsyncContext) -> None:
        begun.set()
        await may_end.wait()
        await context.reply("finished")

    work = asyncio.create_task(bot.run())
    await server.happen(event(1))
    await begun.wait()
    bot.stop()
    may_end.set()
    await work

    assert [each.content.text.text for each in server.said.values()] == ["finished"]
    assert server.acked["bot"] == "000001"


@pytest.mark.parametrize("end", ["stop", "cancel"])
async def test_a_function_that_does_not_end_within_the_grace_time_is_not_acknowledged(
    server: ScriptedServer, end: str
) -> None:
    bot = AsyncBot(server.target, "key", grace_seconds=0.02, runtime=IMPATIENT)
    begun = asyncio.Event()

    @bot.on_message
    async def answer(context: AsyncContext) -> None:
        begun.set()
        await asyncio.Event().wait()

    work = asyncio.create_task(bot.run())
    await server.happen(event(1))
    await begun.wait()
    if end == "stop":
        bot.stop()
    else:
        work.cancel()
    with suppress(asyncio.CancelledError):
        await work

    assert server.ack_history == []


async def test_a_bot_that_waits_to_connect_again_stops_at_once() -> None:
    waiting = asyncio.Event()

    async def wait_for_ever(_: float) -> None:
        waiting.set()
        await asyncio.Event().wait()

    async with ScriptedServer() as server:
        target = server.target
    bot = AsyncBot(target, "key", runtime=Runtime(sleep_async=wait_for_ever))
    work = asyncio.create_task(bot.run())
    await waiting.wait()
    bot.stop()

    await asyncio.wait_for(work, 5)
