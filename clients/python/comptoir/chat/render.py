"""What a person sees of a message in a terminal: bubbles, cards, buttons, and codes that can be scanned."""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import segno
from babel.core import Locale
from babel.dates import format_datetime, format_time
from babel.numbers import format_currency, get_currency_precision
from google.protobuf.timestamp_pb2 import Timestamp
from rich.align import Align
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from comptoir.v1 import (
    BoardingPassCard,
    CheckoutCard,
    ItineraryCard,
    Message,
    Money,
    NoticeCard,
    PriceLine,
    ReceiptCard,
    Stop,
    WalletLinkCard,
)

WIDTH = 64

_Money = Callable[[Money], str]


def money_in(locale: str) -> _Money:
    """A function that writes money as people of `locale` (BCP 47) do."""
    known = Locale.parse(locale, sep="-")

    def write(amount: Money) -> str:
        exponent = get_currency_precision(amount.currency_code)
        return format_currency(Decimal(amount.minor_units).scaleb(-exponent), amount.currency_code, locale=known)

    return write


def draw(message: Message, *, locale: str, time_zone: str, bot_name: str, buttons_from: int = 1) -> RenderableType:
    """The message as the person sees it; its buttons are numbered from `buttons_from` on."""
    content = message.content
    kind = content.WhichOneof("kind")
    if message.erased or kind is None:
        return Text("(erased)", style="dim italic")
    if message.sender == Message.SENDER_USER:
        words = content.postback.title if kind == "postback" else content.text.text
        return Align.right(Panel(Text(words), border_style="cyan", expand=False, title="you", title_align="right"))
    if kind == "text":
        rows: list[RenderableType] = [Text(content.text.text)]
        rows += [_button(buttons_from + number, each.title) for number, each in enumerate(content.text.buttons)]
        return _panel(Group(*rows), bot_name, "magenta")
    return _CARDS[kind](message, _Style(locale, time_zone, bot_name, buttons_from))


class _Style:
    """How this person reads: their locale and time zone, and the number of the next button."""

    def __init__(self, locale: str, time_zone: str, bot_name: str, buttons_from: int) -> None:
        self.locale = Locale.parse(locale, sep="-")
        self.money = money_in(locale)
        self.zone = ZoneInfo(time_zone)
        self.bot_name = bot_name
        self.buttons_from = buttons_from

    def time(self, stamp: Timestamp) -> str:
        """Date and time in the person's zone."""
        return format_datetime(_moment(stamp, self.zone), "medium", locale=self.locale)


def _moment(stamp: Timestamp, zone: ZoneInfo) -> datetime:
    return datetime.fromtimestamp(stamp.seconds, zone)


def _panel(body: RenderableType, title: str, colour: str) -> RenderableType:
    return Panel(body, title=title, title_align="left", border_style=colour, width=WIDTH)


def _button(number: int, title: str) -> Text:
    return Text.assemble((f" {number} ", "bold reverse"), " ", (title, "bold"))


def _price(lines: list[PriceLine], total: Money, style: _Style, *, last: str) -> Table:
    table = Table.grid(padding=(0, 2), expand=True)
    table.add_column()
    table.add_column(justify="right")
    for line in lines:
        table.add_row(line.label, ("− " if line.discount else "") + style.money(line.amount))
    table.add_row(Text(last, style="bold"), Text(style.money(total), style="bold"))
    return table


def _checkout(message: Message, style: _Style) -> RenderableType:
    card: CheckoutCard = message.content.checkout
    rows: list[RenderableType] = [
        _price(list(card.lines), card.total, style, last=f"To pay to {card.partner_display_name}")
    ]
    rows.append(Text(f"Until {style.time(card.expire_time)}", style="dim"))
    rows += [_button(style.buttons_from + number, each.title) for number, each in enumerate(card.buttons)]
    return _panel(Group(*rows), "Comptoir · to pay", "green")


