"""The airline's cards: the trip, and a boarding pass with the code that the gate scans."""

from __future__ import annotations

from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp

from airline.schedule import BOARDING_BEFORE, TRAVELLERS, Airport, Flight, Traveller
from comptoir.v1 import (
    BoardingPassCard,
    ItineraryCard,
    MessageContent,
    Money,
    Passenger,
    SeatAssignment,
    Segment,
    Stop,
)

SEGMENT = "s1"


def itinerary(flight: Flight, day: datetime, booking: str, total: Money) -> MessageContent:
    """Everybody on the flight, with their seats and what it cost."""
    return MessageContent(
        itinerary=ItineraryCard(
            intro="Here is your trip.",
            booking_reference=booking,
            passengers=[passenger(traveller) for traveller in TRAVELLERS],
            segments=[segment(flight, day)],
            seats=[
                SeatAssignment(passenger_ref=traveller.ref, segment_ref=SEGMENT, seat=traveller.seat)
                for traveller in TRAVELLERS
            ],
            total=total,
        )
    )


def boarding_pass(flight: Flight, day: datetime, booking: str, traveller: Traveller) -> MessageContent:
    """One passenger's pass; its code is in the form of IATA resolution 792, as bar-coded boarding passes are."""
    return MessageContent(
        boarding_pass=BoardingPassCard(
            passenger=passenger(traveller),
            segment=segment(flight, day),
            booking_reference=booking,
            seat=traveller.seat,
            boarding_group="2",
            boarding_time=instant(flight.departure(day) - BOARDING_BEFORE),
            barcode=barcode(flight, day, booking, traveller),
        )
    )


def passenger(traveller: Traveller) -> Passenger:
    """The traveller as cards name them."""
    return Passenger(passenger_ref=traveller.ref, display_name=traveller.name, ticket_number=traveller.ticket)


def segment(flight: Flight, day: datetime) -> Segment:
    """The flight as cards show it."""
    return Segment(
        segment_ref=SEGMENT,
        carrier_number=flight.number,
        departure=stop(flight.origin, flight.departure(day), flight.gate),
        arrival=stop(flight.destination, flight.arrival(day), ""),
        cabin=flight.cabin,
    )


def stop(airport: Airport, time: datetime, gate: str) -> Stop:
    """A place and a time."""
    return Stop(
        code=airport.code,
        city=airport.city,
        terminal=airport.terminal,
        gate=gate,
        time=instant(time),
        time_zone=airport.time_zone,
    )


def instant(time: datetime) -> Timestamp:
    """The same instant on the wire."""
    stamp = Timestamp()
    stamp.FromDatetime(time)
    return stamp


def barcode(flight: Flight, day: datetime, booking: str, traveller: Traveller) -> str:
    """The mandatory items of a pass with one leg: name, booking, route, flight, date, cabin, seat, sequence."""
    first, last = traveller.name.split(" ", 1)
    name = f"{last}/{first}"[:20].ljust(20)
    carrier, number = flight.number.split()
    route = f"{flight.origin.code}{flight.destination.code}{carrier.ljust(3)}{number.rjust(4, '0')} "
    date = f"{flight.departure(day).timetuple().tm_yday:03d}"
    sequence = f"{TRAVELLERS.index(traveller) + 1:04d} "
    return f"M1{name}E{booking.ljust(7)}{route}{date}Y{traveller.seat.rjust(4, '0')}{sequence}100"
