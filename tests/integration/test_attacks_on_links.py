"""Stealing a wallet while it is linked: through the real door and pages, at the provider's stand-in.

After each attack nobody has a wallet that they did not approve, nothing was charged, and honest people link as ever.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from comptoir_server.app import link_secrets
from comptoir_server.app.provider_tokens import revoke_tokens
from comptoir_server.domain.wallets import LINK_TRIES, LinkState
from comptoir_server.store.tables import WALLET_LINKS
from tests.access.sides import Side, press_continue
from tests.support.attacks import LABELS, OTHERS, Street, open_street, shows_code, unanswered
from tests.support.linking import code_in, nonce_in

GUESS = "2222-2222"


@pytest.fixture
async def street(sqlite_url: str) -> AsyncIterator[Street]:
    async with open_street(sqlite_url) as made:
        yield made


@dataclass
class Approved:
    """A link that its person approved in their own browser, and the code that they were shown."""

    link: Any
    return_url: str
    code: str


async def approved(street: Street, side: Side, browser: httpx.AsyncClient) -> Approved:
    """Somebody starts a link and approves it, and has not yet typed the code."""
    await side.give_up_links()
    link = await side.start_link()
    return_url = side.approve(await press_continue(browser, link.link_url))
    await browser.get(return_url)
    return Approved(link, return_url, code_in(await browser.get(link.link_url)))


async def state_of(street: Street, link: Any) -> LinkState:
    rows = await street.rows(WALLET_LINKS)
    return next(LinkState(row.state) for row in rows if row.id == link.wallet_link_id)


def approvals(street: Street) -> list[tuple[str, bool]]:
    """What the provider keeps: whose wallets, and whether they were deleted."""
    tokens = street.standin.control("GET", "books")["payment_tokens"]
    return [(token["account"], token["deleted"]) for token in tokens]


async def test_a_page_that_shows_every_browser_the_code_is_noticed(
    street: Street, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two locks are opened for it: whose page it is, and that the code is another one in each browser."""
    monkeypatch.setattr(link_secrets, "is_browser", lambda _vault, _link, _browser: True)
    monkeypatch.setattr(link_secrets, "confirmation_code", lambda _vault, link_id, _browser: link_id[-8:])
    link = await street.mallory.start_link()
    async with street.estate.browser() as attacker, street.estate.browser() as victim:
        reference = await press_continue(attacker, link.link_url)
        await victim.get(street.victim.approve(reference))
        code = code_in(await attacker.get(link.link_url))

    assert (await street.confirm_link(street.mallory, link.wallet_link_id, code)).code == 0
    with pytest.raises(AssertionError):
        await street.require_unharmed()


async def test_a_stolen_code_is_worth_nothing_to_anybody_but_who_started(street: Street) -> None:
    async with street.estate.browser() as browser:
        stolen = await approved(street, street.victim, browser)
    link_id = stolen.link.wallet_link_id

    told = {
        who: unanswered(
            await street.asked(credential, "ConfirmWalletLink", wallet_link_id=link_id, confirmation_code=stolen.code)
        )
        for who, credential in street.everybody_else().items()
    }

    assert told == {
        "another person": "NOT_FOUND",
        "another channel for its person": "NOT_FOUND",
        "another channel for the victim": "NOT_FOUND",
        "the bot": "SCOPE_MISSING",
        "the partner": "SCOPE_MISSING",
        "the operator": "SCOPE_MISSING",
    }
    await street.require_unharmed()
    assert (await street.confirm_link(street.victim, link_id, stolen.code)).code == 0
    await street.require_unharmed(Counter([(street.victim.user_id, LABELS["pays-too"], "ACTIVE")]))


async def test_a_stolen_code_fits_no_other_link_of_the_thief(street: Street) -> None:
    async with street.estate.browser() as browser, street.estate.browser() as thief:
        stolen = await approved(street, street.victim, browser)
        own = await approved(street, street.mallory, thief)

    assert stolen.code != own.code
    reply = await street.confirm_link(street.mallory, own.link.wallet_link_id, stolen.code)

    assert unanswered(reply) == "CONFIRMATION_CODE_WRONG"
    await street.require_unharmed()
    await street.require_links_still_work()


async def test_guessing_ends_the_link_after_five_tries_however_many_are_made_at_once(street: Street) -> None:
    async with street.estate.browser() as victim:
        link = await street.mallory.start_link()
        reference = await press_continue(victim, link.link_url)
        await victim.get(street.victim.approve(reference))

    guesses = [street.confirm_link(street.mallory, link.wallet_link_id, f"2222-22{n:02}") for n in range(22, 62)]
    told = Counter(unanswered(reply) for reply in await asyncio.gather(*guesses))

    assert told == {"CONFIRMATION_CODE_WRONG": LINK_TRIES, "INVALID_STATE": 40 - LINK_TRIES}
    assert await state_of(street, link) == LinkState.FAILED
    assert await revoke_tokens(street.estate.deps) > 0
    assert approvals(street)[-1] == ("pays-too", True)
    await street.require_unharmed()
    await street.require_links_still_work()