def _receipt(message: Message, style: _Style) -> RenderableType:
    card: ReceiptCard = message.content.receipt
    rows: list[RenderableType] = [
        _price(list(card.lines), card.total, style, last=f"Paid to {card.partner_display_name}")
    ]
    if card.refunded.minor_units:
        rows.append(Text(f"Given back: {style.money(card.refunded)}", style="bold yellow"))
    rows.append(Text(f"{card.wallet_label} · {style.time(card.paid_time)} · {card.order_id}", style="dim"))
    return _panel(Group(*rows), "Comptoir · receipt", "green")


def _stop(stop: Stop, style: _Style) -> str:
    place = f"{stop.code} {stop.city}"
    when = format_datetime(
        _moment(stop.time, ZoneInfo(stop.time_zone or "UTC")), "EEE d MMM HH:mm", locale=style.locale
    )
    return f"{place}, {when}"


def _itinerary(message: Message, style: _Style) -> RenderableType:
    card: ItineraryCard = message.content.itinerary
    rows: list[RenderableType] = [Text(card.intro)] if card.intro else []
    seats = {(seat.passenger_ref, seat.segment_ref): seat.seat for seat in card.seats}
    for segment in card.segments:
        rows.append(Text(f"{segment.carrier_number} · {segment.cabin}", style="bold"))
        rows.append(Text(f"  {_stop(segment.departure, style)}"))
        rows.append(Text(f"  {_stop(segment.arrival, style)}"))
        for person in card.passengers:
            seat = seats.get((person.passenger_ref, segment.segment_ref), "–")
            rows.append(Text(f"  {seat:<4} {person.display_name}  {person.ticket_number}"))
    if card.HasField("total"):
        rows.append(Text(f"Booking {card.booking_reference} · {style.money(card.total)}", style="dim"))
    return _panel(Group(*rows), style.bot_name, "magenta")


def _boarding_pass(message: Message, style: _Style) -> RenderableType:
    card: BoardingPassCard = message.content.boarding_pass
    segment = card.segment
    zone = ZoneInfo(segment.departure.time_zone or "UTC")
    boarding = format_time(_moment(card.boarding_time, zone), "short", locale=style.locale)
    facts = Group(
        Text(card.passenger.display_name, style="bold"),
        Text(f"{segment.carrier_number}  {segment.departure.code} → {segment.arrival.code}", style="bold"),
        Text(f"Seat {card.seat}   Group {card.boarding_group}"),
        Text(f"Gate {segment.departure.gate}   Boarding {boarding}"),
        Text(f"Booking {card.booking_reference}", style="dim"),
    )
    return _panel(Group(facts, Text(scannable(card.barcode))), f"{style.bot_name} · boarding pass", "blue")


def scannable(text: str) -> str:
    """A QR code of half blocks that a camera reads off the terminal."""
    picture = io.StringIO()
    segno.make_qr(text, error="l").terminal(out=picture, border=1, compact=True)
    return picture.getvalue().rstrip("\n")


def _wallet_link(message: Message, style: _Style) -> RenderableType:
    card: WalletLinkCard = message.content.wallet_link
    words = f"Open this page, approve, and type the code that it shows here, by {style.time(card.expire_time)}:"
    return Group(_panel(Text(words), "Comptoir · link a wallet", "green"), _address(card.link_url))


def _address(url: str) -> Text:
    """An address on a line of its own: a frame around it would be copied with it where it is folded."""
    return Text(url, style=f"underline link {url}", overflow="fold")


_NOTICE_COLOURS = {
    NoticeCard.KIND_DECLINED: "red",
    NoticeCard.KIND_BEING_CONFIRMED: "yellow",
    NoticeCard.KIND_ACTION_REQUIRED: "yellow",
}


def _notice(message: Message, style: _Style) -> RenderableType:
    card: NoticeCard = message.content.notice
    panel = _panel(Text(card.text), "Comptoir", _NOTICE_COLOURS.get(card.kind, "green"))
    return Group(panel, _address(card.action_url)) if card.action_url else panel


_CARDS: dict[str, Callable[[Message, _Style], RenderableType]] = {
    "checkout": _checkout,
    "receipt": _receipt,
    "itinerary": _itinerary,
    "boarding_pass": _boarding_pass,
    "wallet_link": _wallet_link,
    "notice": _notice,
}
