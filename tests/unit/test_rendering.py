"""Messages as plain text: exact to the last minor unit and the last no-break space."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from comptoir_server.app.locales import TIME_MAX, Writer, canonical_locale, decimals, is_market, is_time_zone
from comptoir_server.app.rendering import money_text, plain_text
from comptoir_server.domain.cards import (
    BoardingPassCard,
    Button,
    CheckoutCard,
    Content,
    ItineraryCard,
    NoticeCard,
    NoticeKind,
    Passenger,
    PayButton,
    Postback,
    PriceLine,
    ReceiptCard,
    SeatAssignment,
    Segment,
    Stop,
    TextContent,
    WalletLinkCard,
)
from comptoir_server.domain.money import MINOR_UNITS_MAX, Money

NBSP = "\u00a0"
NARROW = "\u202f"


def instant(year: int, month: int, day: int, hour: int, minute: int) -> int:
    """Microseconds of a UTC instant."""
    return int(datetime(year, month, day, hour, minute, tzinfo=UTC).timestamp()) * 1_000_000


SAN_FRANCISCO = Stop("SFO", "San Francisco", "1", "A4", instant(2016, 10, 24, 17, 45), "America/Los_Angeles")
PANAMA = Stop("PTY", "Panama City", "", "", instant(2016, 10, 25, 0, 5), "America/Panama")
SEGMENT = Segment("s1", "CM 417", SAN_FRANCISCO, PANAMA, "Economy")
ADA = Passenger("p1", "Ada Lovelace", "230-2174650001")
BOB = Passenger("p2", "Bob Stone", "")


@pytest.mark.parametrize(
    ("minor_units", "currency_code", "locale", "text"),
    [
        (24_000, "USD", "en-US", "$240.00"),
        (-5, "USD", "en-US", "-$0.05"),
        (123_456_789, "EUR", "fr-FR", f"1{NARROW}234{NARROW}567,89{NBSP}€"),
        (1_250, "JPY", "fr-FR", f"1{NARROW}250{NBSP}JPY"),
        (1_250, "JPY", "ja-JP", "￥1,250"),
        (1_250, "KWD", "en-US", f"KWD{NBSP}1.250"),
        (1_250, "KWD", "ja-JP", f"KWD{NBSP}1.250"),
        (125_000, "HUF", "hu-HU", f"1{NBSP}250,00{NBSP}Ft"),
        (125_005, "HUF", "en-US", f"HUF{NBSP}1,250.05"),
        (1_250, "IQD", "en-US", f"IQD{NBSP}1.250"),
        (12_345_678, "INR", "hi-IN", "₹1,23,456.78"),
        (0, "EUR", "de-DE", f"0,00{NBSP}€"),
        (MINOR_UNITS_MAX, "EUR", "fr-FR", f"90{NARROW}071{NARROW}992{NARROW}547{NARROW}409,91{NBSP}€"),
    ],
)
def test_money_is_written_as_its_reader_writes_it_and_keeps_every_minor_unit(
    minor_units: int, currency_code: str, locale: str, text: str
) -> None:
    assert money_text(minor_units, currency_code, locale) == text


@pytest.mark.parametrize("code", ["XXX", "XAU", "ABC", "usd", ""])
def test_what_is_no_money_is_never_written_as_money(code: str) -> None:
    with pytest.raises(ValueError, match="is no currency of ISO 4217"):
        money_text(100, code, "en-US")


def test_the_exponent_is_that_of_iso_4217() -> None:
    codes = ["EUR", "JPY", "KWD", "HUF", "TWD", "CLF", "XAU", "XXX"]

    assert [decimals(code) for code in codes] == [2, 0, 3, 2, 2, 4, None, None]


@pytest.mark.parametrize(
    ("locale", "time_zone", "text"),
    [
        ("en-US", "America/Los_Angeles", f"Oct 24, 2016, 3:30{NARROW}PM"),
        ("fr-FR", "Europe/Paris", "25 oct. 2016, 00:30"),
        ("ja-JP", "Asia/Tokyo", "2016/10/25 7:30"),
        ("de-DE", "UTC", "24.10.2016, 22:30 UTC"),
        ("en-GB", "", "24 Oct 2016, 22:30 UTC"),
    ],
)
def test_a_time_is_on_its_readers_calendar_and_clock_and_utc_is_named(locale: str, time_zone: str, text: str) -> None:
    assert Writer(locale, time_zone).moment(instant(2016, 10, 24, 22, 30)) == text


def test_the_last_time_that_is_taken_can_be_shown_everywhere() -> None:
    last = TIME_MAX - 1

    assert Writer("en-US", "Pacific/Kiritimati").moment(last) == f"Jan 1, 9999, 1:59{NARROW}PM"


@pytest.mark.parametrize(
    ("tag", "canonical"),
    [
        ("fr-FR", "fr-FR"),
        ("FR-fr", "fr-FR"),
        ("en", "en"),
        ("zh-TW", "zh-TW"),
        ("zh-hant-tw", "zh-Hant-TW"),
        ("es-419", "es-419"),
        ("fr-XX", None),
        ("root", None),
        ("x", None),
        ("", None),
        ("en_US", None),
        ("en-", None),
        ("en--US", None),
        ("en-US\n", None),
        ("en.UTF-8", None),
        ("en-US@calendar", None),
        ("en-US-u-nu-latn", None),
        ("i-klingon", None),
        ("é-FR", None),
    ],
)
def test_a_tag_is_written_canonically_or_not_known(tag: str, canonical: str | None) -> None:
    assert canonical_locale(tag) == canonical


def test_markets_are_the_countries_of_iso_3166() -> None:
    assert [code for code in ("US", "GB", "FR", "us", "UK", "EU", "XK", "ZZ", "", "USA") if is_market(code)] == [
        "US",
        "GB",
        "FR",
    ]


def test_time_zones_are_those_of_iana() -> None:
    names = ("UTC", "Europe/Paris", "America/Panama", "America", "europe/paris", "../Europe/Paris", "/etc/passwd", "")

    assert [name for name in names if is_time_zone(name)] == ["UTC", "Europe/Paris", "America/Panama"]


def lines(content: Content, locale: str = "en-US", time_zone: str = "America/New_York") -> list[str]:
    """The plain text, line by line."""
    return plain_text(content, locale, time_zone).split("\n")


def test_text_has_its_buttons_under_it() -> None:
    content = TextContent("Where to?", (Button("Panama City", "go:PTY"), Button("Bogotá", "go:BOG")))

    assert lines(content) == ["Where to?", "[Panama City]", "[Bogotá]"]


def test_a_postback_is_its_title_or_where_it_has_none_its_payload() -> None:
    assert lines(Postback("Panama City", "go:PTY")) == ["Panama City"]
    assert lines(Postback("", "go:PTY")) == ["go:PTY"]


def test_an_itinerary_is_passengers_by_segments_on_the_clocks_of_each_place() -> None:
    back = Segment("s2", "CM 418", PANAMA, SAN_FRANCISCO, "")
    seats = (
        SeatAssignment("p1", "s1", "12A"),
        SeatAssignment("p2", "s1", "12B"),
        SeatAssignment("p2", "s2", "30F"),
        SeatAssignment("p1", "s2", ""),
    )
    card = ItineraryCard("Your trip is booked.", "ABC123", (ADA, BOB), (SEGMENT, back), seats, Money(48_000, "USD"))

    assert lines(card, time_zone="Europe/Paris") == [
        "Your trip is booked.",
        "Booking reference: ABC123",
        "Ada Lovelace, ticket 230-2174650001",
        "Bob Stone",
        "",
        "CM 417, Economy",
        f"From San Francisco (SFO), terminal 1, gate A4: Oct 24, 2016, 10:45{NARROW}AM",
        f"To Panama City (PTY): Oct 24, 2016, 7:05{NARROW}PM",
        "Seats: Ada Lovelace 12A, Bob Stone 12B",
        "",
        "CM 418",
        f"From Panama City (PTY): Oct 24, 2016, 7:05{NARROW}PM",
        f"To San Francisco (SFO), terminal 1, gate A4: Oct 24, 2016, 10:45{NARROW}AM",
        "Seats: Bob Stone 30F",
        "",
        "Total: $480.00",
    ]


def test_an_itinerary_says_nothing_of_what_it_does_not_know() -> None:
    unknown = Stop("XYZ", "", "", "", 0, "")
    card = ItineraryCard("", "ABC123", (BOB,), (Segment("s1", "CM 417", unknown, unknown, ""),), (), None)

    assert lines(card) == ["Booking reference: ABC123", "Bob Stone", "", "CM 417", "From XYZ", "To XYZ"]


def test_a_boarding_pass_says_where_when_and_on_which_seat() -> None:
    card = BoardingPassCard(ADA, SEGMENT, "ABC123", "12A", "2", instant(2016, 10, 24, 17, 5), "M1LOVELACE/ADA")

    assert lines(card, "fr-FR", "Europe/Paris") == [
        "Boarding pass: Ada Lovelace, ticket 230-2174650001",
        "CM 417, Economy",
        "From San Francisco (SFO), terminal 1, gate A4: 24 oct. 2016, 10:45",
        "To Panama City (PTY): 24 oct. 2016, 19:05",
        "Boarding: 24 oct. 2016, 10:05",
        "Seat: 12A",
        "Group: 2",
        "Booking reference: ABC123",
        "Code: M1LOVELACE/ADA",
    ]


PRICE = (
    PriceLine("Flight", Money(20_000, "USD")),
    PriceLine("Tax", Money(5_000, "USD")),
    PriceLine("Voucher", Money(1_000, "USD"), discount=True),
)


def test_a_checkout_shows_its_price_until_when_and_the_buttons_but_never_what_they_carry() -> None:
    button = PayButton("Pay $240.00 with PayPal a•••@example.com", "comptoir:pay:1:wal_1:secret", "wal_1", "")
    expire = instant(2016, 10, 24, 22, 30)
    card = CheckoutCard("chk_1", 1, "Comptoir Air", PRICE, Money(24_000, "USD"), (button,), expire)

    assert lines(card) == [
        "To pay to Comptoir Air:",
        "Flight: $200.00",
        "Tax: $50.00",
        "Voucher: -$10.00",
        "Total: $240.00",
        f"Can be paid until: Oct 24, 2016, 6:30{NARROW}PM",
        "[Pay $240.00 with PayPal a•••@example.com]",
    ]


def test_a_receipt_shows_what_was_paid_and_only_then_what_was_given_back() -> None:
    paid = instant(2016, 10, 24, 22, 30)
    total, nothing, some = Money(24_000, "USD"), Money(0, "USD"), Money(2_000, "USD")
    whole = ReceiptCard("ord_1", "chk_1", "Comptoir Air", PRICE, total, nothing, "PayPal a•••@example.com", paid)
    part = ReceiptCard("ord_1", "chk_1", "Comptoir Air", (), total, some, "PayPal a•••@example.com", paid)

    assert lines(whole, "fr-FR", "Europe/Paris") == [
        "Receipt from Comptoir Air:",
        f"Flight: 200,00{NBSP}$US",
        f"Tax: 50,00{NBSP}$US",
        f"Voucher: -10,00{NBSP}$US",
        f"Total: 240,00{NBSP}$US",
        "Paid with: PayPal a•••@example.com",
        "Paid on: 25 oct. 2016, 00:30",
        "Order: ord_1",
    ]
    assert lines(part)[1:3] == ["Total: $240.00", "Given back: $20.00"]


def test_a_wallet_link_shows_the_page_and_how_long_it_works() -> None:
    expire = instant(2016, 10, 24, 22, 30)

    assert lines(WalletLinkCard("wlk_1", "paypal", "https://pay.example/l/secret", expire), time_zone="UTC") == [
        "Link your wallet: paypal",
        "https://pay.example/l/secret",
        f"The link works until: Oct 24, 2016, 10:30{NARROW}PM UTC",
    ]


def test_a_notice_is_its_sentence_and_where_to_act() -> None:
    sentence = "PayPal asks you to approve the payment of $240.00 first."
    act = NoticeCard(NoticeKind.ACTION_REQUIRED, "chk_1", sentence, "https://provider.example/approve")
    done = NoticeCard(NoticeKind.EXPIRED, "chk_1", "The time ran out. Nothing was charged.", "")

    assert lines(act) == [sentence, "https://provider.example/approve"]
    assert lines(done) == ["The time ran out. Nothing was charged."]