async def test_a_stolen_address_that_somebody_else_continues_first_gives_the_victim_nothing_of_theirs(
    street: Street,
) -> None:
    link = await street.victim.start_link()
    async with street.estate.browser() as thief, street.estate.browser() as victim:
        reference = await press_continue(thief, link.link_url)
        await thief.get(street.mallory.approve(reference))
        seen = await victim.get(link.link_url)
        tried = await victim.post(f"{link.link_url}/continue", data={"nonce": "x"})

    assert [(page.status_code, shows_code(page)) for page in (seen, tried)] == [(403, False), (403, False)]
    reply = await street.confirm_link(street.victim, link.wallet_link_id, GUESS)
    assert unanswered(reply) == "CONFIRMATION_CODE_WRONG"
    await street.require_unharmed()
    await street.require_links_still_work()


async def test_a_callback_that_is_slipped_into_another_browser_links_nothing_there(street: Street) -> None:
    """An attacker who approved with his own account wants the victim's chat to pay from it, or to learn who is who."""
    async with street.estate.browser() as victim, street.estate.browser() as attacker:
        own, foreign = await street.victim.start_link(), await street.mallory.start_link()
        reference = await press_continue(victim, own.link_url)
        slipped = street.mallory.approve(await press_continue(attacker, foreign.link_url))

        landed = await victim.get(slipped)

        assert (landed.status_code, shows_code(landed), "set-cookie" in landed.headers) == (403, False, False)
        assert await state_of(street, foreign) == LinkState.FAILED
        await victim.get(street.victim.approve(reference))
        code = code_in(await victim.get(own.link_url))
    assert (await street.confirm_link(street.victim, own.wallet_link_id, code)).code == 0
    await street.require_unharmed(Counter([(street.victim.user_id, LABELS["pays-too"], "ACTIVE")]))


async def test_the_proof_of_one_link_opens_no_other(street: Street) -> None:
    async with street.estate.browser() as victim, street.estate.browser() as attacker:
        own, foreign = await street.victim.start_link(), await street.mallory.start_link()
        reference = await press_continue(victim, own.link_url)
        approved_url = httpx.URL(street.victim.approve(reference))
        other_url = httpx.URL(street.mallory.approve(await press_continue(attacker, foreign.link_url)))
        for browser, page, proof in (
            (attacker, foreign.link_url, approved_url.params["state"]),
            (attacker, own.link_url, other_url.params["state"]),
            (victim, own.link_url, other_url.params["state"]),
            (attacker, foreign.link_url, ""),
        ):
            landed = await browser.get(f"{page}/return", params={"state": proof})
            assert not shows_code(landed)
        assert await state_of(street, own) == LinkState.PENDING_APPROVAL

        await victim.get(approved_url)
        code = code_in(await victim.get(own.link_url))
    assert (await street.confirm_link(street.victim, own.wallet_link_id, code)).code == 0
    await street.require_unharmed(Counter([(street.victim.user_id, LABELS["pays-too"], "ACTIVE")]))


async def test_a_callback_that_is_replayed_exchanges_nothing_again(street: Street) -> None:
    async with street.estate.browser() as victim, street.estate.browser() as attacker:
        done = await approved(street, street.victim, victim)
        assert (await street.confirm_link(street.victim, done.link.wallet_link_id, done.code)).code == 0
        known = approvals(street)

        pages = [await browser.get(done.return_url) for browser in (victim, attacker, victim)]
        again = await street.confirm_link(street.victim, done.link.wallet_link_id, done.code)
        stolen = await street.confirm_link(street.mallory, done.link.wallet_link_id, done.code)

    assert [shows_code(page) for page in pages] == [False] * 3
    assert (unanswered(again), unanswered(stolen)) == ("INVALID_STATE", "NOT_FOUND")
    assert approvals(street) == known
    await street.require_unharmed(Counter([(street.victim.user_id, LABELS["pays-too"], "ACTIVE")]))


async def test_a_form_that_was_kept_until_its_link_had_expired_leads_nowhere(street: Street) -> None:
    link = await street.victim.start_link()
    async with street.estate.browser() as browser:
        nonce = nonce_in(await browser.get(link.link_url))
        street.estate.runtime.advance(10 * 60)

        answer = await browser.post(f"{link.link_url}/continue", data={"nonce": nonce})

    assert (answer.status_code, "location" in answer.headers) == (410, False)
    await street.require_unharmed()
    await street.require_links_still_work()


