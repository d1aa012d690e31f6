"""An airline that sells two seats in a chat: greet, offer, ask for the money, send the trip, give a part back.

It keeps nothing of its own: what it needs later stands in the checkout's metadata and in the buttons' payloads.

Run it with `COMPTOIR_KEY=cmp_test_… PYTHONPATH=clients/bots python -m airline 127.0.0.1:7600`.
"""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime

from airline.cards import boarding_pass, itinerary
from airline.schedule import CURRENCY, FLIGHTS, TRAVELLERS, Flight
from comptoir import Bot, Context
from comptoir.v1 import Adjustment, CreateCheckoutRequest, CreateRefundRequest, LineItem, Money, Referral

bot = Bot(
    sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:7600",
    os.environ.get("COMPTOIR_KEY", ""),
    consumer="airline",
)


@bot.on_event("session.opened")
def welcome(context: Context) -> None:
    """Greets, and says that it knows which advertisement brought the person."""
    referral = context.event.session.referral
    if referral.source == Referral.SOURCE_AD:
        context.reply(f"Welcome aboard! You came from our offer “{referral.ref}”.")
    else:
        context.reply("Welcome to Comptoir Air!")
    offer(context)


@bot.on_message
def answer(context: Context) -> None:
    """Whatever is typed: the flights."""
    offer(context)


def offer(context: Context) -> None:
    """Shows the flights as buttons."""
    buttons = [
        (f"{flight.origin.city} – {flight.destination.city}", f"flight:{code}") for code, flight in FLIGHTS.items()
    ]
    context.reply("Where would you like to go next week? Two seats side by side are still free:", buttons)


@bot.on_postback("flight:")
def sell(context: Context) -> None:
    """Asks for the price of the chosen flight, one item a passenger."""
    flight = FLIGHTS.get(context.payload.removeprefix("flight:"))
    if flight is None:
        offer(context)
        return
    context.create_checkout(
        CreateCheckoutRequest(
            partner_reference=booking_reference(context),
            statement_descriptor="COMPTOIR AIR",
            metadata={"flight": flight.code},
            items=[seat_of(flight, number) for number in range(len(TRAVELLERS))],
            adjustments=[
                Adjustment(
                    kind=Adjustment.KIND_TAX,
                    label="Airport taxes",
                    amount=Money(minor_units=flight.tax * len(TRAVELLERS), currency_code=CURRENCY),
                )
            ],
        )
    )


def seat_of(flight: Flight, number: int) -> LineItem:
    """The fare of one passenger."""
    traveller = TRAVELLERS[number]
    fare = Money(minor_units=flight.fare, currency_code=CURRENCY)
    return LineItem(
        title=f"{flight.number}, seat {traveller.seat}",
        description=traveller.name,
        quantity=1,
        unit_amount=fare,
        amount=fare,
        item_reference=traveller.ref,
    )


def booking_reference(context: Context) -> str:
    """Six characters that follow from the event, so that a repeated event books nothing twice."""
    return context.event.event_id[-6:].upper()


@bot.on_event("checkout.completed")
def deliver(context: Context) -> None:
    """Sends the trip and the boarding passes, and offers the change that people ask for most."""
    checkout = context.event.checkout
    flight = FLIGHTS[checkout.metadata["flight"]]
    day = datetime.fromtimestamp(checkout.create_time.seconds, UTC)
    context.send(itinerary(flight, day, checkout.partner_reference, checkout.total))
    for traveller in TRAVELLERS:
        context.send(boarding_pass(flight, day, checkout.partner_reference, traveller))
    payment_id = checkout.payment_ids[-1]
    context.reply(
        "Have a good flight! If somebody cannot come, tell me here.",
        [
            (f"{traveller.name.title()} cannot fly", f"drop:{traveller.ref}:{flight.code}:{payment_id}")
            for traveller in TRAVELLERS
        ],
    )


@bot.on_event("payment.declined")
def console(context: Context) -> None:
    """A decline is no reason to lose the seats."""
    context.reply("No harm done: your seats stay reserved for half an hour. Another wallet works as well.")


@bot.on_postback("drop:")
def give_back(context: Context) -> None:
    """Gives back what one passenger paid: the fare and the taxes."""
    _, ref, code, payment_id = context.payload.split(":")
    flight = FLIGHTS[code]
    traveller = next(person for person in TRAVELLERS if person.ref == ref)
    amount = Money(minor_units=flight.fare + flight.tax, currency_code=CURRENCY)
    context.client.payments.create_refund(
        CreateRefundRequest(payment_id=payment_id, amount=amount, reason=f"{traveller.name.title()} does not fly")
    )
    context.reply(f"{traveller.name.title()}'s seat is free again, and the fare is on its way back to your wallet.")
