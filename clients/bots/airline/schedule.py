"""What the airline sells: two flights a day, for two passengers, with their fares."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

CURRENCY = "USD"
DAYS_AHEAD = 7
BOARDING_BEFORE = timedelta(minutes=40)


@dataclass(frozen=True)
class Airport:
    """Where a flight starts or ends."""

    code: str
    city: str
    terminal: str
    time_zone: str


@dataclass(frozen=True)
class Traveller:
    """Somebody who flies, with seat and ticket."""

    ref: str
    name: str
    ticket: str
    seat: str


@dataclass(frozen=True)
class Flight:
    """One flight. `fare` and `tax` are minor units a passenger; times are local hours of the airports."""

    code: str
    number: str
    origin: Airport
    destination: Airport
    gate: str
    leaves_hour: int
    flight_time: timedelta
    cabin: str
    fare: int
    tax: int

    def departure(self, day: datetime) -> datetime:
        """When it leaves, a week after `day`."""
        local = day.astimezone(ZoneInfo(self.origin.time_zone)) + timedelta(days=DAYS_AHEAD)
        return local.replace(hour=self.leaves_hour, minute=10, second=0, microsecond=0)

    def arrival(self, day: datetime) -> datetime:
        """When it lands."""
        return (self.departure(day) + self.flight_time).astimezone(ZoneInfo(self.destination.time_zone))


JFK = Airport("JFK", "New York", "4", "America/New_York")
LIS = Airport("LIS", "Lisbon", "1", "Europe/Lisbon")
CDG = Airport("CDG", "Paris", "2E", "Europe/Paris")

FLIGHTS: dict[str, Flight] = {
    "CM417": Flight("CM417", "CM 417", JFK, LIS, "B22", 19, timedelta(hours=6, minutes=45), "Economy", 10_500, 1_500),
    "CM901": Flight("CM901", "CM 901", JFK, CDG, "B31", 21, timedelta(hours=7, minutes=20), "Economy", 14_000, 1_900),
}

TRAVELLERS: tuple[Traveller, ...] = (
    Traveller("p1", "ADA LOVELACE", "0999417000011", "12A"),
    Traveller("p2", "BEA POTTER", "0999417000022", "12B"),
)
