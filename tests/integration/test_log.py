"""Log lines: what is listed and nothing else, and no token whatever is done with it."""

from __future__ import annotations

import json
import logging
import sys
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


def test_what_is_logged_is_seen_here(lines: StringIO) -> None:
    structlog.get_logger().info("seen", object_id=CANARY)
    logging.getLogger("anybody").info(CANARY)

    assert lines.getvalue().count(CANARY) == 2


def test_a_line_holds_what_is_listed_and_nothing_else(lines: StringIO) -> None:
    structlog.get_logger().warning("call", method="Pay", token=CANARY, text=CANARY, amount=1, reason="OK")

    line = json.loads(lines.getvalue())
    assert line.pop("timestamp")
    assert line == {"event": "call", "level": "warning", "method": "Pay", "reason": "OK"}


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
