"""Snapshots: what was written is read back as it was, in one canonical form."""

from __future__ import annotations

import pytest

from comptoir_server.domain.cards import Button, CheckoutCard, PayButton, PriceLine, TextContent
from comptoir_server.domain.errors import Violation
from comptoir_server.domain.money import Money
from comptoir_server.domain.sessions import Message, Referral, ReferralSource, Sender
from comptoir_server.store import snapshots

CARD = CheckoutCard(
    checkout_id="chk_1",
    version=2,
    partner_display_name="Comptoir Air",
    lines=(PriceLine("Flight", Money(240_00, "USD")), PriceLine("Coupon", Money(5_00, "USD"), discount=True)),
    total=Money(235_00, "USD"),
    buttons=(PayButton("Pay", "comptoir:pay:2", "wal_1", ""),),
    expire_time=1_795_521_600_000_000,
)


def test_a_snapshot_of_another_class_is_not_read_as_ours() -> None:
    with pytest.raises(ValueError, match="missing required field `minor_units`"):
        snapshots.load(Money, snapshots.dump(Violation("total", "is wrong")))


def test_what_was_written_is_read_back_as_it_was() -> None:
    message = Message("msg_1", "ses_1", 1, Sender.USER, "text", b"\x00\xff sealed", 5)

    assert snapshots.load(CheckoutCard, snapshots.dump(CARD)) == CARD
    assert snapshots.load(Message, snapshots.dump(message)) == message


def test_the_text_is_canonical() -> None:
    content = TextContent("Où ?", (Button("Lisbonne", "flight:CM417"),))

    assert snapshots.dump(content) == '{"buttons":[{"payload":"flight:CM417","title":"Lisbonne"}],"text":"Où ?"}'
    assert snapshots.dump(Referral(ReferralSource.AD, "ad", "x")) == '{"ad_id":"ad","ref":"x","source":"AD"}'


def test_objects_stand_under_their_names_with_the_number_of_the_shape() -> None:
    text = snapshots.dump_named({"money": Money(1, "USD")})

    assert text == '{"money":{"currency_code":"USD","minor_units":1},"schema":1}'
    assert snapshots.load_named({"money": Money}, text) == {"money": Money(1, "USD")}


def test_an_enum_is_read_back_as_its_member() -> None:
    referral = snapshots.load(Referral, '{"ad_id":"","ref":"","source":"LINK"}')

    assert referral.source is ReferralSource.LINK
