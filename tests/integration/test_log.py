"""Log lines: what is listed and nothing else, and no token whatever is done with it."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import threading
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import httpx
import pytest
import structlog

from comptoir_server import log
from tests.support.databases import new_sqlite
from tests.support.providers import LOST_REPLY, declined
from tests.support.world import open_world

CANARY = "token-of-a-wallet-that-nobody-may-read"


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[StringIO]:
    """What the process logs from now on, by whatever library, as `serve` sets it up."""
    written = StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    levels = {name: logging.getLogger(name).level for name in ("", "httpx", "httpcore", "uvicorn")}
    handler = logging.StreamHandler(written)
    logging.getLogger().setLevel(logging.DEBUG)
    before = structlog.get_config()
    log.set_up(level="debug")
    logging.getLogger().addHandler(handler)
    structlog.configure(cache_logger_on_first_use=False)
    yield written
    structlog.configure(**before)
    logging.getLogger().removeHandler(handler)
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def seen(lines: StringIO) -> list[str]:
    """Which objects were logged, in order."""
    read = [json.loads(line) for line in lines.getvalue().splitlines() if line.startswith("{")]
    return [line["object_id"] for line in read if line["event"] == "seen"]


def test_what_is_logged_is_seen_here(lines: StringIO) -> None:
    structlog.get_logger().info("seen", object_id=CANARY)
    logging.getLogger("anybody").info(CANARY)

    assert lines.getvalue().count(CANARY) == 2


def test_a_line_holds_what_is_listed_and_nothing_else(lines: StringIO) -> None:
    structlog.get_logger().warning("call", method="Pay", token=CANARY, text=CANARY, amount=1, reason="OK")

    line = json.loads(lines.getvalue())
    assert line.pop("timestamp")
    assert line == {"event": "call", "level": "warning", "method": "Pay", "reason": "OK"}


async def test_lines_of_one_turn_of_the_loop_are_written_together_and_none_waits_longer(lines: StringIO) -> None:
    structlog.get_logger().info("seen", object_id="first")
    structlog.get_logger().info("seen", object_id="second")
    before = seen(lines)
    await asyncio.sleep(0)
    structlog.get_logger().info("seen", object_id="third")
    await asyncio.sleep(0)

    assert before == []
    assert seen(lines) == ["first", "second", "third"]


async def test_a_thread_writes_its_line_at_once_and_with_it_what_waits(lines: StringIO) -> None:
    structlog.get_logger().info("seen", object_id="first")
    thread = threading.Thread(target=lambda: structlog.get_logger().info("seen", object_id="second"))
    thread.start()
    thread.join()

    assert seen(lines) == ["first", "second"]


async def test_a_server_whose_log_nobody_can_write_any_more_goes_on(lines: StringIO) -> None:
    failed = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failed.append(context))
    lines.close()
    structlog.get_logger().info("seen", object_id="first")
    await asyncio.sleep(0)

    assert failed == []


async def test_an_address_in_which_a_token_stands_is_not_logged(lines: StringIO) -> None:
    async with httpx.AsyncClient(transport=httpx.MockTransport(lambda _: httpx.Response(204))) as client:
        await client.delete(f"https://provider.example/v3/vault/payment-tokens/{CANARY}")

    assert CANARY not in lines.getvalue()


async def test_no_token_stands_in_a_line_of_a_purchase(lines: StringIO, tmp_path: Path) -> None:
    async with open_world(new_sqlite(tmp_path)) as world:
        [token] = world.provider.tokens
        checkout = await world.checkout()
        world.provider.replies.extend([declined(), LOST_REPLY])
        answer = await world.confirm(checkout)
        await world.confirm(checkout, version=answer["checkout"].version, seconds=0.3)
        world.provider.fail("look_up", error=RuntimeError("unforeseen"))
        await world.work(6)
        await world.work(60)
        assert (await world.now_checkout(checkout.id)).state == "COMPLETED"

    assert "builtins.RuntimeError" in lines.getvalue(), "nothing was logged"
    assert token not in lines.getvalue()
