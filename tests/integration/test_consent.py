"""What a person's yes is worth: their own wallet, the version that they saw, and nothing that was forbidden since."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from comptoir_server.app import checkouts, confirmations, sessions
from comptoir_server.app.checkout_cards import pay_payload, read_pay_payload
from comptoir_server.app.checkouts import ItemOrder
from comptoir_server.app.ports import OperationKind
from comptoir_server.domain.cards import Postback, TextContent
from comptoir_server.domain.checkouts import Checkout, CheckoutState
from comptoir_server.domain.errors import Reason, Refused
from comptoir_server.domain.money import Money
from comptoir_server.domain.partners import BotState, PartnerState
from comptoir_server.domain.payments import PaymentState
from comptoir_server.domain.wallets import WalletState
from comptoir_server.store.relation import Relation
from comptoir_server.store.tables import BOTS, MARKETS, PARTNERS, USERS, WALLETS
from comptoir_server.store.tx import Tx
from tests.support.databases import database_url
from tests.support.world import World, open_world

__all__ = ["database_url"]


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with open_world(database_url) as made:
        yield made


async def change(world: World, relation: Relation[Any], key: Any, **fields: Any) -> None:
    """Somebody changes a row."""

    async def work(tx: Tx) -> None:
        found: Any = await tx.load(relation.lock(key))
        tx.put(replace(found, **fields))

    await world.deps.store.write(work)


async def press(world: World, checkout: Checkout, payload: str, *, version: int = 0, wallet_id: str = "") -> Any:
    """Presses a pay button of a checkout."""
    return await confirmations.confirm_checkout(
        world.deps,
        world.by_user("ConfirmCheckout"),
        checkout_id=checkout.id,
        version=version,
        wallet_id=wallet_id,
        button_payload=payload,
    )


async def updated(world: World, checkout: Checkout, minor_units: int) -> Checkout:
    """The checkout at a new price."""
    price = Money(minor_units, "USD")
    answer = await checkouts.update_checkout(
        world.deps,
        world.by_partner("UpdateCheckout"),
        checkout_id=checkout.id,
        version=checkout.version,
        items=(ItemOrder("Flight", "", 1, price, price, "CM417"),),
        adjustments=(),
        total=price,
    )
    found: Checkout = answer["checkout"]
    return found


async def require_refused(world: World, checkout: Checkout, attempt: Any, reason: Reason) -> Refused:
    """An attempt is refused for a reason, and nothing has moved."""
    before = await world.now_checkout(checkout.id)
    with pytest.raises(Refused) as refusal:
        await attempt
    assert refusal.value.reason == reason
    assert await world.now_checkout(checkout.id) == before
    assert world.provider.books.total(OperationKind.CHARGE) == 0
    assert [method for method, _ in world.provider.calls if method in ("prepare", "execute")] == []
    return refusal.value


async def test_a_yes_that_nothing_forbids_is_paid(world: World) -> None:
    checkout = await world.checkout()

    answer = await press(world, checkout, pay_payload(world.deps.vault, checkout, world.wallet_id))

    assert answer["payment"].state == PaymentState.CAPTURED
    assert (answer["payment"].checkout_version, answer["payment"].wallet_id) == (1, world.wallet_id)


async def test_a_market_that_has_closed_since_charges_nothing(world: World) -> None:
    checkout = await world.checkout()
    await change(world, MARKETS, ("US", "paypal"), open=False)

    refusal = await require_refused(world, checkout, world.confirm(checkout), Reason.MARKET_NOT_AVAILABLE)

    assert refusal.metadata == {"provider": "paypal", "market": "US"}


async def test_a_wallet_that_was_unlinked_charges_nothing(world: World) -> None:
    checkout = await world.checkout()
    for state in (WalletState.UNLINKED, WalletState.NEEDS_RELINK):
        await change(world, WALLETS, world.wallet_id, state=state)

        refusal = await require_refused(world, checkout, world.confirm(checkout), Reason.WALLET_NOT_ACTIVE)

        assert refusal.metadata == {"state": state}


async def test_a_merchant_who_is_suspended_charges_nothing(world: World) -> None:
    checkout = await world.checkout()
    await change(world, PARTNERS, world.partner_id, state=PartnerState.SUSPENDED)
    await require_refused(world, checkout, world.confirm(checkout), Reason.PARTNER_SUSPENDED)
    await change(world, PARTNERS, world.partner_id, state=PartnerState.ACTIVE)
    await change(world, BOTS, world.bot_id, state=BotState.SUSPENDED)

    await require_refused(world, checkout, world.confirm(checkout), Reason.PARTNER_SUSPENDED)


async def test_nobody_pays_with_the_wallet_of_somebody_else(world: World) -> None:
    checkout = await world.checkout()
    stranger = await another_person(world)

    foreign = await require_refused(world, checkout, world.confirm(checkout, wallet_id=stranger), Reason.NOT_FOUND)
    absent = await require_refused(
        world, checkout, world.confirm(checkout, wallet_id=world.runtime.new_id("wal")), Reason.NOT_FOUND
    )

    assert str(foreign) == str(absent)


async def another_person(world: World) -> str:
    """The wallet of somebody else in the same channel."""
    user_id, wallet_id = world.runtime.new_id("usr"), world.runtime.new_id("wal")

    async def work(tx: Tx) -> None:
        user, wallet = await tx.load(USERS.get(world.user_id), WALLETS.get(world.wallet_id))
        assert user is not None
        assert wallet is not None
        tx.put(replace(user, id=user_id, default_wallet_id=wallet_id, channel_user_hash="another"))
        tx.put(replace(wallet, id=wallet_id, user_id=user_id, token_hash="another"))

    await world.deps.store.write(work)
    return wallet_id


async def test_a_pressed_button_agrees_to_the_version_it_was_drawn_for(world: World) -> None:
    checkout = await world.checkout(24_000)
    old = pay_payload(world.deps.vault, checkout, world.wallet_id)
    dearer = await updated(world, checkout, 99_000)

    refusal = await require_refused(world, dearer, press(world, dearer, old), Reason.VERSION_STALE)
    answer = await press(world, dearer, pay_payload(world.deps.vault, dearer, world.wallet_id))

    assert refusal.metadata == {"version": "1", "current_version": "2"}
    assert (answer["payment"].amount, answer["payment"].checkout_version) == (99_000, 2)


async def test_a_pay_button_counts_for_its_own_person_session_checkout_version_and_wallet_only(world: World) -> None:
    vault, checkout = world.deps.vault, await world.checkout()
    ours = pay_payload(vault, checkout, world.wallet_id)
    prefix, version, wallet_id, mark = ours.rsplit(":", 3)
    forged = [
        pay_payload(vault, replace(checkout, id=world.runtime.new_id("chk")), world.wallet_id),
        pay_payload(vault, replace(checkout, user_id=world.runtime.new_id("usr")), world.wallet_id),
        pay_payload(vault, replace(checkout, session_id=world.runtime.new_id("ses")), world.wallet_id),
        f"{prefix}:{int(version) + 1}:{wallet_id}:{mark}",
        f"{prefix}:{version}:{world.runtime.new_id('wal')}:{mark}",
        f"{prefix}:{version}:{wallet_id}:{mark[:-1]}",
        ours.removeprefix("comptoir:"),
        "pay",
    ]

    for payload in forged:
        await require_refused(world, checkout, press(world, checkout, payload), Reason.FIELD_INVALID)
    await require_refused(world, checkout, press(world, checkout, ours, version=2), Reason.FIELD_INVALID)

    assert read_pay_payload(vault, checkout, ours) == (1, world.wallet_id)


async def test_words_that_look_like_a_pay_button_pay_nothing(world: World) -> None:
    checkout = await world.checkout()
    payload = pay_payload(world.deps.vault, checkout, world.wallet_id)

    async def say(content: Any) -> Any:
        return await sessions.send_message(
            world.deps, world.by_user("SendMessage"), session_id=world.session_id, content=content
        )

    await say(TextContent(payload))
    for written in (payload, payload.upper(), f" {payload}"):
        await require_refused(world, checkout, say(Postback("Pay", written)), Reason.FIELD_INVALID)
    await world.idle()

    assert (await world.now_checkout(checkout.id)).state == CheckoutState.OPEN


async def test_the_same_request_id_of_two_callers_is_two_requests(world: World) -> None:
    checkout = await world.checkout()
    person = world.by_user("CancelCheckout", "the-one", checkout=checkout.id)
    partner = replace(world.by_partner("CancelCheckout", "the-one"), fingerprint=person.fingerprint)
    paid = (await world.confirm(checkout, "the-one"))["payment"]

    assert person.request_key != partner.request_key
    answer = await world.refund(paid.id, 1_000, "the-one")
    with pytest.raises(Refused) as of_the_partner:
        await checkouts.cancel_checkout(world.deps, partner, checkout_id=checkout.id)

    assert answer["refund"].amount == 1_000
    assert of_the_partner.value.reason == Reason.INVALID_STATE
