"""Every kind of message as plain text, for channels without cards: money and dates as the person writes them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import assert_never

from comptoir_server.app.locales import DEFAULT_TIME_ZONE, Writer
from comptoir_server.domain.cards import (
    BoardingPassCard,
    CheckoutCard,
    Content,
    ItineraryCard,
    NoticeCard,
    Passenger,
    Postback,
    PriceLine,
    ReceiptCard,
    Segment,
    Stop,
    TextContent,
    WalletLinkCard,
)
from comptoir_server.domain.money import Money
from comptoir_server.domain.records import replace


def money_text(minor_units: int, currency_code: str, locale: str) -> str:
    """An amount as people of `locale` (a BCP 47 tag) write it, such as `1 234,50 €`; exact, with every decimal."""
    return Writer(locale, DEFAULT_TIME_ZONE).money(Money(minor_units, currency_code))


def plain_text(content: Content, locale: str, time_zone: str) -> str:
    """The whole message in lines of text; times on the clocks of `time_zone`, those of a trip on the clocks there."""
    return "\n".join(_lines(content, Writer(locale, time_zone)))


def _lines(content: Content, writer: Writer) -> list[str]:
    match content:
        case TextContent():
            return [content.text, *_buttons(button.title for button in content.buttons)]
        case Postback():
            return [content.title or content.payload]
        case ItineraryCard():
            return _itinerary(content, writer)
        case BoardingPassCard():
            return _boarding_pass(content, writer)
        case CheckoutCard():
            return _checkout(content, writer)
        case ReceiptCard():
            return _receipt(content, writer)
        case WalletLinkCard():
            return _wallet_link(content, writer)
        case NoticeCard():
            return [content.text, *_present(content.action_url)]
        case _:
            assert_never(content)


def _itinerary(card: ItineraryCard, writer: Writer) -> list[str]:
    """The passengers, then each segment with the seats on it."""
    names = {passenger.passenger_ref: passenger.display_name for passenger in card.passengers}
    lines = [*_present(card.intro), f"Booking reference: {card.booking_reference}"]
    lines += [_passenger(passenger) for passenger in card.passengers]
    for segment in card.segments:
        seats = [
            f"{names[place.passenger_ref]} {place.seat}"
            for place in card.seats
            if place.segment_ref == segment.segment_ref and place.seat
        ]
        lines += ["", *_segment(segment, writer), *_labelled("Seats", ", ".join(seats))]
    if card.total is not None:
        lines += ["", f"Total: {writer.money(card.total)}"]
    return lines


def _boarding_pass(card: BoardingPassCard, writer: Writer) -> list[str]:
    there = writer.at(card.segment.departure.time_zone)
    return [
        f"Boarding pass: {_passenger(card.passenger)}",
        *_segment(card.segment, writer),
        *_labelled("Boarding", there.moment(card.boarding_time) if card.boarding_time else ""),
        *_labelled("Seat", card.seat),
        *_labelled("Group", card.boarding_group),
        f"Booking reference: {card.booking_reference}",
        f"Code: {card.barcode}",
    ]


def _passenger(passenger: Passenger) -> str:
    return _joined(passenger.display_name, _prefixed("ticket", passenger.ticket_number))


def _segment(segment: Segment, writer: Writer) -> list[str]:
    return [
        _joined(segment.carrier_number, segment.cabin),
        f"From {_stop(segment.departure, writer)}",
        f"To {_stop(segment.arrival, writer)}",
    ]


def _stop(stop: Stop, writer: Writer) -> str:
    """Where it is, and the time on the clocks there."""
    city = f"{stop.city} ({stop.code})" if stop.city else stop.code
    place = _joined(city, _prefixed("terminal", stop.terminal), _prefixed("gate", stop.gate))
    return f"{place}: {writer.at(stop.time_zone).moment(stop.time)}" if stop.time else place


def _checkout(card: CheckoutCard, writer: Writer) -> list[str]:
    return [
        f"To pay to {card.partner_display_name}:",
        *_prices(card.lines, writer),
        f"Total: {writer.money(card.total)}",
        *_labelled("Can be paid until", writer.moment(card.expire_time) if card.expire_time else ""),
        *_buttons(button.title for button in card.buttons),
    ]


def _receipt(card: ReceiptCard, writer: Writer) -> list[str]:
    refunded = writer.money(card.refunded) if card.refunded.minor_units else ""
    return [
        f"Receipt from {card.partner_display_name}:",
        *_prices(card.lines, writer),
        f"Total: {writer.money(card.total)}",
        *_labelled("Given back", refunded),
        *_labelled("Paid with", card.wallet_label),
        *_labelled("Paid on", writer.moment(card.paid_time) if card.paid_time else ""),
        *_labelled("Order", card.order_id),
    ]


def _prices(lines: tuple[PriceLine, ...], writer: Writer) -> list[str]:
    signed = [
        (line.label, replace(line.amount, minor_units=-line.amount.minor_units) if line.discount else line.amount)
        for line in lines
    ]
    return [f"{label}: {writer.money(amount)}" for label, amount in signed]


def _wallet_link(card: WalletLinkCard, writer: Writer) -> list[str]:
    return [
        f"Link your wallet: {card.provider}",
        *_present(card.link_url),
        *_labelled("The link works until", writer.moment(card.expire_time) if card.expire_time else ""),
    ]


def _buttons(titles: Iterable[str]) -> list[str]:
    return [f"[{title}]" for title in titles]


def _present(text: str) -> list[str]:
    return [text] if text else []


def _labelled(label: str, text: str) -> list[str]:
    return [f"{label}: {text}"] if text else []


def _prefixed(word: str, text: str) -> str:
    return f"{word} {text}" if text else ""


def _joined(*parts: str) -> str:
    return ", ".join(part for part in parts if part)
