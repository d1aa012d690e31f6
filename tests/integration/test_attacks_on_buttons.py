"""Making somebody pay who did not press: forged, borrowed and replayed pay buttons, and words that look like one.

After each attack no money has moved at the provider's stand-in, and the victim's own button works where it should.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from comptoir import line_item, money, total_of
from comptoir_server.domain.checkouts import Checkout
from comptoir_server.vault import Vault
from tests.access.door import METHODS, Reply, bearer
from tests.access.sides import Side
from tests.support.attacks import Street, open_street, unanswered

LOOK_ALIKES = (
    "comptoir:pay:1:wal_1:mark",
    " comptoir:pay:1:wal_1:mark",
    "COMPTOIR:PAY:1:wal_1:mark",
    "\u200bcomptoir:pay:1:wal_1:mark",
    "\u200ecomptoir:pay:1:wal_1:mark",
    "\u2060comptoir:pay:1:wal_1:mark",
    "\u00adcomptoir:pay:1:wal_1:mark",
    "ｃｏｍｐｔｏｉｒ：pay:1:wal_1:mark",
    "соmptoir:pay:1:wal_1:mark",
    "comptoir\uff1apay:1:wal_1:mark",
)
"""What a person may take for the platform's, though no byte of it is: spaces, case, invisible and foreign letters."""


@pytest.fixture
async def street(sqlite_url: str) -> AsyncIterator[Street]:
    async with open_street(sqlite_url) as made:
        yield made


async def press(street: Street, side: Side, checkout_id: str, payload: str, **fields: Any) -> Reply:
    """A person's channel says that they pressed a button with this payload."""
    return await street.as_person(side, "ConfirmCheckout", checkout_id=checkout_id, button_payload=payload, **fields)


async def require_pays(street: Street, side: Side, checkout_id: str, minor_units: int = 24_000) -> None:
    """The person presses their own button, and is charged once."""
    button = await street.pay_button(side, checkout_id)
    before = len(street.standin.control("GET", "books")["effects"])
    confirmed = (await press(street, side, checkout_id, button.payload)).response(METHODS["ConfirmCheckout"])
    effects = street.standin.control("GET", "books")["effects"]
    assert [(effect["kind"], effect["minor_units"]) for effect in effects[before:]] == [("capture", minor_units)]
    assert effects[-1]["custom_id"] == confirmed.payment.payment_id


async def test_a_mark_that_nobody_checks_is_noticed(street: Street, monkeypatch: pytest.MonkeyPatch) -> None:
    def unchecked(_vault: Vault, _checkout: Checkout, payload: str) -> tuple[int, str]:
        _, _, version, wallet_id, _ = payload.split(":")
        return int(version), wallet_id

    monkeypatch.setattr("comptoir_server.app.confirmations.read_pay_payload", unchecked)
    first, second = await street.victim.new_checkout(), await street.victim.new_checkout()
    button = await street.pay_button(street.victim, first)

    assert (await press(street, street.victim, second, button.payload)).code == 0
    with pytest.raises(AssertionError):
        await street.require_unharmed()


async def test_a_bots_quick_reply_that_looks_like_a_pay_button_pays_nothing(street: Street) -> None:
    victim, checkout_id = street.victim, await street.victim.new_checkout()
    session = {"session_id": victim.ids["ses"]}
    for payload in LOOK_ALIKES:
        content = {"text": {"text": "Go on?", "buttons": [{"title": "Yes", "payload": payload}]}}
        sent = await street.asked(bearer(victim.bot_secret), "SendMessage", content=content, **session)
        content = {"postback": {"title": "Yes", "payload": payload}}
        posted = await street.as_person(victim, "SendMessage", content=content, **session)
        pressed = await press(street, victim, checkout_id, payload)

        ours = payload.strip().lower().startswith("comptoir:")
        assert (sent.reason, posted.reason) == (("FIELD_INVALID", "FIELD_INVALID") if ours else ("OK", "OK")), payload
        assert unanswered(pressed) == "FIELD_INVALID", payload
        await street.require_unharmed()
    await require_pays(street, victim, checkout_id)


async def test_a_genuine_payload_in_a_bots_quick_reply_is_refused_and_pays_nothing(street: Street) -> None:
    checkout_id = await street.victim.new_checkout()
    payload = (await street.pay_button(street.victim, checkout_id)).payload
    for credential, content in (
        (bearer(street.victim.bot_secret), {"text": {"text": "?", "buttons": [{"title": "Yes", "payload": payload}]}}),
        (bearer(street.victim.venue.secret, street.victim.user_id), {"postback": {"title": "Yes", "payload": payload}}),
    ):
        reply = await street.asked(credential, "SendMessage", session_id=street.victim.ids["ses"], content=content)
        assert unanswered(reply) == "FIELD_INVALID"

    await street.require_unharmed()
    await require_pays(street, street.victim, checkout_id)


async def test_typed_words_never_pay_even_where_they_are_the_payload_itself(street: Street) -> None:
    checkout_id = await street.victim.new_checkout()
    button = await street.pay_button(street.victim, checkout_id)
    for words in (button.payload, button.title, "yes", "pay", f"/pay {checkout_id}", f"ConfirmCheckout {checkout_id}"):
        await street.victim.say(words)

    await street.require_unharmed()
    found = await street.victim.by_person("GetCheckout", checkout_id=checkout_id)
    assert (found.checkout.version, list(found.checkout.payment_ids)) == (1, [])
    await require_pays(street, street.victim, checkout_id)


