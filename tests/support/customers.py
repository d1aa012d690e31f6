"""People who buy and get refunds while servers fall, and who keep what was sent, what was answered, and the answer."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from comptoir import ComptoirError, money
from comptoir.errors import CheckoutExpired
from comptoir.v1 import (
    Capture,
    CaptureMode,
    Checkout,
    ConfirmCheckoutResponse,
    CreateCaptureRequest,
    Payment,
    Refund,
    VoidPaymentRequest,
)
from tests.support.reckoning import Account, Row
from tests.support.shop import PATIENCE_SECONDS, Person, Shop, until

PRICE = 24_000
GIVEN_BACK = 100
TAKEN = 10_000
REFUND_SHARE = 0.25
HOLD_SHARE = 0.25
AT_ONCE = 20
STARVED_SECONDS = 30.0
FINAL = (Payment.STATE_CAPTURED, Payment.STATE_DECLINED, Payment.STATE_FAILED, Payment.STATE_VOIDED)
ANSWERED = (*FINAL, Payment.STATE_AUTHORIZED)
"""What a yes is answered with for good."""

AFTER_A_HOLD = {"AUTHORIZED", "CAPTURED", "VOIDED"}
FINAL_CAPTURES = (Capture.STATE_SUCCEEDED, Capture.STATE_DECLINED, Capture.STATE_FAILED)
FINAL_REFUNDS = (Refund.STATE_SUCCEEDED, Refund.STATE_FAILED)


@dataclass
class Yes:
    """One person's yes, and what they were told."""

    person: Person
    checkout: Checkout
    request_id: str
    answer: ConfirmCheckoutResponse


@dataclass
class Customers:
    """The people of one shop. They run outside of every server, and repeat what was not answered."""

    shop: Shop
    rng: random.Random
    people: list[Person] = field(default_factory=list)
    pause_seconds: float = 0.0
    """The longest that somebody thinks before the next thing."""
    made: list[Checkout] = field(default_factory=list)
    sent: set[str] = field(default_factory=set)
    said: list[Yes] = field(default_factory=list)
    returned: list[Refund] = field(default_factory=list)
    taken: list[Capture] = field(default_factory=list)
    released: list[Payment] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)

    @property
    def captured(self) -> list[Payment]:
        """What can be given back."""
        return [yes.answer.payment for yes in self.said if yes.answer.payment.state == Payment.STATE_CAPTURED]

    @property
    def unanswered(self) -> int:
        """How many requests were sent and have no answer yet."""
        return len(self.sent) - self.answers - self.refused.total()

    @property
    def answers(self) -> int:
        """How many were answered."""
        return len(self.said) + len(self.returned) + len(self.taken) + len(self.released)

    async def buy(
        self, person: Person | None = None, capture_mode: CaptureMode.ValueType = CaptureMode.CAPTURE_MODE_AUTOMATIC
    ) -> None:
        """Somebody buys something; of what is only held the partner takes a part, or lets it go."""
        person = person or self.rng.choice(self.people)
        checkout = await self.shop.checkout(person, PRICE, capture_mode)
        self.made.append(checkout)
        request_id = self._request_id("confirm")
        try:
            answer = await person.confirm(checkout, request_id)
        except CheckoutExpired as refusal:
            self.refused[refusal.reason] += 1
            return
        self.said.append(Yes(person, checkout, request_id, answer))
        if answer.payment.state == Payment.STATE_AUTHORIZED:
            await self._end_hold(answer.payment)

    async def _end_hold(self, payment: Payment) -> None:
        payments, payment_id = self.shop.partner.payments, payment.payment_id
        if self.rng.random() < 0.5:
            amount = money(TAKEN, "USD")
            request = CreateCaptureRequest(
                request_id=self._request_id("capture"), payment_id=payment_id, amount=amount, final=True
            )
            self.taken.append((await payments.create_capture(request, timeout_seconds=PATIENCE_SECONDS)).capture)
        else:
            release = VoidPaymentRequest(request_id=self._request_id("void"), payment_id=payment_id)
            self.released.append((await payments.void_payment(release, timeout_seconds=PATIENCE_SECONDS)).payment)

    async def give_back(self, payment: Payment) -> None:
        """A small part of a payment goes back."""
        answer = await self.shop.refund(payment.payment_id, GIVEN_BACK, self._request_id("refund"))
        self.returned.append(answer.refund)

    async def keep_buying(self, person: Person, enough: asyncio.Event) -> None:
        """Buys, and now and then gets something back, one after another."""
        while not enough.is_set():
            if self.captured and self.rng.random() < REFUND_SHARE:
                await self.give_back(self.rng.choice(self.captured[-50:]))
            elif self.rng.random() < HOLD_SHARE:
                await self.buy(person, CaptureMode.CAPTURE_MODE_MANUAL)
            else:
                await self.buy(person)
            await asyncio.sleep(self.rng.uniform(0, self.pause_seconds))

    def _request_id(self, noun: str) -> str:
        request_id = self.shop.request_id(noun)
        self.sent.add(request_id)
        return request_id

    def contradictions(self, account: Account) -> list[str]:
        """Where the database does not hold what somebody was told."""
        found = [f"{one.checkout_id} is lost" for one in self.made if one.checkout_id not in account.checkouts]
        found += [fault for yes in self.said if (fault := _broken(yes.answer.payment, account))]
        found += [fault for payment in self.released if (fault := _broken(payment, account))]
        found += [
            _broken_part(one.capture_id, Capture.State.Name(one.state), one.state in FINAL_CAPTURES, account.captures)
            for one in self.taken
        ]
        found += [
            _broken_part(one.refund_id, Refund.State.Name(one.state), one.state in FINAL_REFUNDS, account.refunds)
            for one in self.returned
        ]
        return [fault for fault in found if fault]

    def final(self, count: int) -> list[Yes]:
        """The last answers that were final, and as many of all, drawn at random."""
        said = [yes for yes in self.said if yes.answer.payment.state in ANSWERED]
        return said[-count:] + self.rng.sample(said, min(len(said), count))

    async def repeat(self, some: Sequence[Yes]) -> list[str]:
        """Sends these again with their request ids; where an answer that was final is not the same, word for word."""
        faults: list[str] = []
        for together in (some[i : i + AT_ONCE] for i in range(0, len(some), AT_ONCE)):
            repeated = await asyncio.gather(*(yes.person.confirm(yes.checkout, yes.request_id) for yes in together))
            faults += [_differs(yes.answer, now) for yes, now in zip(together, repeated, strict=True)]
        return [fault for fault in faults if fault]


