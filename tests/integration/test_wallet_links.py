"""Linking a wallet: whoever approves decides whose it is, and nobody gets one that they did not approve."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from comptoir_server.app import wallets
from comptoir_server.app.provider_tokens import revoke_tokens
from comptoir_server.domain.errors import Reason
from comptoir_server.domain.wallets import LinkState, WalletState
from comptoir_server.store.tables import WALLETS
from tests.support.linking import (
    World,
    approve,
    code_in,
    nonce_in,
    open_world,
    press_continue,
    refusal,
)


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with open_world(database_url) as opened:
        yield opened


async def test_a_link_that_nobody_approved_takes_no_code(world: World) -> None:
    ana = await world.person()
    link_id, _ = await ana.start()

    refused = await refusal(ana.confirm(link_id, "22222222"))

    assert refused.reason == Reason.INVALID_STATE
    assert refused.metadata == {"state": "PENDING_APPROVAL", "allowed": "PENDING_CONFIRMATION"}
    assert await world.rows(WALLETS) == []
    assert (await world.link(link_id)).tries == 0


async def test_a_person_who_begins_approves_and_types_the_code_has_a_wallet(world: World) -> None:
    ana = await world.person()
    link_id, link_url = await ana.start()
    async with world.browser() as browser:
        back = await approve(world, browser, link_url)
        assert (back.status_code, back.headers["location"]) == (303, link_url)
        page = await browser.get(link_url)

    answer = await ana.confirm(link_id, code_in(page))

    [wallet] = await ana.wallets()
    assert answer["wallet_link"].wallet_link.state == LinkState.COMPLETED
    assert answer["wallet_link"].wallet_link.wallet_id == wallet.id
    assert (wallet.state, wallet.label, wallet.provider) == (WalletState.ACTIVE, "p•••@example.com", "paypal")
    assert answer["wallet"].is_default
    assert await ana.default_wallet_id() == wallet.id
    [token] = world.provider.tokens
    assert world.deps.vault.open_token(wallet.id, wallet.token_sealed) == token
    assert wallet.token_hash == world.deps.vault.hash("provider token", token)
    link = await world.link(link_id)
    assert (link.token_sealed, link.code_hash, link.revoke_time) == (b"", "", 0)
    assert await world.events() == [
        "wallet_link.started",
        "wallet_link.approved",
        "wallet_link.completed",
        "wallet.linked",
    ]


# Stealing an approval.


async def test_a_victim_who_opens_the_attackers_link_keeps_the_code(world: World) -> None:
    mallory = await world.person("Mallory")
    link_id, link_url = await mallory.start()
    async with world.browser() as victim, world.browser() as attacker:
        invitation = await victim.get(link_url)
        assert "Mallory" in invitation.text
        assert "Harbour Chat" in invitation.text
        await approve(world, victim, link_url)
        assert code_in(await victim.get(link_url)) != ""
        seen = await attacker.get(link_url)

    assert (seen.status_code, code_in(seen)) == (403, "")
    assert "Mallory" not in seen.text
    for left in (4, 3, 2, 1, 0):
        refused = await refusal(mallory.confirm(link_id, "22222222"))
        assert (refused.reason, refused.metadata) == (Reason.CONFIRMATION_CODE_WRONG, {"tries_left": str(left)})
    assert (await refusal(mallory.confirm(link_id, "22222222"))).reason == Reason.INVALID_STATE
    assert (await world.link(link_id)).state == LinkState.FAILED
    assert await revoke_tokens(world.deps) == 1
    assert world.provider.tokens == {}
    assert await mallory.wallets() == []


async def test_an_attacker_who_continues_himself_cannot_fetch_what_the_victim_approved(world: World) -> None:
    mallory = await world.person("Mallory")
    link_id, link_url = await mallory.start()
    async with world.browser() as attacker, world.browser() as victim:
        reference = await press_continue(attacker, link_url)
        return_url = world.provider.approve(reference, account="victim@example.com")
        for guess in ("", "?state=", "?state=x", f"?state=é&token={reference}", f"?approval_token_id={reference}"):
            fetched = await attacker.get(f"{link_url}/return{guess}")
            assert code_in(fetched) == ""
        assert world.provider.tokens == {}

        landed = await victim.get(return_url)
        assert (landed.status_code, code_in(landed)) == (403, "")
        assert "Mallory" not in landed.text
        assert "set-cookie" not in landed.headers
        assert (await world.link(link_id)).state == LinkState.FAILED
        after = await attacker.get(return_url)

    assert (after.status_code, code_in(after)) == (410, "")
    assert world.provider.tokens == {}
    assert (await refusal(mallory.confirm(link_id, "22222222"))).reason == Reason.INVALID_STATE
    assert await mallory.wallets() == []


async def test_a_return_address_that_leaked_is_spent_by_whoever_visits_it_too_early(world: World) -> None:
    mallory = await world.person("Mallory")
    link_id, link_url = await mallory.start()
    async with world.browser() as attacker:
        reference = await press_continue(attacker, link_url)
        return_url = world.provider.link(reference).return_url
        early = await attacker.get(return_url)
        assert early.status_code == 410
        world.provider.approve(reference, account="victim@example.com")
        late = await attacker.get(return_url)

    assert code_in(late) == ""
    assert (await world.link(link_id)).state == LinkState.FAILED
    assert world.provider.tokens == {}


async def test_an_approver_who_comes_back_elsewhere_ends_a_link_whose_code_was_already_shown(world: World) -> None:
    mallory = await world.person("Mallory")
    link_id, link_url = await mallory.start()
    async with world.browser() as attacker, world.browser() as victim:
        reference = await press_continue(attacker, link_url)
        return_url = world.provider.approve(reference, account="victim@example.com")
        await attacker.get(return_url)
        code = code_in(await attacker.get(link_url))
        assert code
        await victim.get(return_url)

    assert (await refusal(mallory.confirm(link_id, code))).reason == Reason.INVALID_STATE
    assert await revoke_tokens(world.deps) == 1
    assert world.provider.tokens == {}


async def test_a_form_that_another_site_sends_binds_nothing(world: World) -> None:
    mallory = await world.person("Mallory")
    link_id, link_url = await mallory.start()
    async with world.browser() as attacker, world.browser() as victim:
        nonce = nonce_in(await attacker.get(link_url))
        without_cookie = await victim.post(f"{link_url}/continue", data={"nonce": nonce})
        await victim.get(link_url)
        with_foreign_nonce = await victim.post(f"{link_url}/continue", data={"nonce": nonce})
        with_odd_nonce = await victim.post(f"{link_url}/continue", data={"nonce": "é"})

    assert [r.status_code for r in (without_cookie, with_foreign_nonce, with_odd_nonce)] == [403, 403, 403]
    assert (await world.link(link_id)).browser_hash == ""
    assert world.provider.links == {}


async def test_only_the_first_browser_that_continues_may_go_on(world: World) -> None:
    ana = await world.person()
    _, link_url = await ana.start()
    async with world.browser() as first, world.browser() as second:
        page = await second.get(link_url)
        reference = await press_continue(first, link_url)
        refused = await second.post(f"{link_url}/continue", data={"nonce": nonce_in(page)})
        assert refused.status_code == 403
        assert "location" not in refused.headers
        assert await press_continue(first, link_url) == reference

    assert len(world.provider.links) == 1


async def test_the_reference_of_another_approval_is_never_exchanged(world: World) -> None:
    ana, mallory = await world.person("Ana"), await world.person("Mallory")
    _, mallorys = await mallory.start()
    link_id, link_url = await ana.start()
    async with world.browser() as attacker, world.browser() as browser:
        foreign = await press_continue(attacker, mallorys)
        world.provider.approve(foreign, account="mallory@example.com")
        reference = await press_continue(browser, link_url)
        return_url = world.provider.approve(reference, account="ana@example.com")
        await browser.get(f"{return_url}&token={foreign}&approval_token_id={foreign}")
        code = code_in(await browser.get(link_url))

    await ana.confirm(link_id, code)
    [wallet] = await ana.wallets()
    assert wallet.label == "a•••@example.com"
    assert list(world.provider.tokens.values()) == ["ana@example.com"]


# The code.


async def test_a_reload_shows_the_same_code_and_exchanges_nothing_again(world: World) -> None:
    ana = await world.person()
    _, link_url = await ana.start()
    async with world.browser() as browser:
        reference = await press_continue(browser, link_url)
        return_url = world.provider.approve(reference)
        await browser.get(return_url)
        first = code_in(await browser.get(link_url))
        assert (await browser.get(return_url)).status_code == 303
        assert code_in(await browser.get(link_url)) == first

    assert len(first) == 9
    assert [method for method, _ in world.provider.calls].count("complete_link") == 1


async def test_case_spaces_and_hyphens_of_a_code_do_not_matter(world: World) -> None:
    ana = await world.person()
    link_id, link_url = await ana.start()
    async with world.browser() as browser:
        await approve(world, browser, link_url)
        code = code_in(await browser.get(link_url))

    await ana.confirm(link_id, f" {code.lower()[:2]} - {code.lower()[2:]} ")

    assert len(await ana.wallets()) == 1


async def test_a_wrong_code_is_counted_and_the_right_one_still_works(world: World) -> None:
    ana = await world.person()
    link_id, link_url = await ana.start()
    async with world.browser() as browser:
        await approve(world, browser, link_url)
        code = code_in(await browser.get(link_url))
    for _ in range(4):
        await refusal(ana.confirm(link_id, "2222-2222"))

    answer = await ana.confirm(link_id, code)

    assert answer["wallet_link"].wallet_link.tries == 4
    assert answer["wallet_link"].wallet_link.state == LinkState.COMPLETED


async def test_a_confirmation_sent_twice_makes_one_wallet_and_one_answer(world: World) -> None:
    ana = await world.person()
    link_id, link_url = await ana.start()
    async with world.browser() as browser:
        await approve(world, browser, link_url)
        code = code_in(await browser.get(link_url))

    first, second = await asyncio.gather(ana.confirm(link_id, code, "once"), ana.confirm(link_id, code, "once"))

    assert first == second
    assert len(await ana.wallets()) == 1
    assert (await refusal(ana.confirm(link_id, code))).metadata["state"] == "COMPLETED"


async def test_another_persons_link_looks_absent(world: World) -> None:
    ana, mallory = await world.person("Ana"), await world.person("Mallory")
    link_id, link_url = await ana.start()
    async with world.browser() as browser:
        await approve(world, browser, link_url)
        code = code_in(await browser.get(link_url))
    absent = await refusal(mallory.confirm(world.id("wlk"), code))

    foreign = [
        await refusal(mallory.confirm(link_id, code)),
        await refusal(mallory.cancel(link_id)),
        await refusal(
            wallets.get_wallet_link(world.deps, mallory.call("GetWalletLink"), wallet_link_id=link_id),
        ),
    ]

    assert {(r.reason, r.message) for r in foreign} == {(Reason.NOT_FOUND, absent.message)}
    link = await world.link(link_id)
    assert (link.state, link.tries) == (LinkState.PENDING_CONFIRMATION, 0)
