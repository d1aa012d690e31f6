"""People: made known once, readable by their channel and themselves alone. On both databases."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from comptoir_server.app import credentials, users
from comptoir_server.app.users import UserView
from comptoir_server.domain.errors import Reason, Refused
from comptoir_server.domain.partners import Channel
from comptoir_server.domain.users import User, UserState
from comptoir_server.store.reads.pages import read, records
from comptoir_server.store.tables import USERS
from comptoir_server.store.tx import Tx
from comptoir_server.vault import Unreadable
from tests.support.databases import database_url
from tests.support.town import Town, open_town

__all__ = ["database_url"]

REGISTERED = {
    "channel_user_id": "psid-1",
    "display_name": "Zoë Müller",
    "market": "FR",
    "locale": "fr-FR",
    "time_zone": "Europe/Paris",
}


@pytest.fixture
async def town(database_url: str) -> AsyncIterator[Town]:
    async with open_town(database_url) as made:
        yield made


async def register(town: Town, channel: Channel, **changed: str) -> UserView:
    call = town.channel(channel, "RegisterUser")
    answer = await users.register_user(town.deps, call, **(REGISTERED | changed))
    user: UserView = answer["user"]
    return user


async def everybody(town: Town) -> list[User]:
    """Every row, as it is stored."""
    return await town.deps.store.read(lambda tx: read(tx, USERS, records(USERS)))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("market", "us"),
        ("market", "UK"),
        ("market", "ZZ"),
        ("locale", "fr-XX"),
        ("locale", "en_US"),
        ("locale", "root"),
        ("time_zone", "Mars/Olympus"),
        ("time_zone", "America"),
        ("time_zone", "../../etc/passwd"),
    ],
)
async def test_a_place_that_nobody_knows_is_refused_and_nobody_is_made(town: Town, field: str, value: str) -> None:
    channel = await town.new_channel()

    with pytest.raises(Refused) as refusal:
        await register(town, channel, **{field: value})

    assert (refusal.value.reason, refusal.value.metadata) == (Reason.FIELD_INVALID, {"field": field})
    assert await everybody(town) == []


async def test_a_registered_person_is_read_as_they_were_sent(town: Town) -> None:
    channel = await town.new_channel()

    made = await register(town, channel)
    read_by_channel = await users.get_user(town.deps, town.channel(channel), user_id=made.user.id)
    read_by_themselves = await users.get_user(town.deps, town.person(made), user_id=made.user.id)

    assert (made.channel_user_id, made.display_name) == ("psid-1", "Zoë Müller")
    assert (made.user.market, made.user.locale, made.user.time_zone) == ("FR", "fr-FR", "Europe/Paris")
    assert made.user.state == UserState.ACTIVE
    assert read_by_channel == read_by_themselves == {"user": made}


async def test_what_is_left_out_is_english_and_utc(town: Town) -> None:
    made = await register(town, await town.new_channel(), display_name="", locale="", time_zone="")

    assert (made.display_name, made.user.locale, made.user.time_zone) == ("", "en-US", "UTC")


async def test_registering_again_is_the_same_person_brought_up_to_date(town: Town) -> None:
    channel = await town.new_channel()
    first = await register(town, channel)

    again = await register(town, channel)
    moved = await register(town, channel, display_name="Zoë", market="US", locale="EN-us", time_zone="")

    assert again == first
    assert (moved.user.id, moved.channel_user_id, moved.display_name) == (first.user.id, "psid-1", "Zoë")
    assert (moved.user.market, moved.user.locale, moved.user.time_zone) == ("US", "en-US", "UTC")
    assert moved.user.create_time == first.user.create_time
    assert await everybody(town) == [moved.user]


async def test_the_same_name_in_two_channels_is_two_people(town: Town) -> None:
    messenger, web = await town.new_channel("Messenger"), await town.new_channel("Web")

    first, second = await register(town, messenger), await register(town, web)

    assert first.user.id != second.user.id
    assert first.user.channel_user_hash != second.user.channel_user_hash


async def test_who_a_person_is_never_stands_readable_in_their_row(town: Town) -> None:
    made = await register(town, await town.new_channel())

    [row] = await everybody(town)

    assert b"psid-1" not in repr(row).encode()
    assert "Müller" not in repr(row)
    assert row == made.user


async def test_a_sealed_name_cannot_be_put_in_the_place_of_the_channels_id(town: Town) -> None:
    made = await register(town, await town.new_channel())
    swapped = replace(made.user, channel_user_sealed=made.user.display_name_sealed)

    with pytest.raises(Unreadable):
        users.view(town.deps.vault, swapped)


async def test_nobody_else_reads_a_person_or_speaks_for_them(town: Town) -> None:
    messenger, web = await town.new_channel("Messenger"), await town.new_channel("Web")
    made, other = await register(town, messenger), await register(town, messenger, channel_user_id="psid-2")
    absent = town.runtime.new_id("usr")
    foreign: list[tuple[Any, str]] = [
        (town.channel(web), made.user.id),
        (town.channel(messenger), absent),
        (town.channel(messenger, user=other), made.user.id),
        (town.person(other), made.user.id),
    ]

    refusals = []
    for use_case in (users.get_user, users.issue_user_token):
        for call, user_id in foreign:
            with pytest.raises(Refused) as refusal:
                await use_case(town.deps, call, user_id=user_id)
            refusals.append((refusal.value.reason, refusal.value.message))

    assert set(refusals) == {
        (Reason.NOT_FOUND, "There is no such object, or it is not yours. Check the id."),
    }


async def test_a_token_speaks_for_its_person_for_fifteen_minutes(town: Town) -> None:
    channel = await town.new_channel()
    made = await register(town, channel)

    answer = await users.issue_user_token(town.deps, town.channel(channel), user_id=made.user.id)
    principal = await credentials.authenticate(town.deps, [("authorization", f"Bearer {answer['token']}")])

    assert (principal.user_id, principal.channel_id) == (made.user.id, channel.id)
    assert 899_000_000 <= answer["expire_time"] - town.runtime.now() <= 900_000_000


async def test_a_suspended_person_gets_no_token(town: Town) -> None:
    channel = await town.new_channel()
    made = await register(town, channel)

    async def suspend(tx: Tx) -> None:
        user = await tx.load(USERS.lock(made.user.id))
        assert user is not None
        tx.put(replace(user, state=UserState.SUSPENDED))

    await town.deps.store.write(suspend)

    with pytest.raises(Refused) as refusal:
        await users.issue_user_token(town.deps, town.channel(channel), user_id=made.user.id)

    assert refusal.value.reason == Reason.PARTNER_SUSPENDED