def _broken(told: Payment, account: Account) -> str:
    row = account.payments.get(told.payment_id)
    if row is None:
        return f"{told.payment_id} is lost"
    state = Payment.State.Name(told.state).removeprefix("STATE_")
    if told.state in FINAL and (row.state, row.captured) != (state, told.captured.minor_units):
        return f"{told.payment_id} was told to be {state}, and is {row.state} {row.captured}"
    if told.state == Payment.STATE_AUTHORIZED and row.state not in AFTER_A_HOLD:
        return f"{told.payment_id} was told to be held, and is {row.state}"
    return ""


def _broken_part(part_id: str, told: str, final: bool, rows: dict[str, Row]) -> str:
    """The same for a capture or a refund."""
    state = told.removeprefix("STATE_")
    if part_id not in rows:
        return f"{part_id} is lost"
    if final and rows[part_id].state != state:
        return f"{part_id} was told to be {state}, and is {rows[part_id].state}"
    return ""


def _differs(told: ConfirmCheckoutResponse, now: ConfirmCheckoutResponse) -> str:
    if told.payment.state in ANSWERED and now != told:
        return f"{told.payment.payment_id} was answered otherwise the second time"
    if now.payment.payment_id != told.payment.payment_id:
        return f"{told.payment.payment_id} has become {now.payment.payment_id}"
    return ""


async def new_customers(shop: Shop, seed: str, people: int) -> Customers:
    """Some people with a wallet each."""
    customers = Customers(shop, random.Random(seed))
    customers.people = [await shop.person() for _ in range(people)]
    return customers


@dataclass
class Buying:
    """Customers who buy, each person one thing after another."""

    customers: tuple[Customers, ...]
    enough: asyncio.Event
    tasks: list[asyncio.Task[None]]
    answers: int = 0
    answered: float = field(default_factory=time.monotonic)

    def require_alive(self) -> None:
        """Raises what made somebody give up."""
        for task in self.tasks:
            if task.done():
                task.result()

    async def go_on(self) -> None:
        """Raises what made somebody give up; waits for an answer where there was none for long.

        On a machine that is too busy servers would else fall again before they get to answer anybody.
        """
        self.require_alive()
        answers = self._count()
        if answers > self.answers:
            self.answers, self.answered = answers, time.monotonic()
        elif time.monotonic() > self.answered + STARVED_SECONDS:
            await until(lambda: self._count() > answers, "somebody is answered", PATIENCE_SECONDS)

    def _count(self) -> int:
        return sum(each.answers for each in self.customers)

    async def end(self) -> None:
        """Everybody ends what they are at."""
        self.enough.set()
        await asyncio.gather(*self.tasks)


@asynccontextmanager
async def buying(*customers: Customers) -> AsyncIterator[Buying]:
    """Everybody buys until told that it is enough."""
    enough = asyncio.Event()
    works = [each.keep_buying(person, enough) for each in customers for person in each.people]
    tasks = [asyncio.create_task(work) for work in works]
    try:
        yield Buying(customers, enough, tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def as_violations(error: BaseException) -> list[str]:
    """What failed, in words: each of a group's errors by itself."""
    if isinstance(error, BaseExceptionGroup):
        return [words for each in error.exceptions for words in as_violations(each)]
    if isinstance(error, ComptoirError):
        return [f"{error.reason}: {error}"]
    return [f"{type(error).__name__}: {error}"]
