"""Random programs whose texts are canaries and whose database and provider fail now and then."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest
from google.protobuf.message import Message

from comptoir_server.transport.policy import Method, field_rule
from tests.access.door import METHODS, knock
from tests.access.estate import ROLES, Estate, open_estate
from tests.access.recipes import RECIPES, request_of
from tests.support.canaries import found, in_database, logged
from tests.support.databases import new_sqlite
from tests.support.spoiling import (
    DRIVER_ERRORS,
    PLANTED,
    PROVIDER_ERRORS,
    TIME_LEFT_SECONDS,
    Spoiled,
    an_owner,
    put,
    strings,
)

STEPS = 12
PROGRAMS_AN_ESTATE = 5

PERSONAL = frozenset({"RegisterUser.channel_user_id", "RegisterUser.display_name", "SendMessage.content"})
"""What tells who somebody is and what they say, by method and first field: never readable in the database."""

TELLING = ("RegisterUser", "SendMessage")
"""What is asked for more often than the rest, mostly with what is personal in it and nothing else wrong."""

NAMED_BACK = frozenset({"CreateApiKey.scopes", "CreateCheckout.partner_reference"})
"""What is repeated to whoever sent it: which scope there is none of, and which reference was taken before."""


@dataclass
class Tally:
    """What the programs came to."""

    programs: int = 0
    calls: int = 0
    refused: int = 0
    failed: int = 0
    canaries: int = 0
    violations: list[str] = field(default_factory=list)


@dataclass
class Program:
    """One program: `personal` holds the canaries of people so far, `sent` all others."""

    estate: Estate
    random: Random
    name: str
    tally: Tally
    personal: dict[str, str] = field(default_factory=dict)
    sent: dict[str, str] = field(default_factory=dict)

    async def step(self) -> None:
        """Somebody asks for something, with canaries in some of its texts, while something fails or nothing does."""
        estate, random = self.estate, self.random
        estate.roles = random.choice(ROLES)
        method = METHODS[random.choice((*sorted(METHODS), *TELLING * 8))]
        who = await an_owner(estate, method)
        request = await request_of(method, estate.victim, RECIPES, who.credential)
        planted = self._plant(method, request)
        if method.takes_request_id:
            request.request_id = estate.request_id()  # type: ignore[attr-defined]
        with pytest.MonkeyPatch.context() as patch:
            if random.random() < 0.4:
                Spoiled(estate, random.choice(DRIVER_ERRORS), random.randrange(6)).take(patch)
            if random.random() < 0.3:
                for call in ("prepare", "execute", "look_up"):
                    estate.provider.fail(call, error=random.choice(PROVIDER_ERRORS)())
            raw = request.SerializeToString()
            reply = await knock(estate.boundary, method, who.credential, raw, TIME_LEFT_SECONDS)
            await estate.runtime.drain(5)
        estate.provider.recover()
        self.tally.calls += 1
        self.tally.refused += reply.code != 0
        self.tally.failed += reply.reason in ("INTERNAL", "PROVIDER_UNAVAILABLE")
        told = {**PLANTED, **(planted if reply.code else {})}
        self._blame(found(told, f"what {method.name} answers ({reply.reason})", reply.everything))

    def _plant(self, method: Method, request: Message) -> dict[str, str]:
        """Puts canaries into some texts; answers those that no refusal may repeat."""
        planted = {}
        texts = [path for path in strings(method.request_type) if not field_rule(path[-1]).prefixes]
        chosen = self.random.sample(texts, min(len(texts), self.random.randrange(4)))
        if method.name in TELLING and self.random.random() < 0.7:
            chosen = texts[: 2 if method.name == "RegisterUser" else 1]
        for path in chosen:
            text = f"canary{self.random.getrandbits(64):016x}"
            put(request, path, text)
            kind = f"{method.name}.{path[0].name}"
            (self.personal if kind in PERSONAL else self.sent)[f"{kind} {text}"] = text
            self.tally.canaries += 1
            if f"{method.name}.{path[-1].name}" not in NAMED_BACK:
                planted[kind] = text
        return planted

    def _blame(self, sentences: list[str]) -> None:
        self.tally.violations += [f"{self.name}: {sentence}" for sentence in sentences]

    def search(self, written: str, database_url: str) -> None:
        """Looks through the log for everything, and through the database for what is personal or an exception's."""
        self._blame(found({**PLANTED, **self.personal, **self.sent}, "the log", written.encode()))
        self._blame(in_database({**PLANTED, **self.personal}, database_url))


async def run_programs(first_seed: int, count: int, report: Callable[[str], None]) -> Tally:
    """The programs of `count` seeds from `first_seed` on, some on each database."""
    tally = Tally()
    for start in range(first_seed, first_seed + count, PROGRAMS_AN_ESTATE):
        with tempfile.TemporaryDirectory() as folder, logged() as stream:
            url = new_sqlite(Path(folder))
            async with open_estate(url) as estate:
                for seed in range(start, min(start + PROGRAMS_AN_ESTATE, first_seed + count)):
                    program = Program(estate, Random(seed), f"seed {seed}", tally)
                    for _ in range(STEPS):
                        await program.step()
                    tally.programs += 1
                    program.search(stream.getvalue(), url)
        report(f"{tally.programs} programs, {tally.canaries} canaries, {len(tally.violations)} violations")
    return tally
