"""Who calls is decided by the credential alone, from the database, on every call."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import OctKey

from comptoir.v1 import checkout_pb2, partner_pb2, wallet_pb2
from comptoir_server.app import credentials
from comptoir_server.app.call import Caller
from comptoir_server.app.credentials import Principal, admit, authenticate
from comptoir_server.domain.errors import Reason, Refused
from comptoir_server.domain.partners import ApiKey, BotState, KeyState, PartnerState
from comptoir_server.domain.users import UserState
from comptoir_server.runtime import Runtime
from comptoir_server.store.database import Database
from comptoir_server.vault import Vault
from tests.support.door import MASTER_KEY, World, absent_id, failure_of, metadata_of, new_user, open_world, reason_of
from tests.support.records import some

MICROSECONDS = 1_000_000


@pytest.fixture(params=[True, False], ids=["inline", "shared"])
async def world(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[World]:
    """With every read of a state of its own, and with reads that share one until something is committed."""
    opened = await open_world(tmp_path, inline=request.param)
    yield opened
    await opened.deps.store.close()


async def refusal(world: World, metadata: list[tuple[str, str | bytes]]) -> Refused:
    """The refusal of a credential; one that is taken is a failed test."""
    try:
        principal = await authenticate(world.deps, metadata)
    except Refused as refused:
        return refused
    raise AssertionError(f"was taken for {principal}")


def signed(world: World, key: bytes = b"", algorithm: str = "HS256", **changes: Any) -> str:
    """A token of the world's user with changed claims."""
    now = world.clock.now() // MICROSECONDS
    claims: dict[str, Any] = {
        "aud": "comptoir",
        "sub": world.user.id,
        "chn": world.user.channel_id,
        "mode": "test",
        "iat": now,
        "exp": now + 60,
    }
    claims = {name: value for name, value in {**claims, **changes}.items() if value is not None}
    return jwt.encode(
        {"alg": algorithm}, claims, OctKey.import_key(key or world.deps.vault.signing_key), algorithms=[algorithm]
    )


@pytest.mark.parametrize(
    "metadata",
    [
        [],
        [("authorization", "")],
        [("authorization", "Bearer")],
        [("authorization", "Bearer ")],
        [("authorization", "Basic eDp5")],
        [("authorization", "Bearer x.y")],
        [("authorization", "Bearer a.b.c")],
        [("authorization", "Bearer cmp_test_")],
        [("authorization", b"\xff\xfe")],
        [("authorization", "Bearer " + "a" * 5000)],
        [("authorization-bin", b"Bearer x")],
    ],
)
async def test_a_missing_or_malformed_credential_is_invalid(
    world: World, metadata: list[tuple[str, str | bytes]]
) -> None:
    assert (await refusal(world, metadata)).reason == Reason.CREDENTIAL_INVALID


@pytest.mark.parametrize(
    "header",
    [
        b'{"alg":"HS256","crit":1}',
        b'{"alg":"HS256","crit":[[]]}',
        b'{"alg":[]}',
        b"[" * 1_400,
        b"null",
    ],
)
async def test_whatever_stands_in_the_header_of_a_forged_token_it_is_invalid(world: World, header: bytes) -> None:
    token = base64.urlsafe_b64encode(header).rstrip(b"=").decode() + ".e30.AAAA"
    assert len(token) <= 2_048

    assert (await refusal(world, metadata_of(token))).reason == Reason.CREDENTIAL_INVALID


async def test_two_credentials_are_none(world: World) -> None:
    metadata = metadata_of(world.partner_secret) * 2

    assert (await refusal(world, metadata)).reason == Reason.CREDENTIAL_INVALID


