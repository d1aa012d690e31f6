"""Every field is checked before any look-up, by what the contract says of it; what was sent is never repeated."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from comptoir.v1 import card_pb2, checkout_pb2, event_pb2, money_pb2, partner_pb2, payment_pb2, session_pb2, user_pb2
from comptoir_server.domain.errors import Reason, Refused
from comptoir_server.transport.fields import VIOLATIONS_MAX, Problem, Problems, compile_check, require_fine
from tests.support.door import METHODS, absent_id

CHECKOUT, SESSION, PAYMENT = absent_id("chk"), absent_id("ses"), absent_id("pay")
CARD = "4111 1111 1111 1111"
EUR = money_pb2.Money(minor_units=100, currency_code="EUR")


def problems(request: Message) -> list[tuple[str, str]]:
    """The path of every wrong field, and what would be right."""
    return [(problem.path, problem.description) for problem in check(request)]


def check(request: Message) -> Problems:
    method = METHODS[type(request).__name__.removesuffix("Request")]
    return compile_check(method.request_type)(request)


def paths(request: Message) -> list[str]:
    return [path for path, _ in problems(request)]


def create_checkout(**changes: Any) -> checkout_pb2.CreateCheckoutRequest:
    item = checkout_pb2.LineItem(title="Seat 12A", quantity=1, unit_amount=EUR, amount=EUR)
    fields: dict[str, Any] = {"request_id": "r1", "session_id": SESSION, "items": [item], "total": EUR}
    return checkout_pb2.CreateCheckoutRequest(**{**fields, **changes})


def text(words: str) -> session_pb2.SendMessageRequest:
    content = card_pb2.MessageContent(text=card_pb2.TextContent(text=words))
    return session_pb2.SendMessageRequest(request_id="r1", session_id=SESSION, content=content)


def passed(**changes: str) -> session_pb2.SendMessageRequest:
    """A boarding pass with a passenger's name, ticket number or barcode changed."""
    passenger = card_pb2.Passenger(
        passenger_ref=changes.get("passenger_ref", "p1"),
        display_name=changes.get("display_name", "Ada"),
        ticket_number=changes.get("ticket_number", ""),
    )
    card = card_pb2.BoardingPassCard(
        passenger=passenger,
        booking_reference=changes.get("booking_reference", "ABC123"),
        barcode=changes.get("barcode", "M1"),
        seat=changes.get("seat", ""),
    )
    content = card_pb2.MessageContent(boarding_pass=card)
    return session_pb2.SendMessageRequest(request_id="r1", session_id=SESSION, content=content)


def test_an_empty_request_names_every_required_field() -> None:
    request = checkout_pb2.CreateCheckoutRequest()

    assert problems(request) == [(name, "is required.") for name in ("request_id", "session_id", "items", "total")]


def test_a_whole_request_is_fine() -> None:
    assert problems(create_checkout()) == []


@pytest.mark.parametrize(
    "wrong",
    [
        "chk_",
        "chk",
        CHECKOUT[:-1],
        CHECKOUT + "0",
        CHECKOUT.upper(),
        CHECKOUT[:-1] + "u",
        PAYMENT,
        f" {CHECKOUT}",
        f"{CHECKOUT}\n",
        "' OR 1=1 --",
    ],
)
def test_an_id_of_another_kind_or_shape_is_named_before_any_look_up(wrong: str) -> None:
    request = checkout_pb2.GetCheckoutRequest(checkout_id=wrong)

    assert problems(request) == [("checkout_id", "must be the id of a checkout, `chk_…`.")]


def test_a_field_that_holds_one_of_two_kinds_of_ids_takes_both_and_no_third() -> None:
    for prefix, wrong in (("prt", []), ("chn", []), ("bot", ["owner_id"])):
        assert paths(partner_pb2.ListApiKeysRequest(owner_id=absent_id(prefix))) == wrong


@pytest.mark.parametrize("wrong", ["x" * 129, "a\nb", "a\x00", "réf", "\x7f"])
def test_a_request_id_is_printable_ascii_of_at_most_128_characters(wrong: str) -> None:
    assert problems(create_checkout(request_id=wrong)) == [
        ("request_id", "must be 1 to 128 printable ASCII characters.")
    ]
    assert problems(create_checkout(request_id="x" * 128)) == []


def test_texts_are_counted_in_characters_up_to_the_length_that_the_contract_says() -> None:
    assert problems(create_checkout(statement_descriptor="é" * 22)) == []
    assert problems(create_checkout(statement_descriptor="é" * 23)) == [
        ("statement_descriptor", "must have at most 22 characters.")
    ]
    assert paths(user_pb2.RegisterUserRequest(channel_user_id="x", market="US", time_zone="x" * 65)) == ["time_zone"]


def test_repeated_fields_and_maps_have_at_most_as_many_elements_as_the_contract_says() -> None:
    item = checkout_pb2.LineItem(title="Seat", quantity=1, unit_amount=EUR, amount=EUR)

    assert problems(create_checkout(items=[item] * 101)) == [("items", "must have at most 100 elements.")]
    assert problems(create_checkout(items=[item] * 100)) == []
    assert paths(create_checkout(metadata={str(n): "" for n in range(21)})) == ["metadata"]
    assert paths(create_checkout(metadata={str(n): "" for n in range(20)})) == []


