"""Requests become domain values, and answers become messages that show each kind of caller what is theirs to see."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from comptoir.v1 import card_pb2, checkout_pb2, event_pb2, money_pb2, payment_pb2, session_pb2
from comptoir_server.app.call import Caller
from comptoir_server.app.event_reading import EventView
from comptoir_server.app.messages import MessageView
from comptoir_server.app.wallet_views import WalletLinkView, WalletView
from comptoir_server.domain import cards, checkouts, events, orders, payments, sessions, wallets
from comptoir_server.domain.errors import Reason, Refused
from comptoir_server.domain.money import Money
from comptoir_server.transport.answers import Answers
from comptoir_server.transport.arguments import compile_arguments, compile_requests
from tests.support.door import METHODS, Ack, Extra, Item, Subscribe, absent_id, use_case

EUR = money_pb2.Money(minor_units=1250, currency_code="EUR")
SECOND = 1_000_000

CHECKOUT = checkouts.Checkout(
    id="chk_1",
    partner_id="prt_1",
    bot_id="bot_1",
    session_id="ses_1",
    user_id="usr_1",
    bot_user_id="bsu_1",
    channel_id="chn_1",
    state=checkouts.CheckoutState.OPEN,
    version=2,
    attempt_version=1,
    partner_reference="booking 7",
    statement_descriptor="COPPER",
    metadata={"seat": "12A"},
    currency_code="EUR",
    total=2400,
    items=(checkouts.LineItem("Seat", "by the window", 2, 1250, 2500, "12A"),),
    adjustments=(checkouts.Adjustment(checkouts.AdjustmentKind.DISCOUNT, "Loyalty", 100),),
    capture_mode=checkouts.CaptureMode.MANUAL,
    payment_ids=("pay_1",),
    order_id="",
    replaces_checkout_id="",
    cancel_requested=False,
    create_time=1 * SECOND,
    update_time=2 * SECOND + 5,
    expire_time=0,
)
PAYMENT = payments.Payment(
    id="pay_1",
    checkout_id="chk_1",
    checkout_version=1,
    partner_id="prt_1",
    bot_id="bot_1",
    session_id="ses_1",
    user_id="usr_1",
    bot_user_id="bsu_1",
    channel_id="chn_1",
    wallet_id="wal_1",
    wallet_label="j•••@example.com",
    provider="paypal",
    request_key="secret request key",
    state=payments.PaymentState.AUTHORIZED,
    capture_mode=checkouts.CaptureMode.MANUAL,
    currency_code="JPY",
    amount=500,
    authorized=500,
    captured=0,
    capturing=200,
    refunded=0,
    refunding=0,
    decline_code="",
    action_url="https://provider.example/act",
    order_reference="O-1",
    reference="A-1",
    pending_operation_id="opn_1",
    pending_kind=payments.PendingKind.CAPTURE,
    pending_state=payments.PendingState.IN_DOUBT,
    pending_since=3 * SECOND,
    reversal_reason="",
    create_time=1 * SECOND,
    update_time=3 * SECOND,
    authorization_expire_time=9 * SECOND,
)
SESSION = sessions.Session(
    id="ses_1",
    bot_id="bot_1",
    partner_id="prt_1",
    user_id="usr_1",
    bot_user_id="bsu_1",
    channel_id="chn_1",
    state=sessions.SessionState.OPEN,
    referral=sessions.Referral(sessions.ReferralSource.AD, "ad-7", "summer"),
    previous_session_id="",
    message_count=3,
    locale="fr-FR",
    create_time=SECOND,
)
MESSAGE = sessions.Message("msg_1", "ses_1", 3, sessions.Sender.PLATFORM, "notice", b"sealed", SECOND)
WALLET = wallets.Wallet(
    "wal_1", "usr_1", "chn_1", "paypal", "j•••", wallets.WalletState.ACTIVE, b"token", "hash", 0, 0, SECOND
)


def arguments(request: Message, name: str = "") -> dict[str, Any]:
    method = METHODS[name or type(request).__name__.removesuffix("Request")]
    return compile_arguments(method, use_case(method, {}))(request)


def written(name: str, caller: Caller, answer: dict[str, Any]) -> Any:
    method = METHODS[name]
    return method.response.FromString(Answers(caller).compile(method)(answer))


def view(content: cards.Content | None, plain_text: str = "") -> MessageView:
    return MessageView(MESSAGE, content, plain_text)


def test_a_request_becomes_keyword_arguments_in_domain_terms() -> None:
    request = checkout_pb2.CreateCheckoutRequest(
        request_id="r1",
        session_id="ses_1",
        metadata={"a": "b"},
        items=[checkout_pb2.LineItem(title="Seat", quantity=2, unit_amount=EUR, amount=EUR, item_reference="12A")],
        adjustments=[checkout_pb2.Adjustment(kind=checkout_pb2.Adjustment.KIND_TAX, label="VAT", amount=EUR)],
        total=EUR,
        expire_time=Timestamp(seconds=5, nanos=7_999),
    )

    money = Money(1250, "EUR")
    assert arguments(request) == {
        "session_id": "ses_1",
        "partner_reference": "",
        "statement_descriptor": "",
        "metadata": {"a": "b"},
        "items": (Item("Seat", "", 2, money, money, "12A"),),
        "adjustments": (Extra(checkouts.AdjustmentKind.TAX, "VAT", money),),
        "total": money,
        "capture_mode": None,
        "expire_time": 5_000_007,
        "replaces_checkout_id": "",
    }


def test_what_is_absent_becomes_none_zero_or_the_default_of_its_dataclass() -> None:
    assert arguments(payment_pb2.CreateRefundRequest(request_id="r1"))["amount"] is None
    assert arguments(checkout_pb2.CreateCheckoutRequest(total=EUR))["expire_time"] == 0
    assert arguments(session_pb2.OpenSessionRequest(bot_id="bot_1")) == {
        "bot_id": "bot_1",
        "referral": sessions.Referral(),
    }


def test_an_enum_becomes_the_member_of_its_name() -> None:
    request = checkout_pb2.ListCheckoutsRequest(state=checkout_pb2.Checkout.STATE_COMPLETED)

    assert arguments(request)["state"] == checkouts.CheckoutState.COMPLETED


def test_a_state_that_this_server_does_not_use_is_refused_by_name() -> None:
    request = checkout_pb2.ListCheckoutsRequest(state=checkout_pb2.Checkout.STATE_AWAITING_MERCHANT)

    with pytest.raises(Refused) as refused:
        arguments(request)

    assert refused.value.reason == Reason.FIELD_INVALID
    assert refused.value.metadata == {"field": "state"}


def test_every_kind_of_content_that_callers_send_becomes_its_card_and_back() -> None:
    stop = card_pb2.Stop(code="CDG", time=Timestamp(seconds=60), time_zone="Europe/Paris")
    segment = card_pb2.Segment(segment_ref="s1", carrier_number="CM 417", departure=stop, arrival=stop)
    passenger = card_pb2.Passenger(passenger_ref="p1", display_name="Ada", ticket_number="2302100000009")
    kinds = {
        "text": card_pb2.TextContent(text="Hi", buttons=[card_pb2.Button(title="Yes", payload="y")]),
        "postback": card_pb2.Postback(title="Yes", payload="y"),
        "itinerary": card_pb2.ItineraryCard(
            booking_reference="ABC",
            passengers=[passenger],
            segments=[segment],
            seats=[card_pb2.SeatAssignment(passenger_ref="p1", segment_ref="s1", seat="12A")],
            total=EUR,
        ),
        "boarding_pass": card_pb2.BoardingPassCard(
            passenger=passenger, segment=segment, booking_reference="ABC", barcode="M1"
        ),
    }
    for kind, card in kinds.items():
        content = card_pb2.MessageContent(**{kind: card})  # type: ignore[arg-type]
        request = session_pb2.SendMessageRequest(request_id="r1", session_id="ses_1", content=content)

        domain = arguments(request)["content"]

        assert type(domain) is cards.CONTENT_KINDS[kind]
        answer = written("SendMessage", Caller.USER, {"message": view(domain)})
        assert answer.message.content == content


def test_a_card_without_a_part_that_it_cannot_be_without_is_refused_by_its_path() -> None:
    segment = card_pb2.Segment(segment_ref="s1", carrier_number="CM 417", departure=card_pb2.Stop(code="CDG"))
    itinerary = card_pb2.ItineraryCard(booking_reference="ABC", segments=[segment])
    content = card_pb2.MessageContent(itinerary=itinerary)

    with pytest.raises(Refused) as refused:
        arguments(session_pb2.SendMessageRequest(request_id="r1", session_id="ses_1", content=content))

    assert refused.value.metadata == {"field": "content.itinerary.segments[0].arrival"}
    assert refused.value.reason == Reason.FIELD_INVALID


def test_the_requests_of_a_stream_become_the_kinds_of_their_choice() -> None:
    method = METHODS["StreamEvents"]
    convert = compile_requests(method, use_case(method, {}))

    subscribe = event_pb2.StreamEventsRequest(subscribe=event_pb2.Subscribe(consumer="bot", max_outstanding=5))
    assert convert(subscribe) == Subscribe("bot", "", 5)
    assert convert(event_pb2.StreamEventsRequest(ack=event_pb2.Ack(cursor="c1"))) == Ack("c1")


def test_a_checkout_is_written_whole() -> None:
    answer = written("GetCheckout", Caller.USER, {"checkout": CHECKOUT})

    money = money_pb2.Money
    assert answer.checkout == checkout_pb2.Checkout(
        checkout_id="chk_1",
        session_id="ses_1",
        bot_id="bot_1",
        user_id="usr_1",
        state=checkout_pb2.Checkout.STATE_OPEN,
        version=2,
        partner_reference="booking 7",
        statement_descriptor="COPPER",
        metadata={"seat": "12A"},
        items=[
            checkout_pb2.LineItem(
                title="Seat",
                description="by the window",
                quantity=2,
                unit_amount=EUR,
                amount=money(minor_units=2500, currency_code="EUR"),
                item_reference="12A",
            )
        ],
        adjustments=[
            checkout_pb2.Adjustment(
                kind=checkout_pb2.Adjustment.KIND_DISCOUNT,
                label="Loyalty",
                amount=money(minor_units=100, currency_code="EUR"),
            )
        ],
        total=money(minor_units=2400, currency_code="EUR"),
        capture_mode=checkout_pb2.CAPTURE_MODE_MANUAL,
        payment_ids=["pay_1"],
        create_time=Timestamp(seconds=1),
        update_time=Timestamp(seconds=2, nanos=5_000),
    )


def test_a_payment_shows_what_is_under_way_beside_what_is_certain() -> None:
    payment = written("GetPayment", Caller.USER, {"payment": PAYMENT}).payment

    assert payment.payment_id == "pay_1"
    assert payment.provider_payment_id == "A-1"
    assert payment.state == payment_pb2.Payment.STATE_AUTHORIZED
    assert payment.authorized == money_pb2.Money(minor_units=500, currency_code="JPY")
    assert payment.pending_operation == payment_pb2.PendingOperation(
        kind=payment_pb2.PendingOperation.KIND_CAPTURE,
        state=payment_pb2.PendingOperation.STATE_IN_DOUBT,
        since=Timestamp(seconds=3),
    )
    assert payment.decline_code == payment_pb2.DECLINE_CODE_UNSPECIFIED
    assert payment.action_url == "https://provider.example/act"
    assert payment.wallet_id == "wal_1"


def test_a_payment_with_nothing_under_way_says_nothing_of_it() -> None:
    declined = replace(PAYMENT.settled(), state=payments.PaymentState.DECLINED, decline_code="DO_NOT_HONOR")

    payment = written("GetPayment", Caller.USER, {"payment": declined}).payment

    assert not payment.HasField("pending_operation")
    assert payment.decline_code == payment_pb2.DECLINE_CODE_DO_NOT_HONOR


def test_partners_know_people_by_the_bots_own_ids_and_never_see_wallets() -> None:
    checkout = written("GetCheckout", Caller.PARTNER, {"checkout": CHECKOUT}).checkout
    session = written("GetSession", Caller.PARTNER, {"session": SESSION}).session
    payment = written("GetPayment", Caller.PARTNER, {"payment": PAYMENT}).payment

    assert (checkout.user_id, checkout.bot_user_id) == ("", "bsu_1")
    assert (session.user_id, session.bot_user_id) == ("", "bsu_1")
    assert (payment.wallet_id, payment.action_url, payment.wallet_label) == ("", "", "j•••@example.com")


@pytest.mark.parametrize("caller", [Caller.USER, Caller.CHANNEL])
def test_people_and_channels_know_users_and_never_see_the_bots_ids(caller: Caller) -> None:
    checkout = written("GetCheckout", caller, {"checkout": CHECKOUT}).checkout
    session = written("GetSession", caller, {"session": SESSION}).session

    assert (checkout.user_id, checkout.bot_user_id) == ("usr_1", "")
    assert (session.user_id, session.bot_user_id) == ("usr_1", "")
    assert session.referral == session_pb2.Referral(source=session_pb2.Referral.SOURCE_AD, ad_id="ad-7", ref="summer")


def test_operators_see_whose_payment_it_is_but_not_where_the_person_acts() -> None:
    payment = written("GetPayment", Caller.OPERATOR, {"payment": PAYMENT}).payment

    assert (payment.wallet_id, payment.action_url) == ("wal_1", "")


def test_what_pays_links_or_leads_to_the_provider_is_for_the_person_alone() -> None:
    button = cards.PayButton("Pay €24.00", "comptoir:pay:2:wal_1:mark", "wal_1", "")
    money = Money(2400, "EUR")
    url = "https://pay.example/link/secret"
    shown: dict[str, tuple[cards.Content, str]] = {
        "checkout": (cards.CheckoutCard("chk_1", 2, "Copper Air", (), money, (button,), 0), "Pay €24.00"),
        "wallet_link": (cards.WalletLinkCard("wlk_1", "paypal", url, 0), f"Link PayPal:\n{url}"),
        "notice": (
            cards.NoticeCard(cards.NoticeKind.ACTION_REQUIRED, "chk_1", "Approve it.", url),
            f"Approve it.\n{url}",
        ),
    }
    for content, plain_text in shown.values():
        answer = {"messages": (view(content, plain_text),)}

        [to_user] = written("ListMessages", Caller.USER, answer).messages
        [to_partner] = written("ListMessages", Caller.PARTNER, answer).messages

        secrets = [b"secret", b"comptoir:pay", b"wal_1"]
        assert any(secret in to_user.SerializeToString() for secret in secrets)
        assert not any(secret in to_partner.SerializeToString() for secret in secrets)
        assert to_partner.plain_text == plain_text.removesuffix(f"\n{url}")
        assert to_partner.content.WhichOneof("kind") == to_user.content.WhichOneof("kind")


def test_an_erased_message_keeps_its_place_and_says_that_it_was_erased() -> None:
    [message] = written("ListMessages", Caller.USER, {"messages": (view(None),)}).messages

    assert (message.message_id, message.sequence, message.erased) == ("msg_1", 3, True)
    assert not message.HasField("content")


def test_a_view_adds_to_the_record_that_it_holds() -> None:
    wallet = written("GetWallet", Caller.USER, {"wallet": WalletView(WALLET, True)}).wallet

    assert (wallet.wallet_id, wallet.label, wallet.is_default) == ("wal_1", "j•••", True)
    assert not wallet.provider_deletion_pending
    assert b"token" not in wallet.SerializeToString()


def test_a_links_address_is_there_only_where_it_was_put() -> None:
    link = wallets.WalletLink(
        "wlk_1", "usr_1", "chn_1", "", "paypal", wallets.LinkState.PENDING_APPROVAL, "", "", "", "", "", 2, b"", "",
        0, 0, 0, "", SECOND, 2 * SECOND,
    )  # fmt: skip
    shown = WalletLinkView(link, "https://pay.example/l/1")

    started = written("StartWalletLink", Caller.USER, {"wallet_link": shown}).wallet_link
    kept = written("StartWalletLink", Caller.USER, {"wallet_link": link}).wallet_link

    assert (started.link_url, started.tries_left) == ("https://pay.example/l/1", 3)
    assert (kept.link_url, kept.tries_left) == ("", 3)


def test_an_event_holds_the_object_as_its_reader_may_see_it() -> None:
    event = events.LogEntry(
        position=7,
        session_sequence=4,
        id="evt_1",
        type="checkout.opened",
        noun="checkout",
        bot_id="bot_1",
        session_id="ses_1",
        user_id="usr_1",
        payload="{}",
        create_time=SECOND,
    )
    answer = {"events": (EventView(event, "c7", CHECKOUT),), "next_cursor": "c7"}

    [to_partner] = written("ListEvents", Caller.PARTNER, answer).events
    [to_channel] = written("ListEvents", Caller.CHANNEL, answer).events

    assert (to_partner.event_id, to_partner.type, to_partner.cursor) == ("evt_1", "checkout.opened", "c7")
    assert (to_partner.session_id, to_partner.session_sequence) == ("ses_1", 4)
    assert (to_partner.checkout.user_id, to_partner.checkout.bot_user_id) == ("", "bsu_1")
    assert (to_channel.checkout.user_id, to_channel.checkout.bot_user_id) == ("usr_1", "")


def test_an_event_outside_of_sessions_names_none() -> None:
    event = events.LogEntry(1, 0, "evt_1", "wallet.linked", "wallet", "", None, "usr_1", "{}", SECOND)

    [read] = written("ListEvents", Caller.CHANNEL, {"events": (EventView(event, "c1", WALLET),)}).events

    assert (read.session_id, read.wallet.wallet_id, read.wallet.is_default) == ("", "wal_1", False)


def test_what_a_stream_says_beside_events_is_taken_as_it_stands() -> None:
    assert written("StreamEvents", Caller.PARTNER, {"ping": {}}).WhichOneof("kind") == "ping"
    assert written("StreamEvents", Caller.PARTNER, {"acked": {"cursor": "c1"}}).acked.cursor == "c1"


def test_an_object_of_another_class_than_the_tables_list_is_never_written() -> None:
    with pytest.raises(TypeError, match="Checkout is not made from Payment"):
        written("GetCheckout", Caller.USER, {"checkout": PAYMENT})


def test_an_order_keeps_what_was_agreed_to_beside_what_was_given_back() -> None:
    order = orders.Order(
        "ord_1", "chk_1", "pay_1", "prt_1", "bot_1", "ses_1", "usr_1", "chn_1", orders.OrderState.OPEN, "booking 7",
        "EUR", 2400, 300, CHECKOUT.items, CHECKOUT.adjustments, SECOND,
    )  # fmt: skip

    shown = written("GetOrder", Caller.PARTNER, {"order": order}).order

    assert (shown.order_id, shown.total.minor_units, shown.refunded.minor_units) == ("ord_1", 2400, 300)
    assert shown.items[0].unit_amount == EUR


def test_ids_of_requests_are_no_arguments() -> None:
    request = checkout_pb2.ConfirmCheckoutRequest(request_id="r1", checkout_id=absent_id("chk"), version=1)

    assert set(arguments(request)) == {"checkout_id", "version", "wallet_id", "button_payload"}