async def test_a_bot_never_reads_a_pay_payload(street: Street) -> None:
    checkout_id = await street.victim.new_checkout()
    payload = (await street.pay_button(street.victim, checkout_id)).payload.encode()
    for credential in (bearer(street.victim.bot_secret), bearer(street.victim.tenant.secret)):
        for name, fields in (
            ("ListMessages", {"session_id": street.victim.ids["ses"], "page_size": 100}),
            ("StreamMessages", {"session_id": street.victim.ids["ses"]}),
            ("ListEvents", {"page_size": 1000}),
            ("StreamEvents", {"subscribe": {"consumer": "till", "max_outstanding": 1000}}),
            ("GetCheckout", {"checkout_id": checkout_id}),
        ):
            reply = await street.asked(credential, name, **fields)
            assert reply.code == 0, name
            assert payload not in reply.everything
            assert b"comptoir:pay:" not in reply.everything


async def test_a_payload_is_good_for_its_own_checkout_person_session_and_wallet_alone(street: Street) -> None:
    victim, sibling, mallory = street.victim, street.estate.sides["sibling"], street.mallory
    checkout_id, same_session = await victim.new_checkout(), await victim.new_checkout()
    other_session, others = await sibling.new_checkout(), await mallory.new_checkout()
    payload = (await street.pay_button(victim, checkout_id)).payload

    assert unanswered(await press(street, victim, same_session, payload)) == "FIELD_INVALID"
    assert unanswered(await press(street, sibling, other_session, payload)) == "FIELD_INVALID"
    assert unanswered(await press(street, mallory, others, payload)) == "FIELD_INVALID"
    assert unanswered(await press(street, mallory, checkout_id, payload)) == "NOT_FOUND"
    for name, value in (("wallet_id", sibling.ids["wal"]), ("version", 2)):
        assert unanswered(await press(street, victim, checkout_id, payload, **{name: value})) == "FIELD_INVALID"

    await street.require_unharmed()
    await require_pays(street, victim, checkout_id)


async def test_a_payload_that_was_changed_anywhere_is_none(street: Street) -> None:
    victim = street.victim
    checkout_id = await victim.new_checkout()
    payload = (await street.pay_button(victim, checkout_id)).payload
    start, purpose, version, wallet_id, mark = payload.split(":")
    other = street.estate.sides["sibling"].ids["wal"]
    for changed in (
        f"{start}:{purpose}:2:{wallet_id}:{mark}",
        f"{start}:{purpose}:01:{wallet_id}:{mark}",
        f"{start}:{purpose}:１:{wallet_id}:{mark}",
        f"{start}:{purpose}:{version}:{other}:{mark}",
        f"{start}:{purpose}:{version}::{mark}",
        f"{start}:{purpose}:{version}:{wallet_id}:",
        f"{start}:{purpose}:{version}:{wallet_id}:{mark[:-1]}",
        f"{start}:{purpose}:{version}:{wallet_id}:{mark}=",
        f"{payload}:{mark}",
        f" {payload}",
        payload.upper(),
        payload.removeprefix("comptoir:"),
    ):
        assert unanswered(await press(street, victim, checkout_id, changed)) == "FIELD_INVALID", changed

    await street.require_unharmed()
    await require_pays(street, victim, checkout_id)


async def test_a_payload_of_an_older_version_does_not_pay_the_new_price(street: Street) -> None:
    victim = street.victim
    checkout_id = await victim.new_checkout()
    old = (await street.pay_button(victim, checkout_id)).payload
    items = [line_item("Flight", money(99_000, "USD"))]
    await victim.by_bot(
        "UpdateCheckout",
        request_id=street.estate.request_id(),
        checkout_id=checkout_id,
        version=1,
        items=items,
        total=total_of(items),
    )

    assert unanswered(await press(street, victim, checkout_id, old)) == "VERSION_STALE"
    await street.require_unharmed()
    await require_pays(street, victim, checkout_id, 99_000)


async def test_a_payload_pays_once_however_often_it_is_pressed(street: Street) -> None:
    victim = street.victim
    checkout_id = await victim.new_checkout()
    button = await street.pay_button(victim, checkout_id)
    await require_pays(street, victim, checkout_id)
    moved = street.standin.control("GET", "books")["effects"]

    again = [await press(street, victim, checkout_id, button.payload) for _ in range(3)]

    assert {reply.code for reply in again} == {0}
    assert unanswered(await press(street, street.mallory, checkout_id, button.payload)) == "NOT_FOUND"
    assert street.standin.control("GET", "books")["effects"] == moved


async def test_a_payload_of_a_cancelled_checkout_pays_nothing(street: Street) -> None:
    victim = street.victim
    checkout_id = await victim.new_checkout()
    payload = (await street.pay_button(victim, checkout_id)).payload
    await victim.by_bot("CancelCheckout", request_id=street.estate.request_id(), checkout_id=checkout_id)

    assert unanswered(await press(street, victim, checkout_id, payload)) == "INVALID_STATE"
    await street.require_unharmed()


async def test_a_payload_of_an_unlinked_wallet_pays_nothing(street: Street) -> None:
    victim = street.victim
    checkout_id = await victim.new_checkout()
    button = await street.pay_button(victim, checkout_id)
    await victim.by_person("UnlinkWallet", request_id=street.estate.request_id(), wallet_id=button.wallet_id)

    assert unanswered(await press(street, victim, checkout_id, button.payload)) == "WALLET_NOT_ACTIVE"
    effects = street.standin.control("GET", "books")["effects"]
    assert effects == street.moved