async def test_a_mistyped_key_is_refused_without_asking_the_database(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    async def read(self: Database, work: object) -> None:
        asked.append(work)

    monkeypatch.setattr(Database, "read", read)
    for place in range(len("cmp_test_"), len(world.partner_secret)):
        letter = "a" if world.partner_secret[place] != "a" else "b"
        mistyped = f"{world.partner_secret[:place]}{letter}{world.partner_secret[place + 1 :]}"
        assert (await refusal(world, metadata_of(mistyped))).reason == Reason.CREDENTIAL_INVALID
    assert asked == []


async def test_an_unknown_key_of_the_right_shape_is_invalid(world: World) -> None:
    unknown = credentials.new_secret(world.clock, "test")

    assert (await refusal(world, metadata_of(unknown))).reason == Reason.CREDENTIAL_INVALID


async def test_a_key_of_the_other_mode_is_invalid_even_where_it_is_stored(world: World) -> None:
    secret = credentials.new_secret(world.clock, "live")
    await world.new_key(world.partner.id, secret_hash=credentials.secret_hash(world.deps.vault, secret))

    refused = await refusal(world, metadata_of(secret))

    assert refused.reason == Reason.CREDENTIAL_INVALID
    assert refused.message == "The credential is not valid. This is a key of live mode; the server runs in test mode."


async def test_a_key_speaks_for_its_owner(world: World) -> None:
    bound, key = await world.new_key(world.partner.id, bot_id=world.bot.id, scopes=("checkout.read",))

    assert await authenticate(world.deps, metadata_of(bound)) == Principal(
        Caller.PARTNER,
        partner_id=world.partner.id,
        bot_id=world.bot.id,
        key_id=key.id,
        scopes=frozenset({"checkout.read"}),
    )
    narrow, key = await world.new_key("", scopes=("partner.read",))
    assert await authenticate(world.deps, metadata_of(narrow)) == Principal(
        Caller.OPERATOR, key_id=key.id, scopes=frozenset({"partner.read"})
    )
    narrow, key = await world.new_key(world.channel.id, scopes=("user.read",))
    assert await authenticate(world.deps, metadata_of(narrow)) == Principal(
        Caller.CHANNEL, channel_id=world.channel.id, key_id=key.id, scopes=frozenset({"user.read"})
    )


def test_a_principal_is_nobody_and_may_everything_but_for_what_is_said_of_it() -> None:
    assert Principal(Caller.USER) == Principal(Caller.USER, "", "", "", "", "", frozenset({"*"}), False, 0)


async def test_a_revoked_key_is_invalid_from_the_next_call_on(world: World) -> None:
    secret, key = await world.new_key(world.partner.id)
    assert (await authenticate(world.deps, metadata_of(secret))).key_id == key.id

    await world.put(replace(key, state=KeyState.REVOKED))

    assert (await refusal(world, metadata_of(secret))).reason == Reason.CREDENTIAL_INVALID


async def test_a_key_has_expired_at_its_time_and_not_before(world: World) -> None:
    secret, _ = await world.new_key(world.partner.id, expire_time=world.clock.now() + 60 * MICROSECONDS)
    assert (await authenticate(world.deps, metadata_of(secret))).partner_id == world.partner.id

    world.clock.ahead_seconds = 61

    assert (await refusal(world, metadata_of(secret))).reason == Reason.CREDENTIAL_EXPIRED


def test_a_key_with_a_time_works_until_that_very_moment_and_one_without_for_ever() -> None:
    timed, timeless = some(ApiKey, expire_time=5), some(ApiKey)

    assert credentials._require_working(timed, 4) is timed
    assert credentials._require_working(timeless, 5) is timeless
    with pytest.raises(Refused) as refused:
        credentials._require_working(timed, 5)
    assert refused.value.reason == Reason.CREDENTIAL_EXPIRED


async def test_whom_the_database_was_asked_for_is_known_until_something_is_committed_or_time_is_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = await open_world(tmp_path, inline=False)
    asked: list[object] = []
    read = Database.read

    async def counted(self: Database, work: Any) -> Any:
        asked.append(work)
        return await read(self, work)

    monkeypatch.setattr(Database, "read", counted)
    monkeypatch.setattr(world.clock, "monotonic", lambda: 1.0)
    monkeypatch.setattr(world.clock, "now", lambda: 1)
    secret, key = await world.new_key(world.partner.id, expire_time=3)
    first = await authenticate(world.deps, metadata_of(secret))
    assert await authenticate(world.deps, metadata_of(secret)) is first
    assert len(asked) == 1

    await world.put(world.user)
    assert await authenticate(world.deps, metadata_of(secret)) == first
    assert len(asked) == 2

    monkeypatch.setattr(world.clock, "now", lambda: 2)
    assert (await authenticate(world.deps, metadata_of(secret))).key_id == key.id
    assert len(asked) == 2
    timeless = metadata_of(world.channel_secret)
    assert await authenticate(world.deps, timeless) is await authenticate(world.deps, timeless)
    assert len(asked) == 3

    monkeypatch.setattr(world.clock, "now", lambda: 3)
    assert (await refusal(world, metadata_of(secret))).reason == Reason.CREDENTIAL_EXPIRED
    await world.deps.store.close()


async def test_whoever_is_known_is_not_known_by_another_name(world: World) -> None:
    for named in (world.user.id, world.stranger.id, "", world.user.id):
        principal = await authenticate(world.deps, metadata_of(world.channel_secret, named))
        assert principal.user_id == (named if named == world.user.id else "")
        assert principal.absent == (named == world.stranger.id)


async def test_a_key_of_a_partner_who_is_not_there_is_invalid(world: World) -> None:
    secret, _ = await world.new_key(absent_id("prt"))

    assert (await refusal(world, metadata_of(secret))).reason == Reason.CREDENTIAL_INVALID


async def test_a_suspended_partner_or_bot_is_told_so(world: World) -> None:
    bound, _ = await world.new_key(world.partner.id, bot_id=world.bot.id)
    await world.put(replace(world.bot, state=BotState.SUSPENDED))
    assert (await refusal(world, metadata_of(bound))).reason == Reason.PARTNER_SUSPENDED
    assert (await authenticate(world.deps, metadata_of(world.partner_secret))).partner_id == world.partner.id

    await world.put(replace(world.partner, state=PartnerState.SUSPENDED))

    assert (await refusal(world, metadata_of(world.partner_secret))).reason == Reason.PARTNER_SUSPENDED


async def test_a_channel_speaks_for_its_own_user_only(world: World) -> None:
    own = await authenticate(world.deps, metadata_of(world.channel_secret, world.user.id))
    assert (own.channel_id, own.user_id, own.absent) == (world.channel.id, world.user.id, False)
    nobody = await authenticate(world.deps, metadata_of(world.channel_secret))
    assert (nobody.user_id, nobody.absent) == ("", False)

    strange = [
        await authenticate(world.deps, metadata_of(world.channel_secret, named))
        for named in (world.stranger.id, absent_id("usr"), "usr_x", "' OR 1=1 --", world.bot.id)
    ]

    assert [(principal.user_id, principal.absent) for principal in strange] == [("", True)] * 5


async def test_a_partner_cannot_name_a_user(world: World) -> None:
    principal = await authenticate(world.deps, metadata_of(world.partner_secret, world.user.id))

    assert (principal.user_id, principal.channel_id) == ("", "")


async def test_two_named_users_are_refused(world: World) -> None:
    metadata = [*metadata_of(world.channel_secret, world.user.id), ("comptoir-user", world.stranger.id)]

    assert (await refusal(world, metadata)).reason == Reason.FIELD_INVALID


async def test_a_suspended_user_cannot_act_through_token_or_channel(world: World) -> None:
    token, _ = credentials.issue_token(world.deps, world.user)
    await world.put(replace(world.user, state=UserState.SUSPENDED))

    assert (await refusal(world, metadata_of(token))).reason == Reason.PARTNER_SUSPENDED
    by_channel = await refusal(world, metadata_of(world.channel_secret, world.user.id))
    assert by_channel.reason == Reason.PARTNER_SUSPENDED


async def test_a_token_speaks_for_its_user_for_fifteen_minutes(world: World) -> None:
    token, expire_time = credentials.issue_token(world.deps, world.user)

    assert await authenticate(world.deps, metadata_of(token)) == Principal(
        Caller.USER, user_id=world.user.id, channel_id=world.channel.id, expire_time=expire_time
    )
    assert 0 <= world.clock.now() + 900 * MICROSECONDS - expire_time < 2 * MICROSECONDS
    assert jwt.decode(token, OctKey.import_key(world.deps.vault.signing_key)).claims == {
        "aud": "comptoir",
        "sub": world.user.id,
        "chn": world.channel.id,
        "mode": "test",
        "iat": expire_time // MICROSECONDS - 900,
        "exp": expire_time // MICROSECONDS,
    }

    world.clock.ahead_seconds = 901
    assert (await refusal(world, metadata_of(token))).reason == Reason.CREDENTIAL_EXPIRED


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": "somebody else"},
        {"aud": None},
        {"aud": ["comptoir"]},
        {"mode": "live"},
        {"mode": None},
        {"sub": "usr_unknown"},
        {"sub": None},
        {"sub": 7},
        {"chn": "chn_other"},
        {"chn": None},
        {"exp": None},
        {"exp": "tomorrow"},
        {"exp": 1e20},
        {"key": b"another key of thirty-two bytes!"},
        {"algorithm": "HS512"},
    ],
)
async def test_a_token_that_we_would_not_have_issued_is_invalid(world: World, changes: dict[str, Any]) -> None:
    assert (await refusal(world, metadata_of(signed(world, **changes)))).reason == Reason.CREDENTIAL_INVALID


