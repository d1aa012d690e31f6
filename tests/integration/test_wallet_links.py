"""Linking a wallet: whoever approves decides whose it is, and nobody gets one that they did not approve."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from comptoir_server.app import link_approvals, wallets
from comptoir_server.app.call import CallContext, Caller
from comptoir_server.app.checkouts import ItemOrder, create_checkout
from comptoir_server.app.provider_tokens import revoke_tokens
from comptoir_server.app.wallet_links import expire_wallet_links
from comptoir_server.domain.cards import CheckoutCard, NoticeCard, NoticeKind, WalletLinkCard
from comptoir_server.domain.checkouts import CaptureMode
from comptoir_server.domain.errors import Reason, Refused
from comptoir_server.domain.money import Money
from comptoir_server.domain.wallets import LinkState, WalletState
from comptoir_server.runtime import MICROSECONDS, arm_faults
from comptoir_server.store.tables import WALLET_LINKS, WALLETS
from tests.support.linking import (
    MINUTE,
    Person,
    World,
    approve,
    code_in,
    nonce_in,
    open_world,
    press_continue,
    secret_of,
)


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with open_world(database_url) as opened:
        yield opened


async def refusal(awaitable: object) -> Refused:
    with pytest.raises(Refused) as caught:
        await awaitable  # type: ignore[misc]
    return caught.value


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


# The end of a link, and of its token.


async def test_an_expired_link_takes_no_code_and_deletes_its_token(world: World) -> None:
    ana = await world.person()
    link_id, link_url = await ana.start()
    async with world.browser() as browser:
        await approve(world, browser, link_url)
        code = code_in(await browser.get(link_url))
        world.runtime.advance(10 * MINUTE)
        assert (await browser.get(link_url)).status_code == 410

    assert (await refusal(ana.confirm(link_id, code))).metadata["state"] == "EXPIRED"
    assert (await refusal(ana.confirm(link_id, code))).metadata["state"] == "EXPIRED"
    assert await expire_wallet_links(world.deps) == 0
    assert await revoke_tokens(world.deps) == 1
    assert world.provider.tokens == {}
    assert await ana.wallets() == []


async def test_an_unconfirmed_link_ends_after_ten_minutes_and_deletes_its_token(world: World) -> None:
    ana = await world.person()
    unopened, _ = await ana.start()
    approved, link_url = await ana.start()
    async with world.browser() as browser:
        await approve(world, browser, link_url)
    assert await expire_wallet_links(world.deps) == 0
    world.runtime.advance(10 * MINUTE)

    assert await expire_wallet_links(world.deps) == 2
    assert await expire_wallet_links(world.deps) == 0
    assert await revoke_tokens(world.deps) == 1
    assert await revoke_tokens(world.deps) == 0

    assert [(await world.link(i)).state for i in (unopened, approved)] == [LinkState.EXPIRED, LinkState.EXPIRED]
    assert (await world.link(approved)).token_sealed == b""
    assert (world.provider.tokens, len(world.provider.deleted)) == ({}, 1)
    assert (await world.events()).count("wallet_link.expired") == 2


async def test_cancelling_in_the_chat_deletes_the_token_and_can_be_repeated(world: World) -> None:
    ana = await world.person()
    link_id, link_url = await ana.start()
    async with world.browser() as browser:
        await approve(world, browser, link_url)
        await ana.cancel(link_id)
        await ana.cancel(link_id)
        page = await browser.get(link_url)

    assert code_in(page) == ""
    assert await revoke_tokens(world.deps) == 1
    assert world.provider.tokens == {}
    assert (await world.events()).count("wallet_link.canceled") == 1


async def test_cancelling_at_the_provider_counts_only_in_the_browser_that_began(world: World) -> None:
    ana = await world.person()
    link_id, link_url = await ana.start()
    async with world.browser() as browser, world.browser() as other:
        await press_continue(browser, link_url)
        assert (await other.get(f"{link_url}/cancel")).status_code == 403
        assert (await world.link(link_id)).state == LinkState.PENDING_APPROVAL
        assert (await browser.get(f"{link_url}/cancel")).status_code == 200

    assert (await world.link(link_id)).state == LinkState.CANCELED


async def test_a_crash_between_the_exchange_and_its_storing_still_deletes_the_token(world: World) -> None:
    class Crash(BaseException):
        """The process is gone."""

    def strike(name: str) -> None:
        if name == "link.exchanged":
            raise Crash

    ana = await world.person()
    link_id, link_url = await ana.start()
    async with world.browser() as browser:
        reference = await press_continue(browser, link_url)
        cookie = browser.cookies["__Host-comptoir-link"]
    proof = world.provider.approve(reference).partition("state=")[2].partition("&")[0]
    arm_faults(strike)
    try:
        with pytest.raises(Crash):
            await link_approvals.return_to_link(world.deps, secret_of(link_url), cookie, proof)
    finally:
        arm_faults(None)
    assert (await world.link(link_id)).token_sealed == b""
    assert len(world.provider.tokens) == 1
    world.runtime.advance(10 * MINUTE)

    assert await expire_wallet_links(world.deps) == 1
    assert await revoke_tokens(world.deps) == 1

    assert (world.provider.tokens, len(world.provider.deleted)) == ({}, 1)


async def test_an_exchange_whose_answer_was_lost_is_taken_up_again_by_a_reload(world: World) -> None:
    ana = await world.person()
    link_id, link_url = await ana.start()
    world.provider.fail("complete_link", after=True)
    async with world.browser() as browser:
        reference = await press_continue(browser, link_url)
        return_url = world.provider.approve(reference)
        assert (await browser.get(return_url)).status_code == 503
        assert (await browser.get(return_url)).status_code == 303
        code = code_in(await browser.get(link_url))

    await ana.confirm(link_id, code)

    assert len(world.provider.tokens) == 1


async def test_a_provider_that_cannot_be_reached_leaves_the_button_in_place(world: World) -> None:
    ana = await world.person()
    _, link_url = await ana.start()
    world.provider.fail("begin_link")
    async with world.browser() as browser:
        page = await browser.get(link_url)
        silent = await browser.post(f"{link_url}/continue", data={"nonce": nonce_in(page)})
        assert silent.status_code == 503
        again = await browser.post(f"{link_url}/continue", data={"nonce": nonce_in(silent)})

    assert again.status_code == 303


async def test_a_link_that_is_cancelled_during_its_exchange_deletes_the_token(world: World) -> None:
    ana = await world.person()
    link_id, link_url = await ana.start()
    gate = world.provider.hold("complete_link")
    async with world.browser() as browser:
        reference = await press_continue(browser, link_url)
        coming_back = asyncio.create_task(browser.get(world.provider.approve(reference)))
        while not world.provider.tokens:
            await asyncio.sleep(0.001)
        await ana.cancel(link_id)
        gate.set()
        page = await coming_back

    assert (page.status_code, code_in(page)) == (200, "")
    assert (await world.link(link_id)).state == LinkState.CANCELED
    assert await revoke_tokens(world.deps) == 1
    assert (world.provider.tokens, (await world.link(link_id)).token_sealed) == ({}, b"")


async def test_coming_back_twice_at_once_is_one_exchange_and_one_code(world: World) -> None:
    ana = await world.person()
    link_id, link_url = await ana.start()
    async with world.browser() as browser:
        return_url = world.provider.approve(await press_continue(browser, link_url))
        answers = await asyncio.gather(*(browser.get(return_url) for _ in range(4)))
        code = code_in(await browser.get(link_url))

    assert {answer.status_code for answer in answers} == {303}
    await ana.confirm(link_id, code)
    assert len(world.provider.tokens) == 1
    assert (await world.events()).count("wallet_link.approved") == 1


async def test_a_deletion_that_fails_is_tried_again_on_its_schedule(world: World) -> None:
    ana = await world.person()
    link_id, link_url = await ana.start()
    async with world.browser() as browser:
        await approve(world, browser, link_url)
    await ana.cancel(link_id)
    world.provider.fail("revoke_link", times=6)
    waits = []
    for _ in range(6):
        assert await revoke_tokens(world.deps) == 0
        due = (await world.link(link_id)).revoke_time
        waits.append(round((due - world.runtime.now()) / MICROSECONDS / MINUTE))
        assert await revoke_tokens(world.deps) == 0
        world.runtime.ahead += due - world.runtime.now() + 1

    assert waits == [1, 5, 30, 60, 60, 60]
    assert await revoke_tokens(world.deps) == 1
    assert world.provider.tokens == {}
    assert [method for method, _ in world.provider.calls].count("revoke_link") == 7


async def test_two_links_at_once_make_two_wallets_and_one_default(world: World) -> None:
    ana = await world.person()
    (one, one_url), (two, two_url) = await ana.start(), await ana.start()
    async with world.browser() as browser:
        await approve(world, browser, one_url)
        await approve(world, browser, two_url)
        codes = [code_in(await browser.get(url)) for url in (one_url, two_url)]
    assert codes[0] != codes[1]
    assert (await refusal(ana.confirm(one, codes[1]))).reason == Reason.CONFIRMATION_CODE_WRONG

    answers = await asyncio.gather(ana.confirm(one, codes[0]), ana.confirm(two, codes[1]))

    made = {answer["wallet"].wallet.id for answer in answers}
    assert {wallet.id for wallet in await ana.wallets()} == made
    assert await ana.default_wallet_id() in made


# Starting.


async def test_no_more_than_five_links_of_a_person_are_pending(world: World) -> None:
    ana, ben = await world.person("Ana"), await world.person("Ben")
    started = [await ana.start() for _ in range(5)]

    refused = await refusal(ana.start())

    assert (refused.reason, refused.metadata) == (Reason.LIMIT_EXCEEDED, {"limit": "wallet_links_pending"})
    assert len(await world.rows(WALLET_LINKS)) == 5
    await ben.start()
    await ana.cancel(started[0][0])
    await ana.start()
    world.runtime.advance(10 * MINUTE)
    await ana.start()


async def test_five_starts_at_once_do_not_overrun_the_limit(world: World) -> None:
    ana = await world.person()

    outcomes = await asyncio.gather(*(ana.start() for _ in range(8)), return_exceptions=True)

    assert sum(isinstance(outcome, Refused) for outcome in outcomes) == 3
    assert len(await world.rows(WALLET_LINKS)) == 5


async def test_the_address_and_the_code_are_stored_nowhere_and_a_replay_does_not_tell_them(world: World) -> None:
    ana = await world.person()
    link_id, link_url = await ana.start(ana.session_id, "once")
    async with world.browser() as browser:
        reference = await press_continue(browser, link_url)
        return_url = world.provider.approve(reference)
        await browser.get(return_url)
        code = code_in(await browser.get(link_url))
        cookie = browser.cookies["__Host-comptoir-link"]
    before = await world.everything()
    await ana.confirm(link_id, code)
    after = await world.everything()
    replayed = await ana.start(ana.session_id, "once")

    assert replayed == (link_id, "")
    [token] = world.provider.tokens
    proof = return_url.partition("state=")[2].partition("&")[0]
    for secret in (secret_of(link_url), code, code.replace("-", ""), cookie, token, proof):
        assert secret not in before
        assert secret not in after
    assert len(await world.rows(WALLET_LINKS)) == 1


async def test_the_session_holds_the_invitation_and_then_the_news(world: World) -> None:
    ana = await world.person()
    link_id, link_url = await ana.start(ana.session_id)
    async with world.browser() as browser:
        await approve(world, browser, link_url)
        code = code_in(await browser.get(link_url))
    await ana.confirm(link_id, code)

    card, notice = await ana.contents()

    assert card == WalletLinkCard(link_id, "paypal", link_url, (await world.link(link_id)).expire_time)
    assert isinstance(notice, NoticeCard)
    assert notice.kind == NoticeKind.WALLET_LINKED
    assert "p•••@example.com" in notice.text


async def test_a_foreign_session_cannot_be_named(world: World) -> None:
    ana, mallory = await world.person("Ana"), await world.person("Mallory")

    assert (await refusal(mallory.start(ana.session_id))).reason == Reason.NOT_FOUND
    assert await world.rows(WALLET_LINKS) == []
    assert await ana.contents() == []


async def test_an_open_checkout_is_drawn_again_with_the_new_wallets_button(world: World) -> None:
    ana = await world.person()
    await _checkout(world, ana)
    link_id, link_url = await ana.start(ana.session_id)
    async with world.browser() as browser:
        await approve(world, browser, link_url)
        code = code_in(await browser.get(link_url))

    answer = await ana.confirm(link_id, code, "once")
    await ana.confirm(link_id, code, "once")

    first, *_, last = cards = [content for content in await ana.contents() if isinstance(content, CheckoutCard)]
    assert len(cards) == 2
    assert [(button.wallet_id, button.link_provider) for button in first.buttons] == [("", "paypal")]
    assert [button.wallet_id for button in last.buttons] == [answer["wallet"].wallet.id]


async def _checkout(world: World, person: Person) -> None:
    call = CallContext(
        caller=Caller.PARTNER,
        method="CreateCheckout",
        deadline=world.runtime.monotonic() + 10,
        partner_id=world.partner.id,
        bot_id=world.bot.id,
        request_id="checkout",
    )
    price = Money(24000, "USD")
    await create_checkout(
        world.deps,
        call,
        session_id=person.session_id,
        partner_reference="",
        statement_descriptor="",
        metadata={},
        items=(ItemOrder("Flight CM 417", "", 1, price, price, ""),),
        adjustments=(),
        total=price,
        capture_mode=CaptureMode.AUTOMATIC,
        expire_time=0,
        replaces_checkout_id="",
    )
