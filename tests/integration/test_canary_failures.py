"""Whatever fails inside says so outside without a word of its own: an exception's text may hold anything."""

from __future__ import annotations

import asyncio
import io
import itertools
import logging
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator

import httpx
import pytest
import structlog
import uvicorn

from comptoir_server.domain.errors import Refused
from comptoir_server.transport import failures
from comptoir_server.vault import DataKey
from comptoir_server.workers import rounds
from tests.access.door import METHODS, bearer, knock
from tests.access.estate import Estate, open_estate
from tests.access.recipes import RECIPES, request_of
from tests.access.sides import press_continue
from tests.support import canary_programs
from tests.support.canaries import found, in_database, lines, logged
from tests.support.linking import nonce_in
from tests.support.providers import LOST_REPLY, SIGNATURE
from tests.support.spoiling import (
    CANARY,
    DRIVER_ERRORS,
    PLANTED,
    PROVIDER_ERRORS,
    REASONS,
    TIME_LEFT_SECONDS,
    Spoiled,
    an_owner,
    asked,
    put,
    strings,
)


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    with logged() as stream:
        yield stream


@pytest.fixture
async def estate(log: io.StringIO, sqlite_url: str) -> AsyncIterator[Estate]:
    async with open_estate(sqlite_url) as made:
        yield made


def require_silent(log: io.StringIO, *told: bytes) -> None:
    """The canary is neither in what was answered nor in a line."""
    for each in told:
        assert found(PLANTED, "the answer", each) == []
    assert found(PLANTED, "the log", log.getvalue().encode()) == []


# What the search must find.