def test_a_problem_deep_inside_is_named_by_its_whole_path() -> None:
    item = checkout_pb2.LineItem(title="Seat", quantity=1, unit_amount=EUR, amount=EUR)
    wrong = checkout_pb2.LineItem(title="", unit_amount=money_pb2.Money(minor_units=-1, currency_code="eur"))

    assert problems(create_checkout(items=[item, wrong])) == [
        ("items[1].unit_amount.minor_units", "must be 0 to 9007199254740991."),
        ("items[1].unit_amount.currency_code", "must be three upper-case letters, an ISO 4217 code."),
        ("items[1].title", "is required."),
        ("items[1].amount", "is required."),
    ]


@pytest.mark.parametrize(
    ("minor_units", "currency_code", "wrong"),
    [
        (0, "EUR", []),
        (2**53 - 1, "JPY", []),
        (2**53, "EUR", ["total.minor_units"]),
        (-1, "EUR", ["total.minor_units"]),
        (1, "", ["total.currency_code"]),
        (1, "EURO", ["total.currency_code"]),
        (1, "ÉUR", ["total.currency_code"]),
        (1, "E\x00R", ["total.currency_code"]),
    ],
)
def test_money_is_exact_in_every_language_and_has_a_currency(
    minor_units: int, currency_code: str, wrong: list[str]
) -> None:
    total = money_pb2.Money(minor_units=minor_units, currency_code=currency_code)

    assert paths(create_checkout(total=total)) == wrong


@pytest.mark.parametrize(
    ("seconds", "nanos", "wrong"),
    [
        (1, 0, []),
        (253402300799, 999_999_999, []),
        (0, 0, ["expire_time.seconds"]),
        (-1, 0, ["expire_time.seconds"]),
        (253402300800, 0, ["expire_time.seconds"]),
        (1, -1, ["expire_time.seconds"]),
        (1, 1_000_000_000, ["expire_time.seconds"]),
    ],
)
def test_an_instant_is_after_1970_and_before_the_year_10000(seconds: int, nanos: int, wrong: list[str]) -> None:
    assert paths(create_checkout(expire_time=Timestamp(seconds=seconds, nanos=nanos))) == wrong


def test_a_number_that_an_enum_does_not_have_is_refused() -> None:
    assert problems(create_checkout(capture_mode=99)) == [("capture_mode", "is not a value that this server knows.")]
    assert paths(payment_pb2.ListPaymentsRequest(operation_state=-1)) == ["operation_state"]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "character", ["\x00", "\x1b", "\n", "\t", "\x85", "\u2028", "\u202e", "\u2066", "\u2069", "\ufeff"]
)
def test_control_characters_are_refused_in_what_stands_in_one_line(character: str) -> None:
    assert paths(create_checkout(statement_descriptor=f"a{character}b")) == ["statement_descriptor"]
    assert paths(create_checkout(metadata={"note": f"a{character}b"})) == ["metadata"]
    assert paths(create_checkout(metadata={f"a{character}b": "note"})) == ["metadata"]


def test_what_people_type_may_have_lines_and_any_script_but_no_control_characters() -> None:
    assert paths(text("Bonjour\n\tà tous, שלום, 🎟️\u200d")) == []
    for character in ("\x00", "\x1b", "\x7f", "\u202e", "\u2067"):
        assert paths(text(f"a{character}b")) == ["content.text.text"]


def test_a_message_says_exactly_one_kind_of_thing() -> None:
    request = session_pb2.SendMessageRequest(request_id="r1", session_id=SESSION, content=card_pb2.MessageContent())

    assert problems(request) == [("content.kind", "must be one of its kinds.")]
    assert problems(event_pb2.StreamEventsRequest()) == [("kind", "must be one of its kinds.")]


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (create_checkout(metadata={"card": CARD}), "metadata"),
        (create_checkout(metadata={CARD: "card"}), "metadata"),
        (create_checkout(partner_reference=CARD), "partner_reference"),
        (passed(display_name=CARD), "content.boarding_pass.passenger.display_name"),
        (partner_pb2.CreatePartnerRequest(request_id="r1", display_name=CARD), "display_name"),
        (payment_pb2.CreateRefundRequest(request_id="r1", payment_id=PAYMENT, reason=f"to {CARD}"), "reason"),
        (user_pb2.RegisterUserRequest(channel_user_id=CARD, market="US"), "channel_user_id"),
    ],
)
def test_a_card_number_in_a_structured_field_is_refused_and_not_repeated(request_: Message, field: str) -> None:
    with pytest.raises(Refused) as refused:
        require_fine(check(request_))

    assert refused.value.reason == Reason.CARD_DATA_REFUSED
    assert refused.value.metadata == {"field": field}
    assert "1111" not in refused.value.message


@pytest.mark.parametrize(
    "request_",
    [
        passed(ticket_number="4212345678905"),
        passed(barcode=f"M1{CARD}"),
        passed(booking_reference=CARD),
        passed(ticket_number="2302100000009", display_name="2302100000009"),
        text(f"my card is {CARD}"),
        create_checkout(request_id="4111111111111111"),
    ],
)
def test_tickets_barcodes_references_and_free_text_pass(request_: Message) -> None:
    assert problems(request_) == []


def test_an_answer_lists_a_bounded_number_of_violations_and_says_how_many_there_are() -> None:
    found = [Problem(f"items[{number}].title", "is required.") for number in range(50)]

    with pytest.raises(Refused) as refused:
        require_fine(found)

    assert len(refused.value.violations) == VIOLATIONS_MAX
    assert refused.value.message == "items[0].title: is required. 49 more are listed."


def test_what_is_wrong_otherwise_is_told_before_a_card_number_is() -> None:
    with pytest.raises(Refused) as refused:
        require_fine([Problem("title", "looks like a card number.", card=True), Problem("total", "is required.")])

    assert refused.value.reason == Reason.FIELD_INVALID
    assert [violation.field for violation in refused.value.violations] == ["total"]
