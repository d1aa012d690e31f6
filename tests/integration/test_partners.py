"""Partners, bots and keys: each sees its own, and no key makes one that is stronger. On both databases."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest

from comptoir_server.app import credentials, partners
from comptoir_server.app.api_keys import SCOPES
from comptoir_server.app.call import CallContext
from comptoir_server.app.partners import BotProfile
from comptoir_server.domain.errors import Reason, Refused
from comptoir_server.domain.ids import is_valid
from comptoir_server.domain.partners import ApiKey, BotState, KeyState, PartnerState
from comptoir_server.runtime import MICROSECONDS
from comptoir_server.store.tables import KEYS
from comptoir_server.transport.policy import methods
from tests.support.databases import database_url
from tests.support.town import Town, open_town

__all__ = ["database_url"]


@pytest.fixture
async def town(database_url: str) -> AsyncIterator[Town]:
    async with open_town(database_url) as made:
        yield made


async def refused(call: Any) -> Refused:
    """The refusal that an awaitable ends in."""
    with pytest.raises(Refused) as refusal:
        await call
    return refusal.value


async def create_key(town: Town, call: CallContext, **fields: Any) -> dict[str, Any]:
    asked: dict[str, Any] = {"owner_id": "", "bot_id": "", "scopes": (), "expire_time": 0} | fields
    return await partners.create_api_key(town.deps, call, **asked)


async def keys_of(town: Town, owner_id: str) -> tuple[ApiKey, ...]:
    call = town.operator("ListApiKeys")
    answer = await partners.list_api_keys(town.deps, call, owner_id=owner_id, page_size=0, page_token="")
    keys: tuple[ApiKey, ...] = answer["api_keys"]
    return keys


@pytest.mark.parametrize("fee", [-1, 3001])
async def test_a_fee_beyond_its_bounds_is_refused(town: Town, fee: int) -> None:
    call = town.operator("CreatePartner")

    refusal = await refused(
        partners.create_partner(town.deps, call, display_name="Air", support_contact="", fee_basis_points=fee)
    )

    assert (refusal.reason, refusal.metadata) == (Reason.FIELD_INVALID, {"field": "fee_basis_points"})


async def test_a_name_of_spaces_is_refused(town: Town) -> None:
    partner = await town.new_partner()

    channel = await refused(partners.create_channel(town.deps, town.operator(), display_name="  "))
    bot = await refused(partners.create_bot(town.deps, town.partner(partner), display_name="\u00a0", greeting=""))

    assert channel.metadata == bot.metadata == {"field": "display_name"}


async def test_the_same_request_makes_one_partner(town: Town) -> None:
    fields: dict[str, Any] = {"display_name": "Comptoir Air", "support_contact": "", "fee_basis_points": 250}

    first = await partners.create_partner(town.deps, town.operator("CreatePartner", request_id="one"), **fields)
    again = await partners.create_partner(town.deps, town.operator("CreatePartner", request_id="one"), **fields)

    assert first == again
    assert first["partner"].state == PartnerState.ACTIVE
    assert (first["partner"].display_name, first["partner"].fee_basis_points) == ("Comptoir Air", 250)


async def test_a_partner_reads_itself_and_an_operator_whom_it_names(town: Town) -> None:
    mine, other = await town.new_partner("Mine"), await town.new_partner("Other")

    assert await partners.get_partner(town.deps, town.partner(mine), partner_id="") == {"partner": mine}
    assert await partners.get_partner(town.deps, town.partner(mine), partner_id=mine.id) == {"partner": mine}
    assert await partners.get_partner(town.deps, town.operator(), partner_id=other.id) == {"partner": other}
    foreign = await refused(partners.get_partner(town.deps, town.partner(mine), partner_id=other.id))
    absent = await refused(partners.get_partner(town.deps, town.operator(), partner_id=town.runtime.new_id("prt")))
    unnamed = await refused(partners.get_partner(town.deps, town.operator(), partner_id=""))
    assert (foreign.reason, absent.reason, unnamed.reason) == (
        Reason.NOT_FOUND,
        Reason.NOT_FOUND,
        Reason.FIELD_INVALID,
    )


async def test_a_bot_goes_from_draft_by_review_to_people(town: Town) -> None:
    partner = await town.new_partner()
    bot = await town.new_bot(partner, live=False)
    mine, operator = town.partner(partner, "SubmitBot"), town.operator("ApproveBot")

    early = await refused(partners.approve_bot(town.deps, operator, bot_id=bot.id))
    submitted = await partners.submit_bot(town.deps, mine, bot_id=bot.id)
    twice = await partners.submit_bot(town.deps, town.partner(partner, "SubmitBot"), bot_id=bot.id)
    approved = await partners.approve_bot(town.deps, operator, bot_id=bot.id)
    back = await refused(partners.submit_bot(town.deps, town.partner(partner, "SubmitBot"), bot_id=bot.id))

    assert bot.state == BotState.DRAFT
    assert early.metadata == {"state": "DRAFT", "allowed": "IN_REVIEW, LIVE, SUSPENDED"}
    assert submitted == twice
    assert (submitted["bot"].state, approved["bot"].state) == (BotState.IN_REVIEW, BotState.LIVE)
    assert back.metadata == {"state": "LIVE", "allowed": "DRAFT, IN_REVIEW"}
    assert await partners.get_bot(town.deps, town.partner(partner), bot_id=bot.id) == approved


async def test_only_a_live_bot_has_a_profile(town: Town) -> None:
    partner, channel = await town.new_partner(), await town.new_channel()
    draft, live = await town.new_bot(partner, live=False), await town.new_bot(partner)

    answer = await partners.get_bot_profile(town.deps, town.channel(channel), bot_id=live.id)
    refusal = await refused(partners.get_bot_profile(town.deps, town.channel(channel), bot_id=draft.id))

    profile = BotProfile(live.id, "Ada", "Comptoir Air", "help@example.com", "Where to?")
    assert answer == {"profile": profile}
    assert refusal.reason == Reason.NOT_FOUND


async def test_a_bot_is_seen_by_its_partner_and_its_own_key_alone(town: Town) -> None:
    mine, other = await town.new_partner("Mine"), await town.new_partner("Other")
    first, second = await town.new_bot(mine), await town.new_bot(mine)
    asked: list[Callable[..., Any]] = [partners.get_bot, partners.submit_bot]

    for use_case in asked:
        for call in (town.partner(other), town.partner(mine, bot=second)):
            assert (await refused(use_case(town.deps, call, bot_id=first.id))).reason == Reason.NOT_FOUND
    assert await partners.get_bot(town.deps, town.partner(mine, bot=first), bot_id=first.id) == {"bot": first}
    assert await partners.get_bot(town.deps, town.operator(), bot_id=first.id) == {"bot": first}


async def test_a_key_of_one_bot_makes_no_other_bot(town: Town) -> None:
    partner = await town.new_partner()
    call = town.partner(partner, "CreateBot", bot=await town.new_bot(partner))

    refusal = await refused(partners.create_bot(town.deps, call, display_name="Other", greeting=""))

    assert (refusal.reason, refusal.metadata) == (Reason.SCOPE_MISSING, {"scope": "bot.write"})


def test_the_scopes_of_keys_are_those_that_methods_ask_for() -> None:
    assert {method.scope for method in methods() if method.scope} == SCOPES


async def test_a_new_key_works_and_its_secret_is_shown_once(town: Town) -> None:
    partner = await town.new_partner()
    maker = await town.with_key(town.partner(partner, "CreateApiKey", request_id="one"))

    first = await create_key(town, maker)
    again = await create_key(town, maker)
    principal = await credentials.authenticate(town.deps, [("authorization", f"Bearer {first['secret']}")])

    key = first["api_key"]
    assert again == {"api_key": key, "secret": ""}
    assert (key.owner_id, key.bot_id, key.scopes, key.state) == (partner.id, "", ("*",), KeyState.ACTIVE)
    assert first["secret"].startswith(key.hint)
    assert len(key.hint) == 13
    assert (principal.partner_id, principal.key_id) == (partner.id, key.id)


async def test_a_key_makes_none_stronger_than_itself(town: Town) -> None:
    partner = await town.new_partner()
    mine, other = await town.new_bot(partner), await town.new_bot(partner)
    soon, later = town.runtime.now() + 60 * MICROSECONDS, town.runtime.now() + 120 * MICROSECONDS
    scopes = ("key.write", "bot.read")
    maker = await town.with_key(town.partner(partner, "CreateApiKey", bot=mine), *scopes, expire_time=soon)
    before = await keys_of(town, partner.id)

    refusals = [
        await refused(create_key(town, maker, scopes=("refund.write", "session.write"))),
        await refused(create_key(town, maker, scopes=("*",))),
        await refused(create_key(town, maker, bot_id=other.id)),
        await refused(create_key(town, maker, expire_time=later)),
    ]
    assert await keys_of(town, partner.id) == before
    answer = await create_key(town, maker)

    assert [(refusal.reason, refusal.metadata) for refusal in refusals] == [
        (Reason.SCOPE_MISSING, {"scope": "refund.write"}),
        (Reason.SCOPE_MISSING, {"scope": "*"}),
        (Reason.NOT_FOUND, {}),
        (Reason.FIELD_INVALID, {"field": "expire_time"}),
    ]
    made = answer["api_key"]
    assert (made.bot_id, made.scopes, made.expire_time) == (mine.id, ("bot.read", "key.write"), soon)


async def test_a_partner_makes_keys_for_itself_and_its_bots_that_end_when_it_likes(town: Town) -> None:
    partner = await town.new_partner()
    bot, soon = await town.new_bot(partner), town.runtime.now() + 60 * MICROSECONDS
    maker = await town.with_key(town.partner(partner, "CreateApiKey"))
    bound = await town.with_key(town.partner(partner, "CreateApiKey", bot=bot), expire_time=soon)

    async def make(call: CallContext, request_id: str, **fields: Any) -> ApiKey:
        key: ApiKey = (await create_key(town, replace(call, request_id=request_id), **fields))["api_key"]
        return key

    named = await make(maker, "named", owner_id=partner.id, expire_time=soon)
    of_bot = await make(maker, "bot", bot_id=bot.id)
    alike = await make(bound, "alike", bot_id=bot.id, expire_time=soon)

    assert (named.owner_id, named.bot_id, named.expire_time) == (partner.id, "", soon)
    assert (of_bot.owner_id, of_bot.bot_id, of_bot.expire_time) == (partner.id, bot.id, 0)
    assert (alike.owner_id, alike.bot_id, alike.expire_time) == (partner.id, bot.id, soon)
    assert is_valid("key", named.id)
    refusal = await refused(make(maker, "no", scopes=("b.unknown", "a.unknown")))
    assert refusal.message.startswith("scopes: a.unknown is no scope.")


async def test_a_key_ends_those_of_its_bot_and_one_of_the_whole_partner_ends_any(town: Town) -> None:
    partner = await town.new_partner()
    mine, other = await town.new_bot(partner), await town.new_bot(partner)
    keys = [await town.with_key(town.partner(partner, bot=bot)) for bot in (mine, mine, other, other)]

    async def revoke(call: CallContext, key: CallContext) -> KeyState:
        answer = await partners.revoke_api_key(town.deps, call, api_key_id=key.key_id)
        state: KeyState = answer["api_key"].state
        return state

    assert await revoke(town.partner(partner, "RevokeApiKey", bot=mine), keys[1]) == KeyState.REVOKED
    assert await revoke(town.partner(partner, "RevokeApiKey"), keys[2]) == KeyState.REVOKED
    assert (await refused(revoke(town.partner(partner, "RevokeApiKey", bot=mine), keys[3]))).reason == Reason.NOT_FOUND


async def test_a_key_is_made_for_who_is_there_and_ones_own(town: Town) -> None:
    mine, other, channel = await town.new_partner("Mine"), await town.new_partner("Other"), await town.new_channel()
    foreign_bot = await town.new_bot(other)
    partner, operator = await town.with_key(town.partner(mine)), await town.with_key(town.operator())

    refusals = [
        await refused(create_key(town, partner, owner_id=other.id)),
        await refused(create_key(town, partner, bot_id=foreign_bot.id)),
        await refused(create_key(town, operator, owner_id=town.runtime.new_id("prt"))),
        await refused(create_key(town, operator, owner_id=channel.id, bot_id=foreign_bot.id)),
        await refused(create_key(town, operator)),
        await refused(create_key(town, operator, owner_id=channel.id, scopes=("bot.read",))),
        await refused(create_key(town, operator, owner_id=mine.id, scopes=("bot.reed",))),
        await refused(create_key(town, operator, owner_id=mine.id, expire_time=1)),
    ]
    made = await create_key(town, operator, owner_id=channel.id)

    assert [refusal.metadata.get("field", refusal.reason) for refusal in refusals] == [
        "NOT_FOUND",
        "NOT_FOUND",
        "NOT_FOUND",
        "NOT_FOUND",
        "owner_id",
        "scopes",
        "scopes",
        "expire_time",
    ]
    assert await keys_of(town, channel.id) == (made["api_key"],)
    assert await keys_of(town, other.id) == ()


async def test_a_key_that_was_revoked_meanwhile_makes_none(town: Town) -> None:
    partner = await town.new_partner()
    maker = await town.with_key(town.partner(partner, "CreateApiKey"))
    await partners.revoke_api_key(town.deps, town.partner(partner, "RevokeApiKey"), api_key_id=maker.key_id)

    refusal = await refused(create_key(town, maker))

    assert refusal.reason == Reason.CREDENTIAL_INVALID
    assert [key.id for key in await keys_of(town, partner.id)] == [maker.key_id]


async def test_a_revoked_key_stops_working_and_stays_revoked(town: Town) -> None:
    partner = await town.new_partner()
    answer = await create_key(town, await town.with_key(town.partner(partner, "CreateApiKey")))
    key_id = answer["api_key"].id

    revoked = await partners.revoke_api_key(town.deps, town.partner(partner, "RevokeApiKey"), api_key_id=key_id)
    again = await partners.revoke_api_key(town.deps, town.operator("RevokeApiKey"), api_key_id=key_id)
    refusal = await refused(credentials.authenticate(town.deps, [("authorization", f"Bearer {answer['secret']}")]))

    assert revoked["api_key"].state == KeyState.REVOKED
    assert again == revoked
    assert refusal.reason == Reason.CREDENTIAL_INVALID


async def test_nobody_revokes_or_lists_the_keys_of_others(town: Town) -> None:
    mine, other = await town.new_partner("Mine"), await town.new_partner("Other")
    bot = await town.new_bot(mine)
    free, bound = await town.with_key(town.partner(mine)), await town.with_key(town.partner(mine, bot=bot))

    for call in (town.partner(other), bound):
        assert (await refused(partners.revoke_api_key(town.deps, call, api_key_id=free.key_id))).reason == (
            Reason.NOT_FOUND
        )
    stranger = await refused(
        partners.list_api_keys(town.deps, town.partner(other), owner_id=mine.id, page_size=0, page_token="")
    )
    shown = await partners.list_api_keys(town.deps, bound, owner_id="", page_size=0, page_token="")

    assert stranger.reason == Reason.NOT_FOUND
    assert [key.id for key in shown["api_keys"]] == [bound.key_id]
    stored = await town.deps.store.read(lambda tx: tx.load(KEYS.get(free.key_id)))
    assert stored is not None
    assert stored.state == KeyState.ACTIVE


async def test_keys_come_page_by_page_newest_first(town: Town) -> None:
    partner = await town.new_partner()
    made = [(await town.with_key(town.partner(partner))).key_id for _ in range(5)]
    call = town.partner(partner, "ListApiKeys")

    seen: list[str] = []
    token = ""
    for _ in range(3):
        page = await partners.list_api_keys(town.deps, call, owner_id="", page_size=2, page_token=token)
        seen += [key.id for key in page["api_keys"]]
        token = page["next_page_token"]

    assert seen == sorted(made, reverse=True)
    assert token == ""


@pytest.mark.parametrize("token", ["AAAA", "é", "a", "~~~~", "cHJ0X35hYmM"])
async def test_a_page_token_that_was_not_given_is_refused(town: Town, token: str) -> None:
    call = town.partner(await town.new_partner(), "ListApiKeys")

    refusal = await refused(partners.list_api_keys(town.deps, call, owner_id="", page_size=2, page_token=token))

    assert (refusal.reason, refusal.metadata) == (Reason.FIELD_INVALID, {"field": "page_token"})
