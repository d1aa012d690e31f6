"""Canary secrets: put in wherever a secret or something personal goes in, looked for wherever anything comes out."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import structlog

from tests.access.door import METHODS, Credential, bearer
from tests.support.attacks import Street, open_street
from tests.support.canaries import found, in_database, lines, logged
from tests.support.canary_day import a_day


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    with logged() as stream:
        yield stream


@pytest.fixture
async def street(log: io.StringIO, database_url: str) -> AsyncIterator[Street]:
    async with open_street(database_url) as made:
        yield made


# What the search must find.


async def test_a_canary_in_a_column_is_found_in_the_files_and_tables(street: Street, database_url: str) -> None:
    plain = {"planted": "canary in the open"}
    assert in_database(plain, database_url) == []

    await street.estate.by_operator("CreatePartner", display_name=plain["planted"])

    assert in_database(plain, database_url) != []


def test_a_canary_in_a_line_is_found_and_one_that_is_no_allowed_key_never_gets_there(log: io.StringIO) -> None:
    structlog.get_logger().info("call", method="canary in the open", secret="canary in hiding")

    assert found({"planted": "canary in the open"}, "the log", log.getvalue().encode()) != []
    assert found({"planted": "canary in hiding"}, "the log", log.getvalue().encode()) == []


# A day.


async def test_nothing_secret_or_personal_is_readable_in_any_page_or_row(street: Street, database_url: str) -> None:
    day = await a_day(street)
    await street.estate.idle()

    assert in_database(day.everything, database_url) == []
    assert len(day.everything) > 40


async def test_nothing_secret_or_personal_is_written_down_in_the_log(street: Street, log: io.StringIO) -> None:
    day = await a_day(street)
    await street.estate.idle()

    written = log.getvalue()
    assert found(day.everything, "the log", written.encode()) == []
    assert len(lines(log)) > 100
    assert street.victim.user_id in written


async def test_a_partner_reads_what_was_said_to_its_bot_and_nothing_else_of_the_person(street: Street) -> None:
    day = await a_day(street)
    bot = b"".join([reply async for reply in _all_that(street, bearer(street.victim.bot_secret))])

    assert found({**day.secret, **day.personal}, "what the bot reads", bot) == []
    assert found(day.words, "what the bot reads", bot) == [
        f"the {name} stands in what the bot reads" for name in day.words
    ]


async def test_nobody_else_reads_anything_of_it(street: Street) -> None:
    day = await a_day(street)
    sibling, stranger = street.estate.sides["sibling"], street.estate.sides["stranger"]
    for who, credential in (
        ("another bot", bearer(sibling.bot_secret)),
        ("another partner", bearer(stranger.tenant.secret)),
        ("another person", bearer(street.mallory.venue.secret, street.mallory.user_id)),
        ("another channel", bearer(stranger.venue.secret)),
    ):
        read = b"".join([reply async for reply in _all_that(street, credential, logs=who != "another person")])
        assert read
        assert found({**day.secret, **day.personal, **day.words}, f"what {who} reads", read) == []


async def test_the_persons_own_channel_reads_no_secret_of_anybody(street: Street) -> None:
    day = await a_day(street)
    own = {"pay payload": 0, "link's address": 0}
    secret = {name: text for name, text in day.secret.items() if name not in own}

    read = b"".join([reply async for reply in _all_that(street, bearer(street.victim.venue.secret))])

    assert found(secret, "what the channel reads", read) == []
    assert found(day.words, "what the channel reads", read) != []


async def _all_that(street: Street, credential: Credential, *, logs: bool = True) -> AsyncIterator[bytes]:
    """All that somebody is answered by every method that only reads, about every object of the victim's."""
    for method in METHODS.values():
        if not method.reads or (method.name == "ListEvents" and not logs):
            continue
        fields = {
            one.name: street.victim.ids[prefix]
            for one in method.request_type.fields
            for prefix in street.victim.ids
            if one.name == NAMES.get(prefix)
        }
        if method.name in ("ListEvents", "ListMessages"):
            fields["page_size"] = 100  # type: ignore[assignment]
        reply = await street.asked(credential, method.name, **fields)
        yield reply.everything
        if method.name == "ListEvents" and reply.code == 0:
            async for page in _pages(street, credential, reply):
                yield page


async def _pages(street: Street, credential: Credential, reply: Any) -> AsyncIterator[bytes]:
    listed = reply.response(METHODS["ListEvents"])
    while listed.events:
        reply = await street.asked(credential, "ListEvents", cursor=listed.next_cursor, page_size=1000)
        yield reply.everything
        listed = reply.response(METHODS["ListEvents"])


NAMES = {
    "usr": "user_id",
    "ses": "session_id",
    "chk": "checkout_id",
    "ord": "order_id",
    "pay": "payment_id",
    "cap": "capture_id",
    "rfd": "refund_id",
    "wal": "wallet_id",
    "wlk": "wallet_link_id",
    "bot": "bot_id",
    "acc": "account_id",
}
"""The field in which requests name an object of a kind."""
