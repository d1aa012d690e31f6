"""People who buy and get refunds while servers fall, and who keep what was sent, what was answered, and the answer."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from comptoir import ComptoirError
from comptoir.errors import CheckoutExpired
from comptoir.v1 import Checkout, ConfirmCheckoutResponse, Payment, Refund
from tests.support.reckoning import Account
from tests.support.shop import Person, Shop

PRICE = 24_000
GIVEN_BACK = 100
REFUND_SHARE = 0.25
AT_ONCE = 20
FINAL = (Payment.STATE_CAPTURED, Payment.STATE_DECLINED, Payment.STATE_FAILED)
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
    refused: Counter[str] = field(default_factory=Counter)

    @property
    def captured(self) -> list[Payment]:
        """What can be given back."""
        return [yes.answer.payment for yes in self.said if yes.answer.payment.state == Payment.STATE_CAPTURED]

    @property
    def unanswered(self) -> int:
        """How many requests were sent and have no answer yet."""
        return len(self.sent) - len(self.said) - len(self.returned) - self.refused.total()

    async def buy(self, person: Person | None = None) -> None:
        """Somebody buys something."""
        person = person or self.rng.choice(self.people)
        checkout = await self.shop.checkout(person, PRICE)
        self.made.append(checkout)
        request_id = self._request_id("confirm")
        try:
            answer = await person.confirm(checkout, request_id)
        except CheckoutExpired as refusal:
            self.refused[refusal.reason] += 1
        else:
            self.said.append(Yes(person, checkout, request_id, answer))

    async def give_back(self, payment: Payment) -> None:
        """A small part of a payment goes back."""
        answer = await self.shop.refund(payment.payment_id, GIVEN_BACK, self._request_id("refund"))
        self.returned.append(answer.refund)

    async def keep_buying(self, person: Person, enough: asyncio.Event) -> None:
        """Buys, and now and then gets something back, one after another."""
        while not enough.is_set():
            if self.captured and self.rng.random() < REFUND_SHARE:
                await self.give_back(self.rng.choice(self.captured[-50:]))
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
        return found + [fault for refund in self.returned if (fault := _broken_refund(refund, account))]

    def final(self, count: int) -> list[Yes]:
        """The last answers that were final, and as many of all, drawn at random."""
        said = [yes for yes in self.said if yes.answer.payment.state in FINAL]
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
    return ""


def _broken_refund(told: Refund, account: Account) -> str:
    row = account.refunds.get(told.refund_id)
    if row is None:
        return f"{told.refund_id} is lost"
    state = Refund.State.Name(told.state).removeprefix("STATE_")
    if told.state in FINAL_REFUNDS and row.state != state:
        return f"{told.refund_id} was told to be {state}, and is {row.state}"
    return ""


def _differs(told: ConfirmCheckoutResponse, now: ConfirmCheckoutResponse) -> str:
    if told.payment.state in FINAL and now != told:
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

    enough: asyncio.Event
    tasks: list[asyncio.Task[None]]

    def require_alive(self) -> None:
        """Raises what made somebody give up."""
        for task in self.tasks:
            if task.done():
                task.result()

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
        yield Buying(enough, tasks)
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