async def test_an_answer_with_an_exceptions_text_is_noticed(
    estate: Estate, log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    def talkative(error: Exception) -> Refused:
        return failures.internal(str(error))

    monkeypatch.setattr(failures, "refusal_of", talkative)
    method = METHODS["GetPartner"]
    raw = await asked(estate, method, await an_owner(estate, method))
    Spoiled(estate, DRIVER_ERRORS[0], healthy=0).take(monkeypatch)
    reply = await knock(estate.boundary, method, bearer(estate.operator_secret), raw)

    with pytest.raises(AssertionError):
        require_silent(log, reply.everything)


# The database.


async def test_what_the_database_driver_says_reaches_nobody_from_any_method(
    estate: Estate, log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every call of the store that a method makes fails in its turn, with one kind of error after another."""
    errors, reached = itertools.cycle(DRIVER_ERRORS), 0
    for method in METHODS.values():
        who = await an_owner(estate, method)
        for healthy in range(8):
            raw = await asked(estate, method, who)
            with monkeypatch.context() as patch:
                spoiled = Spoiled(estate, next(errors), healthy)
                spoiled.take(patch)
                reply = await knock(estate.boundary, method, who.credential, raw, TIME_LEFT_SECONDS)
                await estate.runtime.drain(5)
            require_silent(log, reply.everything)
            if spoiled.calls <= healthy:
                break
            reached += 1
            assert reply.reason in REASONS, (method.name, healthy, reply)
    assert reached > 2 * len(METHODS)


# The provider.


async def test_what_the_provider_says_reaches_nobody_from_any_method(
    estate: Estate, log: io.StringIO, sqlite_url: str
) -> None:
    asking = [method for method in METHODS.values() if method.waits_seconds]
    for error, method in itertools.product(PROVIDER_ERRORS, asking):
        who = await an_owner(estate, method)
        raw = await asked(estate, method, who)
        for call in ("prepare", "execute", "look_up"):
            estate.provider.fail(call, error=error())
        reply = await knock(estate.boundary, method, who.credential, raw, TIME_LEFT_SECONDS)
        estate.provider.recover()
        require_silent(log, reply.everything)
    assert {method.name for method in asking} >= {"ConfirmCheckout", "CreateCapture", "VoidPayment", "CreateRefund"}
    assert any(line["event"] == "task failed" for line in lines(log))
    assert in_database(PLANTED, sqlite_url) == []


@pytest.mark.parametrize("error", PROVIDER_ERRORS, ids=lambda make: type(make()).__name__)
async def test_what_the_provider_says_to_a_worker_reaches_nobody(
    estate: Estate, log: io.StringIO, sqlite_url: str, error: Callable[[], Exception]
) -> None:
    wallet_id = await estate.victim.new_wallet()
    await estate.victim.by_person("UnlinkWallet", request_id=estate.request_id(), wallet_id=wallet_id)
    method = METHODS["ConfirmCheckout"]
    who = await an_owner(estate, method)
    estate.provider.replies.append(LOST_REPLY)
    raw = await asked(estate, method, who)
    await knock(estate.boundary, method, who.credential, raw, TIME_LEFT_SECONDS)
    for call in ("look_up", "revoke_link", "execute", "confirm"):
        estate.provider.fail(call, times=50, error=error())
    asked_before = len(estate.provider.calls)

    for _ in range(2):
        estate.runtime.advance(120)
        workers = rounds.run(estate.deps)
        await asyncio.sleep(0.2)
        for worker in workers:
            worker.cancel()
        await estate.runtime.drain(5)

    assert {"look_up", "revoke_link"} <= {name for name, _ in estate.provider.calls[asked_before:]}
    require_silent(log)
    assert in_database(PLANTED, sqlite_url) == []


@pytest.mark.parametrize("error", PROVIDER_ERRORS, ids=lambda make: type(make()).__name__)
async def test_what_fails_behind_a_page_or_a_webhook_is_not_shown_there(
    estate: Estate, log: io.StringIO, error: Callable[[], Exception]
) -> None:
    provider, victim = estate.provider, estate.victim
    async with estate.browser() as browser:
        provider.fail("begin_link", error=error())
        link = await victim.start_link()
        form = {"nonce": nonce_in(await browser.get(link.link_url))}
        leaving = await browser.post(f"{link.link_url}/continue", data=form)
        provider.recover()
        back = victim.approve(await press_continue(browser, link.link_url))
        provider.fail("complete_link", error=error())
        returning = await browser.get(back)
        provider.fail("read_webhook", error=error())
        told = await browser.post("/webhooks/paypal", headers={SIGNATURE: CANARY}, content=CANARY.encode())

    require_silent(log, leaving.content, returning.content, told.content)


async def test_over_http_what_nobody_foresaw_is_written_down_without_its_text(estate: Estate, log: io.StringIO) -> None:
    estate.provider.fail("read_webhook", error=RuntimeError(CANARY))
    config = uvicorn.Config(estate.pages, port=0, log_config=None, access_log=False, lifespan="off")
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    [port] = [one.getsockname()[1] for each in server.servers for one in each.sockets]
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        answer = await client.post("/webhooks/paypal", headers={SIGNATURE: CANARY}, content=CANARY.encode())
    server.should_exit = True
    await serving

    assert (answer.status_code, answer.text) == (500, "Internal Server Error")
    require_silent(log, answer.content)
    written = [line["exception"] for line in lines(log) if "exception" in line]
    assert [text.partition("\n")[0] for text in written] == ["builtins.RuntimeError"]


# What writes lines itself.


async def test_a_task_a_thread_and_a_library_are_logged_without_texts(estate: Estate, log: io.StringIO) -> None:
    async def failing() -> None:
        raise RuntimeError(CANARY) from sqlite3.OperationalError(CANARY)

    def crashing() -> None:
        raise RuntimeError(CANARY)

    estate.runtime.spawn(failing(), "a task")
    await estate.runtime.drain(5)
    thread = estate.runtime.thread(crashing, "a thread")
    thread.join()
    try:
        raise RuntimeError(CANARY)
    except RuntimeError:
        logging.getLogger("asyncio").exception("%s happened", CANARY)
        structlog.get_logger().exception("job failed", job="a job")

    require_silent(log)
    written = [line for line in lines(log) if line.get("exception")]
    assert [line["event"] for line in written] == ["task failed", "thread failed", "library", "job failed"]
    assert written[0]["exception"].splitlines()[0] == "builtins.RuntimeError"
    assert "sqlite3.OperationalError" in written[0]["exception"]


# What was sent.


@pytest.mark.parametrize("text", [CANARY, f"{CANARY}\u202e", CANARY * 60, f"4111111111111111 {CANARY}"])
async def test_no_refusal_and_no_line_repeats_what_was_sent(estate: Estate, log: io.StringIO, text: str) -> None:
    refused = 0
    for method in METHODS.values():
        who = await an_owner(estate, method)
        asked_for = await request_of(method, estate.victim, RECIPES, who.credential)
        for path in strings(method.request_type):
            request = type(asked_for)()
            request.CopyFrom(asked_for)
            put(request, path, text)
            reply = await estate.reply(method.name, who.credential, request)
            if reply.code and f"{method.name}.{path[-1].name}" not in canary_programs.NAMED_BACK:
                refused += 1
                require_silent(log, reply.everything)
    assert refused > 40
    require_silent(log)


async def test_a_credential_of_any_shape_is_not_repeated(estate: Estate, log: io.StringIO) -> None:
    for metadata in (
        (("authorization", f"Bearer {CANARY}"),),
        (("authorization", f"Basic {CANARY}"),),
        (("authorization", CANARY),),
        (("authorization", f"Bearer cmp_live_{CANARY}"),),
        (("authorization", f"Bearer {CANARY}.{CANARY}.{CANARY}"),),
        (*bearer(estate.victim.venue.secret), ("comptoir-user", CANARY)),
        (*bearer(estate.victim.bot_secret), ("comptoir-user", CANARY)),
    ):
        for method in METHODS.values():
            reply = await knock(estate.boundary, method, metadata, b"")
            require_silent(log, reply.everything)


# Whatever happens in whatever order.


async def test_a_name_that_is_not_sealed_is_noticed_in_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DataKey, "seal", lambda _key, _row, text: text.encode())
    monkeypatch.setattr(DataKey, "open", lambda _key, _row, sealed: bytes(sealed).decode())

    tally = await canary_programs.run_programs(0, 3, report=lambda _words: None)

    assert any("stands in .db" in sentence for sentence in tally.violations)


async def test_programs_in_which_whatever_can_fail_does_tell_nobody_anything() -> None:
    tally = await canary_programs.run_programs(100, 5, report=lambda _words: None)

    assert tally.violations == []
    assert (tally.programs, tally.calls) == (5, 5 * canary_programs.STEPS)
    assert min(tally.refused, tally.failed, tally.canaries) > 0
