"""How wallet links begin and end: what is kept, what the session shows, and that no token outlives its link."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from comptoir_server.app import link_approvals
from comptoir_server.app.call import CallContext, Caller
from comptoir_server.app.checkouts import ItemOrder, create_checkout
from comptoir_server.app.provider_tokens import revoke_tokens
from comptoir_server.app.wallet_links import expire_wallet_links
from comptoir_server.domain.cards import CheckoutCard, NoticeCard, NoticeKind, WalletLinkCard
from comptoir_server.domain.checkouts import CaptureMode
from comptoir_server.domain.errors import Reason, Refused
from comptoir_server.domain.money import Money
from comptoir_server.domain.wallets import LinkState
from comptoir_server.runtime import MICROSECONDS, arm_faults
from comptoir_server.store.tables import WALLET_LINKS
from tests.support.linking import (
    MINUTE,
    Person,
    World,
    approve,
    code_in,
    nonce_in,
    open_world,
    press_continue,
    refusal,
    secret_of,
)


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with open_world(database_url) as opened:
        yield opened


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


async def test_a_token_that_comes_after_the_deletion_was_done_is_deleted_too(world: World) -> None:
    ana = await world.person()
    link_id, link_url = await ana.start()
    async with world.browser() as browser:
        reference = await press_continue(browser, link_url)
        back = world.provider.approve(reference)
        gate = world.provider.hold("complete_link")
        coming_back = asyncio.create_task(browser.get(back))
        while not world.provider.tokens:
            await asyncio.sleep(0.001)
        await ana.cancel(link_id)
        world.provider.let_through("complete_link")
        assert await revoke_tokens(world.deps) == 1
        assert (await world.link(link_id)).revoke_time == 0
        gate.set()
        await coming_back

    link = await world.link(link_id)
    assert (link.state, link.revoke_time > 0) == (LinkState.CANCELED, True)
    assert await revoke_tokens(world.deps) == 1
    link = await world.link(link_id)
    assert (link.token_sealed, link.revoke_time, world.provider.tokens) == (b"", 0, {})


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


async def test_the_address_and_the_code_are_kept_nowhere_and_a_replay_does_not_tell_them(
    world: World, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(0)
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
    ours = [record.getMessage() for record in caplog.records if record.name != "httpx"]  # the test's own browser
    written = "".join(capfd.readouterr()) + "\n".join(ours)

    assert replayed == (link_id, "")
    [token] = world.provider.tokens
    proof = return_url.partition("state=")[2].partition("&")[0]
    for secret in (secret_of(link_url), code, code.replace("-", ""), cookie, token, proof):
        assert secret not in before
        assert secret not in after
        assert secret not in written
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