async def test_an_unsigned_token_is_invalid(world: World) -> None:
    _, claims, _ = signed(world).split(".")

    unsigned = f"eyJhbGciOiJub25lIn0.{claims}."

    assert (await refusal(world, metadata_of(unsigned))).reason == Reason.CREDENTIAL_INVALID


async def test_the_token_that_was_changed_nowhere_is_taken(world: World) -> None:
    assert (await authenticate(world.deps, metadata_of(signed(world)))).user_id == world.user.id


async def test_a_token_of_a_user_who_is_gone_is_invalid(world: World) -> None:
    token, _ = credentials.issue_token(world.deps, new_user(world.channel.id))

    assert (await refusal(world, metadata_of(token))).reason == Reason.CREDENTIAL_INVALID


@pytest.mark.parametrize(
    ("scopes", "scope", "taken"),
    [
        ({"*"}, "refund.write", True),
        ({"refund.write"}, "refund.write", True),
        ({"refund.read"}, "refund.write", False),
        (set(), "refund.write", False),
        (set(), "", True),
        ({"refund"}, "refund.write", False),
    ],
)
def test_a_key_needs_the_scope_of_the_method(scopes: set[str], scope: str, taken: bool) -> None:
    principal = Principal(Caller.PARTNER, partner_id="prt_1", scopes=frozenset(scopes))
    if taken:
        admit(principal, frozenset({Caller.PARTNER}), scope)
        return
    with pytest.raises(Refused) as refused:
        admit(principal, frozenset({Caller.PARTNER}), scope)
    assert (refused.value.reason, refused.value.metadata) == (Reason.SCOPE_MISSING, {"scope": scope})