async def test_the_form_of_one_link_sends_no_other_on_its_way(street: Street) -> None:
    async with street.estate.browser() as browser:
        first, second = await street.victim.start_link(), await street.victim.start_link()
        nonce = nonce_in(await browser.get(first.link_url))
        await browser.get(second.link_url)

        answer = await browser.post(f"{second.link_url}/continue", data={"nonce": nonce})

        assert (answer.status_code, "location" in answer.headers) == (403, False)
        assert await press_continue(browser, second.link_url) != ""
    await street.require_unharmed()


async def test_a_code_that_expired_with_its_link_is_worth_nothing_and_the_approval_is_taken_back(
    street: Street,
) -> None:
    async with street.estate.browser() as browser:
        late = await approved(street, street.victim, browser)
    street.estate.runtime.advance(10 * 60)

    reply = await street.confirm_link(street.victim, late.link.wallet_link_id, late.code)

    assert unanswered(reply) == "INVALID_STATE"
    assert await revoke_tokens(street.estate.deps) > 0
    assert approvals(street)[-1] == ("pays-too", True)
    await street.require_unharmed()
    await street.require_links_still_work()


async def test_nobody_reads_a_links_address_or_gives_it_up_for_its_person(street: Street) -> None:
    async with street.estate.browser() as browser:
        await browser.get((await street.victim.start_link()).link_url)
        ready = await approved(street, street.victim, browser)
    secret = ready.link.link_url.rpartition("/")[2].encode()
    for who, credential in street.everybody_else().items():
        for name in ("GetWalletLink", "CancelWalletLink"):
            unanswered(await street.asked(credential, name, wallet_link_id=ready.link.wallet_link_id))
        for name in ("ListEvents", "ListMessages"):
            fields = {"session_id": street.victim.ids["ses"]}
            reply = await street.asked(credential, name, **fields)
            assert secret not in reply.everything, who

    assert (await street.confirm_link(street.victim, ready.link.wallet_link_id, ready.code)).code == 0
    await street.require_unharmed(Counter([(street.victim.user_id, LABELS["pays-too"], "ACTIVE")]))


async def test_a_wallet_that_its_attacker_approved_is_his_own_and_pays_from_his_own_account(street: Street) -> None:
    """What remains to an attacker who follows every step himself: his own wallet."""
    async with street.estate.browser() as browser:
        own = await approved(street, street.mallory, browser)
    assert (await street.confirm_link(street.mallory, own.link.wallet_link_id, own.code)).code == 0

    await street.require_unharmed(Counter([(street.mallory.user_id, LABELS[OTHERS], "ACTIVE")]))


# What providers seem to say.


async def test_a_forged_delivery_changes_nothing_and_is_kept_nowhere(street: Street) -> None:
    await street.victim.new_payment()
    genuine = street.deliveries()
    (headers, body), (other_headers, _) = genuine[0], genuine[1]
    before = (await street.stored(), street.standin.control("GET", "books"))
    forged = [
        ({}, body),
        (headers, body.replace(b"COMPLETED", b"REVERSED")),
        (headers, body + b" "),
        (headers, b""),
        (headers, b"{}"),
        (other_headers, body),
        (headers | {"paypal-transmission-sig": "AAAA"}, body),
        (headers | {"paypal-transmission-time": "2020-01-01T00:00:00Z"}, body),
        (headers | {"paypal-transmission-id": other_headers["paypal-transmission-id"]}, body),
        (headers | {"paypal-cert-url": "https://evil.example/v1/notifications/certs/CERT-1"}, body),
        (headers | {"paypal-cert-url": headers["paypal-cert-url"] + "/../../../certs/CERT-2"}, body),
        (headers | {"paypal-auth-algo": "none"}, body),
        ({name: value for name, value in headers.items() if name != "paypal-cert-url"}, body),
    ]

    assert {await street.deliver(*each) for each in forged} == {400}

    assert (await street.stored(), street.standin.control("GET", "books")) == before
    assert await street.deliver(headers, body) == 204


async def test_a_genuine_delivery_is_acted_upon_once_however_often_it_is_replayed(street: Street) -> None:
    payment = await street.victim.new_payment()
    deliveries = street.deliveries()
    moved = street.standin.control("GET", "books")["effects"]
    for _ in range(3):
        for headers, body in reversed(deliveries):
            assert await street.deliver(headers, body) == 204

    assert len(await street.stored()) == len(deliveries)
    found = await street.victim.by_bot("GetPayment", payment_id=payment.payment_id)
    assert (found.payment.captured.minor_units, found.payment.refunded.minor_units) == (24_000, 0)
    assert street.standin.control("GET", "books")["effects"] == moved
