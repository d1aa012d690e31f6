"""Whatever fails inside says so outside without a word of its own: an exception's text may hold anything."""

from __future__ import annotations

import asyncio
import io
import itertools
import logging
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import psycopg
import pytest
import structlog
import uvicorn
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from comptoir_server.app.ports import LinkRefused, ProviderUnavailable, WebhookRefused
from comptoir_server.domain.errors import Refused
from comptoir_server.store.errors import IntegrityError, StorageUnavailable
from comptoir_server.transport import failures
from comptoir_server.transport.policy import Method
from comptoir_server.workers import rounds
from tests.access.door import METHODS, bearer, knock
from tests.access.estate import Estate, open_estate
from tests.access.identities import Identity, owners
from tests.access.recipes import RECIPES, request_of
from tests.access.sides import press_continue
from tests.support.canaries import found, in_database, lines, logged
from tests.support.linking import nonce_in
from tests.support.providers import LOST_REPLY, SIGNATURE

CANARY = "canary-of-hunter2-cmp_live_4111111111111111"
PLANTED = {"exception's text": CANARY}

TIME_LEFT_SECONDS = 1.1
"""As short as a method takes it that asks a provider, so that nobody waits for what never comes."""

REASONS = {"INTERNAL", "PROVIDER_UNAVAILABLE", "REQUEST_IN_PROGRESS", "OK"}
"""What a method may say of a database that fails: OK where nothing was left to do but to look again."""

DRIVER_ERRORS: tuple[Callable[[], Exception], ...] = (
    lambda: RuntimeError(CANARY),
    lambda: sqlite3.OperationalError(f"near {CANARY}: syntax error"),
    lambda: psycopg.errors.UniqueViolation(f"Key (name)=({CANARY}) already exists"),
    lambda: IntegrityError(CANARY),
    lambda: StorageUnavailable(CANARY),
)


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    with logged() as stream:
        yield stream


@pytest.fixture
async def estate(log: io.StringIO, sqlite_url: str) -> AsyncIterator[Estate]:
    async with open_estate(sqlite_url) as made:
        yield made


@dataclass
class Spoiled:
    """A store whose calls fail from the one with this number on; `calls` counts them."""

    estate: Estate
    error: Callable[[], Exception]
    healthy: int
    calls: int = 0

    def take(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Takes the store's place."""
        for name in ("read", "write"):
            monkeypatch.setattr(self.estate.deps.store, name, self._of(getattr(self.estate.deps.store, name)))

    def _of(self, call: Callable[[Any], Any]) -> Callable[[Any], Any]:
        async def spoiled(work: Any) -> Any:
            self.calls += 1
            if self.calls > self.healthy:
                raise self.error()
            return await call(work)

        return spoiled


async def an_owner(estate: Estate, method: Method) -> Identity:
    """Somebody who is answered."""
    able = [one for one in await owners(estate) if one.caller in method.callers]
    return next(one for one in able if one.name not in ("the bot", "the channel for nobody"))


async def asked(estate: Estate, method: Method, who: Identity) -> bytes:
    """A request that is answered."""
    request = await request_of(method, estate.victim, RECIPES, who.credential)
    if method.takes_request_id:
        request.request_id = estate.request_id()  # type: ignore[attr-defined]
    return request.SerializeToString()


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

TELLING: tuple[Callable[[], Exception], ...] = (
    lambda: RuntimeError(CANARY),
    lambda: httpx.ConnectError(CANARY),
    lambda: ProviderUnavailable(CANARY),
    lambda: LinkRefused(CANARY),
    lambda: WebhookRefused(CANARY),
)


async def test_what_the_provider_says_reaches_nobody_from_any_method(
    estate: Estate, log: io.StringIO, sqlite_url: str
) -> None:
    asking = [method for method in METHODS.values() if method.waits_seconds]
    for error, method in itertools.product(TELLING, asking):
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


@pytest.mark.parametrize("error", TELLING, ids=lambda make: type(make()).__name__)
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


@pytest.mark.parametrize("error", TELLING, ids=lambda make: type(make()).__name__)
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


def strings(descriptor: Descriptor, path: tuple[FieldDescriptor, ...] = ()) -> Iterator[tuple[FieldDescriptor, ...]]:
    """The way to every text of a request."""
    for one in descriptor.fields:
        inner = one.message_type
        if inner is not None and inner.full_name.startswith("comptoir.") and not inner.GetOptions().map_entry:
            yield from strings(inner, (*path, one))
        elif one.cpp_type == FieldDescriptor.CPPTYPE_STRING and one.name != "request_id":
            yield (*path, one)


def put(request: Message, path: tuple[FieldDescriptor, ...], text: str) -> None:
    """Puts a text where the path leads, making what it lies in."""
    holder: Any = request
    for step in path[:-1]:
        held = getattr(holder, step.name)
        holder = (held[0] if held else held.add()) if step.is_repeated else held
    if path[-1].is_repeated:
        getattr(holder, path[-1].name)[:] = [text]
    else:
        setattr(holder, path[-1].name, text)


NAMED_BACK = frozenset({"CreateApiKey.scopes", "CreateCheckout.partner_reference"})
"""What is repeated to whoever sent it: which scope there is none of, and which reference was paid already."""


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
            if reply.code and f"{method.name}.{path[-1].name}" not in NAMED_BACK:
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
