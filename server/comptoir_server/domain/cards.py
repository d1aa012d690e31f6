"""What a message says: text, buttons, and the typed cards. Field names are those of `card.proto`."""

from __future__ import annotations

from enum import StrEnum

from comptoir_server.domain.money import Money
from comptoir_server.domain.records import record

PLATFORM_PAYLOAD = "comptoir:"
"""The namespace of payloads that only the platform mints; a bot's button in it is refused."""


@record
class Button:
    """A choice that a bot offers."""

    title: str
    payload: str


@record
class TextContent:
    """Plain words, with a bot's buttons under them."""

    text: str
    buttons: tuple[Button, ...] = ()


@record
class Postback:
    """A pressed button of a bot's."""

    title: str
    payload: str


@record
class Passenger:
    """Somebody who travels."""

    passenger_ref: str
    display_name: str
    ticket_number: str


@record
class Stop:
    """A place and an instant, read in `time_zone`."""

    code: str
    city: str
    terminal: str
    gate: str
    time: int
    time_zone: str


@record
class Segment:
    """One part of a trip."""

    segment_ref: str
    carrier_number: str
    departure: Stop
    arrival: Stop
    cabin: str


@record
class SeatAssignment:
    """The seat of one passenger on one segment."""

    passenger_ref: str
    segment_ref: str
    seat: str


@record
class ItineraryCard:
    """A trip: passengers by segments."""

    intro: str
    booking_reference: str
    passengers: tuple[Passenger, ...]
    segments: tuple[Segment, ...]
    seats: tuple[SeatAssignment, ...]
    total: Money | None


@record
class BoardingPassCard:
    """A pass for one passenger on one segment; `barcode` is the text of the scannable code."""

    passenger: Passenger
    segment: Segment
    booking_reference: str
    seat: str
    boarding_group: str
    boarding_time: int
    barcode: str


@record
class PriceLine:
    """One line of a price; a discount is taken off."""

    label: str
    amount: Money
    discount: bool = False


@record
class PayButton:
    """A pay button of one wallet, or an invitation to link one at `link_provider`."""

    title: str
    payload: str
    wallet_id: str
    link_provider: str


@record
class CheckoutCard:
    """What is to be paid, at one version."""

    checkout_id: str
    version: int
    partner_display_name: str
    lines: tuple[PriceLine, ...]
    total: Money
    buttons: tuple[PayButton, ...]
    expire_time: int


@record
class ReceiptCard:
    """What was paid or given back."""

    order_id: str
    checkout_id: str
    partner_display_name: str
    lines: tuple[PriceLine, ...]
    total: Money
    refunded: Money
    wallet_label: str
    paid_time: int


@record
class WalletLinkCard:
    """An invitation to link a wallet."""

    wallet_link_id: str
    provider: str
    link_url: str
    expire_time: int


class NoticeKind(StrEnum):
    """What a platform's sentence about a payment or wallet is about."""

    BEING_CONFIRMED = "BEING_CONFIRMED"
    DECLINED = "DECLINED"
    EXPIRED = "EXPIRED"
    CANCELED = "CANCELED"
    ACTION_REQUIRED = "ACTION_REQUIRED"
    REVERSED = "REVERSED"
    NOT_CHARGED = "NOT_CHARGED"
    WALLET_LINKED = "WALLET_LINKED"


@record
class NoticeCard:
    """A sentence about a payment or wallet."""

    kind: NoticeKind
    checkout_id: str
    text: str
    action_url: str


Content = (
    TextContent | Postback | ItineraryCard | BoardingPassCard | CheckoutCard | ReceiptCard | WalletLinkCard | NoticeCard
)

CONTENT_KINDS: dict[str, type[Content]] = {
    "text": TextContent,
    "postback": Postback,
    "itinerary": ItineraryCard,
    "boarding_pass": BoardingPassCard,
    "checkout": CheckoutCard,
    "receipt": ReceiptCard,
    "wallet_link": WalletLinkCard,
    "notice": NoticeCard,
}
"""The kinds by their names in `MessageContent.kind`."""

KIND_OF: dict[type[Content], str] = {content: kind for kind, content in CONTENT_KINDS.items()}

USER_KINDS = frozenset({"text", "postback"})
"""What a person may send."""

BOT_KINDS = frozenset({"text", "itinerary", "boarding_pass"})
"""What a bot may send."""