def test_whom_a_method_is_not_for_is_told_for_whom_it_is() -> None:
    with pytest.raises(Refused) as refused:
        admit(Principal(Caller.USER, absent=True), frozenset({Caller.PARTNER, Caller.OPERATOR}), "refund.write")

    assert (refused.value.reason, refused.value.metadata) == (Reason.SCOPE_MISSING, {"scope": "refund.write"})
    assert refused.value.message == "A user credential may not call this; it is for: operator, partner."


async def test_a_token_works_until_the_very_moment_at_which_it_stops(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    token, expire_time = credentials.issue_token(world.deps, world.user)

    monkeypatch.setattr(world.clock, "now", lambda: expire_time - 1)
    assert credentials._verified(world.deps, token) == (world.user.id, world.channel.id, expire_time)
    monkeypatch.setattr(world.clock, "now", lambda: expire_time)
    with pytest.raises(Refused) as refused:
        credentials._verified(world.deps, token)
    assert refused.value.reason == Reason.CREDENTIAL_EXPIRED


async def test_a_text_that_is_too_long_for_a_token_is_not_even_verified(world: World) -> None:
    texts = [f"{'a' * (length - 4)}.b.c" for length in (2048, 2049)]
    refusals = [await refusal(world, metadata_of(text)) for text in [*texts, "a.b", "a.b.c.d"]]

    neither = "The credential is not valid. It is neither a key nor a token."
    assert [one.message for one in refusals] == [
        "The credential is not valid. The token is not one of ours.", neither, neither, neither
    ]  # fmt: skip


async def test_permission_is_checked_before_existence(world: World) -> None:
    create = partner_pb2.CreateChannelRequest(request_id="r1", display_name="Web")
    foreign = world.stranger.id

    assert reason_of(await failure_of(world.call("CreateChannel", create, world.channel_secret, user_id=foreign))) == (
        "SCOPE_MISSING"
    )
    wallets = wallet_pb2.ListWalletsRequest()
    assert reason_of(await failure_of(world.call("ListWallets", wallets, world.channel_secret, user_id=foreign))) == (
        "NOT_FOUND"
    )
    token, _ = credentials.issue_token(world.deps, world.user)
    capture = checkout_pb2.CreateCheckoutRequest()
    assert reason_of(await failure_of(world.call("CreateCheckout", capture, token))) == "SCOPE_MISSING"


async def test_a_foreign_user_and_an_absent_one_get_the_same_bytes(world: World) -> None:
    wallets = wallet_pb2.ListWalletsRequest()
    answers = [
        await failure_of(world.call("ListWallets", wallets, world.channel_secret, user_id=user_id))
        for user_id in (world.stranger.id, absent_id("usr"))
    ]

    assert answers[0].status == answers[1].status
    assert answers[0].code == answers[1].code == 5


def test_secrets_are_all_different_well_formed_and_spread_over_the_alphabet() -> None:
    runtime = Runtime()
    secrets = {credentials.new_secret(runtime, "live") for _ in range(300)}

    assert len(secrets) == 300
    assert {len(secret) for secret in secrets} == {len("cmp_live_") + 36}
    assert all(secret.startswith("cmp_live_") for secret in secrets)
    assert len(set("".join(secret[9:39] for secret in secrets))) == 62


def test_a_secret_is_made_of_bytes_that_give_no_character_more_often_than_another() -> None:
    drawn = [bytes([248, 249, 255, *range(27)]), bytes([*range(27, 54), 59, 60, 61])]

    class Scripted(Runtime):
        def random_bytes(self, count: int) -> bytes:
            assert count == 30
            return drawn.pop(0)

    assert credentials.new_secret(Scripted(), "test") == "cmp_test_0123456789ABCDEFGHIJKLMNOPQRST0TsuaZ"
    assert drawn == []
    drawn = [bytes([61, 62, 123, 124, 185, 186, 247, *[1] * 23])]
    assert credentials.new_secret(Scripted(), "live") == "cmp_live_z0z0z0z111111111111111111111112f827z"
    assert drawn == []


def test_a_hint_tells_keys_apart_and_keeps_the_secret() -> None:
    secret = credentials.new_secret(Runtime(), "test")

    assert credentials.hint(secret) == secret[:13]


def test_only_a_keyed_hash_of_a_secret_is_kept() -> None:
    other = Vault(bytes(32), Runtime())
    ours = Vault(MASTER_KEY, Runtime())

    assert credentials.secret_hash(ours, "cmp_test_x") == credentials.secret_hash(ours, "cmp_test_x")
    assert credentials.secret_hash(ours, "cmp_test_x") != credentials.secret_hash(other, "cmp_test_x")


async def test_many_callers_at_once_are_told_apart(world: World) -> None:
    found = await asyncio.gather(
        *(
            authenticate(world.deps, metadata_of(secret))
            for secret in (world.partner_secret, world.operator_secret) * 20
        )
    )

    assert [principal.caller for principal in found] == [Caller.PARTNER, Caller.OPERATOR] * 20
