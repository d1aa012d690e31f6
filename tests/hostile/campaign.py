"""Sends hostile calls by the hundred, each hundred in a session of its own, and goes on with the session afterwards."""

from __future__ import annotations

import asyncio
import itertools
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field, replace
from types import FrameType
from typing import Any

from google.protobuf.message import Message

from tests.hostile import corpus, judge
from tests.hostile.corpus import Entry
from tests.hostile.inputs import Input, hostile, valid
from tests.hostile.judge import Outcome
from tests.hostile.place import SILENCE_SECONDS, Place, send
from tests.hostile.shrink import shrink
from tests.hostile.visit import Step, session
from tests.support.door import METHODS

BLOCK = 100
"""How many hostile calls are made in one session, at most."""

CHANGES = 8
"""After so many calls that changed something the session is left: little would be as it was."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A hostile call with which something is wrong, and where in which session it was made."""

    seed: int
    block: int
    number: int
    entry: Entry

    @property
    def given(self) -> Input:
        """The call."""
        return self.entry.given

    @property
    def command(self) -> str:
        """What shows it again."""
        return f".venv/bin/python -m tests.hostile {self.given.method} --seed {self.seed} --block {self.block}"

    def __str__(self) -> str:
        sent = [raw[:200].hex() for raw in self.given.requests]
        return "\n  ".join(
            (
                f"{self.given.method} ({self.given.layer}, {self.number}): {self.entry.why}",
                f"sent {sent} with {str(self.given.metadata)[:300]}, waiting {self.given.time_left}",
                f"again: {self.command}",
            )
        )


@dataclass
class Tally:
    """How the calls of a campaign ended."""

    outcomes: dict[str, Counter[str]] = field(default_factory=dict)
    layers: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)
    slowest: float = 0.0

    @property
    def calls(self) -> int:
        """How many there were."""
        return sum(self.layers.values())

    def of(self, method: str) -> int:
        """How many there were of one method."""
        return sum(self.outcomes.get(method, Counter()).values())

    def count(self, given: Input, outcome: Outcome) -> None:
        """Takes one down."""
        self.outcomes.setdefault(given.method, Counter())[outcome.name] += 1
        self.layers[given.layer] += 1
        self.slowest = max(self.slowest, outcome.cpu_seconds)


class _TooMuchWork(BaseException):
    """A call has computed for too long; no `except Exception` of the server's holds it up."""


