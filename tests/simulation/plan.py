"""What a seed means: which faults there are in its world and how strong, who lives in it and what they do.

Every seed draws its own. One in ten has no fault at all, which finds a wrong baseline; one in ten has a single kind,
which is easy to understand. A plan can be made smaller, and is then still the plan of the same seed.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from tests.simulation.wire import PROVIDER_FAULTS

PEOPLE = 3
PARTNERS = 2
STORIES = (2, 7)
SAFETY_SECONDS = 60.0
"""About how long people begin to buy."""

PROVIDER = "provider."
CRASH_POINT, CRASH_STEP, DEPLOY = "crash.point", "crash.step", "deploy"
FORGETS = "provider.forgets"

STRENGTHS: Mapping[str, tuple[float, float]] = {
    **{f"{PROVIDER}{kind}": (0.02, 0.12) for kind in PROVIDER_FAULTS},
    FORGETS: (0.02, 0.2),
    "webhook.lost": (0.05, 0.9),
    "webhook.repeated": (0.05, 0.6),
    "webhook.late": (0.05, 0.6),
    "call.lost": (0.02, 0.2),
    "answer.lost": (0.02, 0.2),
    "notice.lost": (0.1, 0.9),
    "notice.late": (0.1, 0.9),
    "storage.full": (0.002, 0.02),
    "storage.unanswered": (0.002, 0.02),
    "storage.undone": (0.002, 0.02),
    CRASH_POINT: (0.02, 0.15),
    CRASH_STEP: (3.0, 10.0),
    DEPLOY: (1.0, 3.0),
    "clock.second": (1.0, 4.0),
    "clock.minutes": (1.0, 3.0),
    "clock.hour": (1.0, 2.0),
    "clock.month": (1.0, 1.0),
}
"""Every kind of fault, and between what its strength is drawn: a share of the occasions, or how often in a world."""

RARE = {"clock.minutes": 0.15, "clock.hour": 0.12, "clock.month": 0.08, "clock.second": 0.2, FORGETS: 0.25}
"""How likely a kind is in a world with several; half of them is the rule."""

ALONE = 4.0
"""How much stronger a fault of the provider is where there is no other."""

CRASHES = {CRASH_POINT: 0.85, CRASH_STEP: 0.85}

PLAIN_ACCOUNTS = ("pays", "pays-too", "declined", "closed")
"""Payers with whom everything is decided at once."""

ACCOUNTS = ("pays",) * 7 + (
    "pays-too",
    "declined",
    "closed",
    "echeck",
    "echeck-bounces",
    "action",
    "capture-declined",
    "slow-refund",
    "failed-refund",
)

NEWCOMER = "is new here"

WAYS = (
    NEWCOMER,
    "insists",
    "insists",
    "taps twice",
    "taps two buttons",
    "has two devices",
    "gives up",
    "changes their mind",
    "walks away",
    "is late",
    "is re-priced",
    "is replaced",
    "links anew",
    "unlinks",
    "revokes there",
)
"""What a person does with a checkout."""

AFTER_CHARGE = ("", "refund", "refund twice", "refund same", "refund parts", "refund there", "charged back")
AFTER_HOLD = (
    "",
    "capture",
    "capture twice",
    "capture parts",
    "capture or void",
    "void",
    "void twice",
    "capture, refund",
)
"""What the partner does once it is paid."""


@dataclass(frozen=True)
class Story:
    """One purchase."""

    number: int
    person: int
    partner: int
    start_seconds: float
    way: str
    manual: bool
    after: str
    minor_units: int
    deadline_seconds: float
    pause_seconds: float


@dataclass(frozen=True)
class Plan:
    """The world of a seed."""

    seed: int
    servers: int
    shuffled: bool
    real_webhooks: bool
    rates: Mapping[str, float]
    accounts: tuple[str, ...]
    stories: tuple[Story, ...]
    actors: tuple[str, ...]

    @property
    def quiet(self) -> bool:
        """Whether nothing at all goes wrong."""
        return not self.rates

    def rate(self, kind: str) -> float:
        """How strong a kind of fault is, 0 where there is none."""
        return self.rates.get(kind, 0.0)

    def without(self, dropped: Collection[str]) -> Plan:
        """The same world without some kinds of faults, actors and stories (`story:3`)."""
        return replace(
            self,
            rates={kind: rate for kind, rate in self.rates.items() if kind not in dropped},
            actors=tuple(actor for actor in self.actors if actor not in dropped),
            stories=tuple(story for story in self.stories if f"story:{story.number}" not in dropped),
        )

    @property
    def parts(self) -> tuple[str, ...]:
        """Everything that can be left out."""
        return (*self.rates, *self.actors, *(f"story:{story.number}" for story in self.stories))


ACTORS = ("reader polls", "reader streams", "channel streams", "stranger", "keys", "market", "chat")
"""Who lives in a world beside those who buy and sell."""


def plan_of(seed: int) -> Plan:
    """The plan of a seed."""
    draw = random.Random(f"{seed}/plan")
    rates = _rates(draw)
    accounts = ACCOUNTS if rates or draw.random() < 0.3 else PLAIN_ACCOUNTS
    return Plan(
        seed=seed,
        servers=draw.choice((1, 2, 2)),
        shuffled=draw.random() < 0.8,
        real_webhooks=draw.random() < 0.5,
        rates=rates,
        accounts=tuple(draw.choice(accounts) for _ in range(PEOPLE)),
        stories=tuple(_story(draw, number) for number in range(draw.randint(*STORIES))),
        actors=tuple(actor for actor in ACTORS if draw.random() < 0.5),
    )


def _rates(draw: random.Random) -> dict[str, float]:
    kinds = list(STRENGTHS)
    lot = draw.random()
    if lot < 0.1:
        chosen = []
    elif lot < 0.2:
        chosen = [draw.choice(kinds)]
        if chosen[0].startswith(PROVIDER):
            return {chosen[0]: ALONE * draw.uniform(*STRENGTHS[chosen[0]])}
    else:
        share = draw.uniform(0.2, 0.8)
        chosen = [kind for kind in kinds if draw.random() < CRASHES.get(kind, RARE.get(kind, share))]
    return {kind: draw.uniform(*STRENGTHS[kind]) for kind in chosen}


def _story(draw: random.Random, number: int) -> Story:
    manual = draw.random() < 0.4
    return Story(
        number=number,
        person=draw.randrange(PEOPLE),
        partner=draw.randrange(PARTNERS),
        start_seconds=draw.uniform(0, SAFETY_SECONDS),
        way=draw.choice(WAYS),
        manual=manual,
        after=draw.choice(AFTER_HOLD if manual else AFTER_CHARGE),
        minor_units=draw.randint(1_000, 90_000),
        deadline_seconds=draw.choice((1.2, 2.0, 5.0, 25.0)),
        pause_seconds=draw.expovariate(1 / 3.0),
    )
