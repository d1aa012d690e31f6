"""A credential that is taken back: refused from the next call on, and its open streams end within five seconds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from comptoir_server.domain.partners import BotState, PartnerState
from comptoir_server.domain.users import UserState
from comptoir_server.store.tables import BOTS, PARTNERS, USERS
from comptoir_server.transport import boundary
from comptoir_server.transport.failures import Failed
from comptoir_server.transport.server import Server
from tests.access.door import METHODS, Credential, bearer
from tests.access.estate import Estate, open_estate
from tests.support.databases import new_sqlite
from tests.support.door import reason_of

BOUND_SECONDS = 20.0
"""A stream that is still open then does not end; nothing is measured."""


@pytest.fixture
async def estate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Estate]:
    assert boundary.RECHECK_SECONDS < 5
    monkeypatch.setattr(boundary, "RECHECK_SECONDS", 0.05)
    async with open_estate(new_sqlite(tmp_path)) as made:
        yield made


@asynccontextmanager
async def followed(estate: Estate, credential: Credential, *names: str) -> AsyncIterator[list[asyncio.Task[str]]]:
    """Streams that somebody has open and has read to where they are; each answers with what it ended."""
    streams = []
    for name in names:
        ready = asyncio.Event()
        streams.append(asyncio.create_task(_follow(estate, credential, name, ready)))
        async with asyncio.timeout(BOUND_SECONDS):
            await ready.wait()
    try:
        yield streams
    finally:
        for stream in streams:
            stream.cancel()
        await asyncio.gather(*streams, return_exceptions=True)


async def _follow(estate: Estate, credential: Credential, name: str, ready: asyncio.Event) -> str:
    method = METHODS[name]
    fields = {"subscribe": {"consumer": "till"}} if method.takes_stream else {"session_id": estate.victim.ids["ses"]}
    raw = method.request(**fields).SerializeToString()
    stream = estate.boundary.stream(method.path, credential, _once(raw) if method.takes_stream else raw, None)
    try:
        async for _ in stream:
            ready.set()
    except Failed as failed:
        return reason_of(failed)
    return "ended"


async def _once(raw: bytes) -> AsyncIterator[bytes]:
    """A client that says one thing and then listens."""
    yield raw
    await asyncio.Event().wait()


async def ends(streams: list[asyncio.Task[str]]) -> list[str]:
    """With what the streams end."""
    async with asyncio.timeout(BOUND_SECONDS):
        return [await stream for stream in streams]


async def told(estate: Estate, credential: Credential, name: str, **fields: object) -> str:
    """The reason of what is answered to a call."""
    return (await estate.reply(name, credential, METHODS[name].request(**fields))).reason


async def test_a_stream_whose_credential_nobody_looks_at_again_is_noticed(
    estate: Estate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boundary, "RECHECK_SECONDS", 3600.0)
    secret, key_id = await estate.new_key(estate.victim.tenant.partner_id)
    async with followed(estate, bearer(secret), "StreamEvents") as streams:
        await estate.by_operator("RevokeApiKey", api_key_id=key_id)

        done, _ = await asyncio.wait(streams, timeout=0.3)

        assert not done


async def test_a_revoked_key_of_a_partner_ends_its_own_streams_and_calls_and_nobody_elses(estate: Estate) -> None:
    victim = estate.victim
    secret, key_id = await estate.new_key(victim.tenant.partner_id, bot_id=victim.bot_id)
    names = ("StreamEvents", "StreamMessages")
    async with (
        followed(estate, bearer(secret), *names) as revoked,
        followed(estate, bearer(victim.bot_secret), *names) as others,
    ):
        await victim.by_partner("RevokeApiKey", request_id=estate.request_id(), api_key_id=key_id)

        assert await told(estate, bearer(secret), "ListEvents") == "CREDENTIAL_INVALID"
        assert await ends(revoked) == ["CREDENTIAL_INVALID"] * 2
        assert not any(stream.done() for stream in others)
    assert await told(estate, bearer(victim.bot_secret), "ListEvents") == "OK"


async def test_a_key_that_revokes_itself_is_revoked(estate: Estate) -> None:
    secret, key_id = await estate.new_key(estate.victim.tenant.partner_id)
    async with followed(estate, bearer(secret), "StreamEvents") as streams:
        assert await told(estate, bearer(secret), "RevokeApiKey", api_key_id=key_id) == "OK"

        assert await told(estate, bearer(secret), "RevokeApiKey", api_key_id=key_id) == "CREDENTIAL_INVALID"
        assert await ends(streams) == ["CREDENTIAL_INVALID"]


async def test_a_revoked_key_of_a_channel_ends_what_it_follows_for_itself_and_for_its_people(estate: Estate) -> None:
    victim = estate.victim
    secret, key_id = await estate.new_key(victim.venue.channel_id)
    async with (
        followed(estate, bearer(secret), "StreamEvents") as own,
        followed(estate, bearer(secret, victim.user_id), "StreamMessages") as for_people,
    ):
        await estate.by_operator("RevokeApiKey", api_key_id=key_id)

        assert await told(estate, bearer(secret, victim.user_id), "ListWallets") == "CREDENTIAL_INVALID"
        assert await ends([*own, *for_people]) == ["CREDENTIAL_INVALID"] * 2


async def test_a_key_that_expires_ends_its_streams(estate: Estate) -> None:
    soon = {"seconds": estate.runtime.now() // 1_000_000 + 60}
    secret, _ = await estate.new_key(estate.victim.tenant.partner_id, expire_time=soon)
    async with followed(estate, bearer(secret), "StreamEvents", "StreamMessages") as streams:
        estate.runtime.advance(60)

        assert await told(estate, bearer(secret), "ListEvents") == "CREDENTIAL_EXPIRED"
        assert await ends(streams) == ["CREDENTIAL_EXPIRED"] * 2


async def test_a_token_that_expires_ends_its_streams(estate: Estate) -> None:
    token = await estate.token(estate.victim.venue, estate.victim.user_id)
    async with followed(estate, bearer(token), "StreamMessages") as streams:
        estate.runtime.advance(15 * 60)

        assert await told(estate, bearer(token), "ListWallets") == "CREDENTIAL_EXPIRED"
        assert await ends(streams) == ["CREDENTIAL_EXPIRED"]


async def test_a_suspended_person_is_cut_off_by_token_and_by_channel_and_others_are_not(estate: Estate) -> None:
    victim, neighbour = estate.victim, estate.sides["neighbour"]
    token = await estate.token(victim.venue, victim.user_id)
    channel = bearer(victim.venue.secret, victim.user_id)
    async with (
        followed(estate, bearer(token), "StreamMessages") as by_token,
        followed(estate, channel, "StreamMessages") as by_channel,
        followed(estate, bearer(victim.venue.secret), "StreamEvents") as of_channel,
    ):
        await estate.suspend(USERS, victim.user_id, UserState.SUSPENDED)

        assert await told(estate, bearer(token), "ListWallets") == "PARTNER_SUSPENDED"
        assert await told(estate, channel, "ListWallets") == "PARTNER_SUSPENDED"
        assert await ends([*by_token, *by_channel]) == ["PARTNER_SUSPENDED"] * 2
        assert not of_channel[0].done()
    near = bearer(neighbour.venue.secret, neighbour.user_id)
    assert await told(estate, near, "ListWallets") == "OK"


@pytest.mark.parametrize("whose", ["partner", "bot"])
async def test_a_suspended_partner_or_bot_is_cut_off(estate: Estate, whose: str) -> None:
    victim, sibling = estate.victim, estate.sides["sibling"]
    async with followed(estate, bearer(victim.bot_secret), "StreamEvents", "StreamMessages") as streams:
        if whose == "partner":
            await estate.suspend(PARTNERS, victim.tenant.partner_id, PartnerState.SUSPENDED)
        else:
            await estate.suspend(BOTS, victim.bot_id, BotState.SUSPENDED)

        assert await told(estate, bearer(victim.bot_secret), "ListEvents") == "PARTNER_SUSPENDED"
        assert await ends(streams) == ["PARTNER_SUSPENDED"] * 2
    spared = "PARTNER_SUSPENDED" if whose == "partner" else "OK"
    assert await told(estate, bearer(sibling.bot_secret), "ListEvents") == spared


async def test_over_grpc_a_revoked_key_loses_its_stream(estate: Estate) -> None:
    secret, key_id = await estate.new_key(estate.victim.tenant.partner_id)
    server = Server(estate.boundary)
    port = await server.start("127.0.0.1:0")
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as connection:
        method = METHODS["StreamEvents"]
        subscribe = method.request(subscribe={"consumer": "till"}).SerializeToString()
        call: Any = connection.stream_stream(method.path)
        stream = call(_once(subscribe), metadata=bearer(secret))
        assert await stream.read() != grpc.aio.EOF
        await estate.by_operator("RevokeApiKey", api_key_id=key_id)

        async with asyncio.timeout(BOUND_SECONDS):
            ended = await _ended(stream)
    await server.stop(1)
    assert ended == grpc.StatusCode.UNAUTHENTICATED


async def _ended(stream: Any) -> grpc.StatusCode | None:
    """With what a stream ends for its client, who reads all that comes before."""
    try:
        while await stream.read() != grpc.aio.EOF:
            pass
    except grpc.aio.AioRpcError as error:
        return error.code()
    return None


# Whose log it is.


async def test_a_key_of_one_bot_reads_nothing_of_another_bots_events(estate: Estate) -> None:
    victim, sibling = estate.victim, estate.sides["sibling"]
    method = METHODS["ListEvents"]
    for fields in ({}, {"session_id": sibling.ids["ses"]}):
        listed = await estate.asked("ListEvents", bearer(sibling.bot_secret), page_size=1000, **fields)
        assert {event.bot_id for event in listed.events} == {sibling.bot_id}
    foreign = await estate.reply(
        "ListEvents", bearer(sibling.bot_secret), method.request(session_id=victim.ids["ses"], page_size=1000)
    )
    assert foreign.response(method).events == []
    subscribe = METHODS["StreamEvents"].request(subscribe={"consumer": "till", "max_outstanding": 1000})
    streamed = await estate.reply("StreamEvents", bearer(sibling.bot_secret), subscribe)
    assert victim.bot_id.encode() not in streamed.everything
    assert sibling.bot_id.encode() in streamed.everything


async def test_a_consumer_of_one_bot_is_not_moved_by_another_bot(estate: Estate) -> None:
    victim, sibling = estate.victim, estate.sides["sibling"]
    last = (await estate.asked("ListEvents", bearer(sibling.bot_secret), page_size=1000)).next_cursor
    await estate.asked("AckEvents", bearer(sibling.bot_secret), consumer="till", cursor=last)
    subscribe = METHODS["StreamEvents"].request(subscribe={"consumer": "till", "max_outstanding": 1000})

    streamed = await estate.reply("StreamEvents", bearer(victim.bot_secret), subscribe)

    assert len(streamed.answers) > 1