@contextmanager
def _cpu_bound() -> Iterator[None]:
    """Interrupts what computes beyond the bound, wherever it is."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise _TooMuchWork

    before = signal.signal(signal.SIGVTALRM, interrupt)
    signal.setitimer(signal.ITIMER_VIRTUAL, 2 * judge.CPU_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


async def attempt(place: Place, given: Input) -> Outcome:
    """Makes one call, and waits until it has left nothing running."""
    before, started = place.digest(), time.process_time()
    patience = judge.CALL_SECONDS if given.layer == "valid" else SILENCE_SECONDS
    answers: Sequence[bytes] = ()
    error: BaseException | None = None
    try:
        with _cpu_bound():
            async with asyncio.timeout(judge.CALL_SECONDS):
                answers = await send(
                    place.boundary, given.method, given.metadata, given.requests, given.time_left, patience
                )
    except (Exception, _TooMuchWork) as caught:  # noqa: BLE001 - whatever comes out is what is judged
        error = caught
    ended = await place.idle()
    return Outcome(tuple(answers), error, time.process_time() - started, place.digest() != before, ended)


class Campaign:
    """All that is sent to one place from one seed. The same seed and block make the same calls."""

    def __init__(self, place: Place, seed: int) -> None:
        self._place = place
        self._seed = seed
        self.tally = Tally()
        self.taken: set[str] = set()
        """The methods of all steps that were taken."""

    async def settle_in(self) -> None:
        """A first visitor, to whom nobody is hostile: what it was given is foreign to all who come later."""
        assert await self._visit("", -1, 0) == []
        self._place.leave()

    async def method(self, name: str, calls: int, first_block: int = 0) -> list[Finding]:
        """At least `calls` hostile calls of a method, in as many sessions as they need."""
        found: list[Finding] = []
        until = self.tally.of(name) + calls
        for number in itertools.count(first_block):
            if self.tally.of(name) >= until:
                break
            found += await self.block(name, number)
        return found

    async def block(self, method: str, number: int, count: int = BLOCK) -> list[Finding]:
        """`count` hostile calls of a method, in a new session before the step that it is; then the session goes on."""
        self._place.leave()
        found = await self._visit(method, number, count)
        self.tally.findings += found
        return found

    async def _visit(self, method: str, block: int, count: int) -> list[Finding]:
        rng = random.Random(f"{self._seed}/{method}/{block}")
        skipped = rng.randrange(OCCURRENCES.get(method, 1))
        found: list[Finding] = []
        disturbed = False
        steps = session(self._place)
        answer: Any = None
        while True:
            try:
                step = await (anext(steps) if answer is None else steps.asend(answer))
            except StopAsyncIteration:
                return found
            mine = step.method == method
            if mine and skipped == 0 and count:
                complaints, disturbed = await self._surround(step, block, count)
                found += complaints
            skipped -= mine
            answer = await self._take(step, block, found, disturbed=disturbed)
            if answer is None or (mine and skipped < 0 and (block % 10 or disturbed)):
                await steps.aclose()
                return found

    async def _surround(self, step: Step, block: int, count: int) -> tuple[list[Finding], bool]:
        """Makes the hostile calls before a step, and answers whether any of them changed anything."""
        secrets = frozenset(each.secret for each in self._place.credentials.values())
        found: list[Finding] = []
        changes = 0
        for number in range(count):
            if changes >= CHANGES:
                break
            given = hostile(random.Random(f"{self._seed}/{step.method}/{block}/{number}"), step, self._place)
            outcome = await attempt(self._place, given)
            self.tally.count(given, outcome)
            changes += outcome.moved
            wrong = judge.complaints(given, outcome, secrets)
            if wrong:
                found.append(self._finding(block, number, given, wrong))
        return found, changes > 0

    def _finding(self, block: int, number: int, given: Input, wrong: list[str]) -> Finding:
        return Finding(self._seed, block, number, corpus.named(given, self._place, "; ".join(wrong)))

    async def _take(self, step: Step, block: int, found: list[Finding], *, disturbed: bool) -> Message | None:
        """The answer to a step; where nothing hostile had any effect, it must succeed as if nobody had been there."""
        self.taken.add(step.method)
        given = valid(step, self._place)
        outcome = await attempt(self._place, given)
        wrong = judge.complaints(given, outcome)
        if outcome.error is not None and not disturbed:
            wrong.append(f"the session was disturbed by what was refused: {outcome.name}")
        if wrong:
            found.append(self._finding(block, -1, given, wrong))
        if outcome.error is not None:
            return None
        answers = [METHODS[step.method].response.FromString(raw) for raw in outcome.answers]
        for each in answers:
            self._place.remember(each)
        return answers[-1]


OCCURRENCES = {
    "CreateApiKey": 3,
    "SendMessage": 2,
    "StartWalletLink": 3,
    "GetWalletLink": 2,
    "ConfirmWalletLink": 2,
    "CreateCheckout": 4,
    "ConfirmCheckout": 3,
}
"""How often a session takes a step that it takes more than once."""


async def before(place: Place, method: str) -> Step:
    """The step of a new session that calls a method, everything before it taken."""
    place.leave()
    async with aclosing(session(place)) as steps:
        step: Step = await anext(steps)
        while step.method != method:
            given = valid(step, place)
            outcome = await attempt(place, given)
            assert outcome.error is None, outcome.name
            answers = [METHODS[step.method].response.FromString(raw) for raw in outcome.answers]
            for each in answers:
                place.remember(each)
            step = await steps.asend(answers[-1])
    return step


async def replay(place: Place, entry: Entry) -> list[str]:
    """What is wrong with a call that was kept, made in a new session."""
    await before(place, entry.given.method)
    secrets = frozenset(each.secret for each in place.credentials.values())
    given = entry.at(place)
    return judge.complaints(given, await attempt(place, given), secrets)


async def shrunk(place: Place, finding: Finding) -> Entry | None:
    """The smallest call that is wrong in a new session too; None where it is only wrong after what came before it."""
    entry = finding.entry
    if not await replay(place, entry):
        return None

    async def fails(candidate: Input) -> bool:
        return bool(await replay(place, replace(entry, given=candidate)))

    usual = [pair for pair in finding.given.metadata if pair[0] in ("authorization", "comptoir-user")]
    return replace(entry, given=await shrink(finding.given, usual, fails))
