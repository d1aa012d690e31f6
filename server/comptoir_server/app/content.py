"""What may be said: by whom, and what must hold within a card before it is kept."""

from __future__ import annotations

from comptoir_server.app.locales import TIME_MAX, is_time_zone, require_currency
from comptoir_server.domain import card_numbers
from comptoir_server.domain.cards import (
    BOT_KINDS,
    KIND_OF,
    PLATFORM_PAYLOAD,
    USER_KINDS,
    BoardingPassCard,
    Button,
    Content,
    ItineraryCard,
    Postback,
    Segment,
    Stop,
    TextContent,
)
from comptoir_server.domain.errors import invalid_field
from comptoir_server.domain.records import replace
from comptoir_server.domain.sessions import Sender

KINDS: dict[Sender, frozenset[str]] = {Sender.USER: USER_KINDS, Sender.BOT: BOT_KINDS}
"""What each side may send; everything else is drawn by the platform alone."""


def admitted(sender: Sender, content: Content) -> Content:
    """The content as it may be kept: card numbers in free text are masked. Raises FIELD_INVALID."""
    kind = KIND_OF[type(content)]
    if kind not in KINDS[sender]:
        who = "Bots" if sender == Sender.BOT else "People"
        raise invalid_field("content.kind", f"{kind} is not for you to send. {who} send: {_listed(KINDS[sender])}.")
    match content:
        case TextContent():
            return _text(sender, content)
        case Postback():
            _require_own_payload(content.payload, "content.postback.payload", "A pay button goes to ConfirmCheckout.")
        case ItineraryCard():
            _require_whole(content)
        case BoardingPassCard():
            _require_segment(content.segment, "content.boarding_pass.segment")
            _require_time(content.boarding_time, "content.boarding_pass.boarding_time")
    return content


def _listed(kinds: frozenset[str]) -> str:
    return ", ".join(sorted(kinds))


def _text(sender: Sender, content: TextContent) -> TextContent:
    if not content.text.strip():
        raise invalid_field("content.text.text", "must say something.")
    if content.buttons and sender != Sender.BOT:
        raise invalid_field("content.text.buttons", "are a bot's; people press them with a postback.")
    for number, button in enumerate(content.buttons):
        _require_button(button, f"content.text.buttons[{number}]")
    return replace(content, text=card_numbers.mask(content.text))


def _require_button(button: Button, where: str) -> None:
    if not button.title.strip():
        raise invalid_field(f"{where}.title", "must say something.")
    _require_own_payload(button.payload, f"{where}.payload", "Only the platform draws pay buttons.")


def _require_own_payload(payload: str, field: str, advice: str) -> None:
    """Spaces and case do not matter: no channel or bot shall take for ours what only looks like it."""
    if payload.strip().lower().startswith(PLATFORM_PAYLOAD):
        raise invalid_field(field, f"must not start with `{PLATFORM_PAYLOAD}`. {advice}")


def _require_whole(card: ItineraryCard) -> None:
    """Passengers by segments: every reference is of this card, and nobody sits on two seats at once."""
    passengers = _references([each.passenger_ref for each in card.passengers], "passengers", "passenger_ref")
    segments = _references([each.segment_ref for each in card.segments], "segments", "segment_ref")
    taken: set[tuple[str, str]] = set()
    for number, seat in enumerate(card.seats):
        where = f"content.itinerary.seats[{number}]"
        if seat.passenger_ref not in passengers:
            raise invalid_field(f"{where}.passenger_ref", "is that of none of the card's passengers.")
        if seat.segment_ref not in segments:
            raise invalid_field(f"{where}.segment_ref", "is that of none of the card's segments.")
        if (seat.passenger_ref, seat.segment_ref) in taken:
            raise invalid_field(where, "gives this passenger a second seat on this segment.")
        taken.add((seat.passenger_ref, seat.segment_ref))
    for number, segment in enumerate(card.segments):
        _require_segment(segment, f"content.itinerary.segments[{number}]")
    if card.total is not None:
        require_currency(card.total.currency_code, "content.itinerary.total.currency_code")


def _references(references: list[str], field: str, name: str) -> frozenset[str]:
    """The references of an itinerary, of which there must be one at least and none twice."""
    where = f"content.itinerary.{field}"
    if not references:
        raise invalid_field(where, "must not be empty.")
    for number, reference in enumerate(references):
        if reference in references[:number]:
            raise invalid_field(f"{where}[{number}].{name}", "is used twice: give each one of its own.")
    return frozenset(references)


def _require_segment(segment: Segment, where: str) -> None:
    _require_stop(segment.departure, f"{where}.departure")
    _require_stop(segment.arrival, f"{where}.arrival")


def _require_stop(stop: Stop, where: str) -> None:
    if stop.time_zone and not is_time_zone(stop.time_zone):
        raise invalid_field(f"{where}.time_zone", "must be an IANA time zone name, such as America/Panama.")
    _require_time(stop.time, f"{where}.time")


def _require_time(time: int, field: str) -> None:
    if not 0 <= time < TIME_MAX:
        raise invalid_field(field, "must be an instant before the year 9999.")
