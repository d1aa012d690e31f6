"""A test stand: one measured server, its callers in a process of their own, and slices of calls between them."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.load.programs import Program, started

CONFIRM, CAPTURE, HOLD = "confirm", "capture", "hold"


@dataclass(frozen=True)
class Scale:
    """How much is measured. Numbers of calls are multiples of the number of callers."""

    rounds: int
    calls: dict[str, int]
    warm_up: int
    subscribers: int
    fan_out_confirms: int
    idle_streams: int
    past_payments: tuple[int, int]
    pgbench_scale: int
    pgbench_seconds: int
    starts: int


FULL = Scale(
    rounds=5,
    calls={"empty": 6400, "read": 6400, "events": 1920, "confirm": 1920, "capture": 1920},
    warm_up=320,
    subscribers=100,
    fan_out_confirms=128,
    idle_streams=500,
    past_payments=(2_000, 50_000),
    pgbench_scale=20,
    pgbench_seconds=4,
    starts=5,
)
QUICK = Scale(
    rounds=2,
    calls={"empty": 1280, "read": 1280, "events": 320, "confirm": 640, "capture": 640},
    warm_up=128,
    subscribers=100,
    fan_out_confirms=64,
    idle_streams=100,
    past_payments=(64, 1_024),
    pgbench_scale=2,
    pgbench_seconds=1,
    starts=1,
)


@dataclass(frozen=True)
class Slice:
    """What a slice of calls showed. `started` is on the clock that all processes of a machine share."""

    calls: int
    started: float
    seconds: float
    cpu_seconds: float
    p50_ms: float
    p99_ms: float

    @property
    def rate(self) -> float:
        """Calls a second."""
        return self.calls / self.seconds

    @property
    def cpu_us(self) -> float:
        """What a call cost the server."""
        return self.cpu_seconds / self.calls * 1e6


@dataclass
class Stand:
    """A server and those who call it."""

    server: Program
    load: Program
    about: dict[str, Any]

    def slice(self, method: str, calls: int) -> Slice:
        """`calls` calls at once by all callers; what they need is prepared before, unmeasured."""
        if method == CAPTURE:
            self._call(HOLD, calls, self._checkouts(calls, manual=True))
        checkouts = self._checkouts(calls, manual=False) if method == CONFIRM else []
        before = self.server.cpu_seconds()
        shown = self._call(method, calls, checkouts)
        return Slice(cpu_seconds=self.server.cpu_seconds() - before, **shown)

    def warm_up(self, methods: Sequence[str], calls: int) -> None:
        """What is not measured: connections, caches, and a log that is not empty."""
        for method in dict.fromkeys((CONFIRM, *methods)):
            self.slice(method, calls)

    def _checkouts(self, count: int, *, manual: bool) -> Any:
        return self.server.ask({"order": "make", "count": count, "manual": manual})

    def _call(self, method: str, calls: int, checkouts: Any) -> Any:
        return self.load.ask({"order": "call", "method": method, "calls": calls, "checkouts": checkouts})


@contextmanager
def open_stands(*commands: tuple[str, ...]) -> Iterator[tuple[Stand, ...]]:
    """Stands that start at the same time, each by its database and options."""
    with ExitStack() as held:
        programs = [
            (
                held.enter_context(started("tests.load.measured_server", *command)),
                held.enter_context(started("tests.load.load_generator")),
            )
            for command in commands
        ]
        stands = tuple(Stand(server, load, server.ask()) for server, load in programs)
        for stand in stands:
            stand.load.tell(stand.about)
        yield stands


Opener = Callable[..., AbstractContextManager[tuple[Stand, ...]]]


@dataclass(frozen=True)
class Setting:
    """Where a part measures: on which database, how much; `say` tells how far it has come."""

    database: str
    scale: Scale
    new_url: Callable[[], str]
    folder: Path
    say: Callable[[str], None]
    opener: Opener = open_stands

    def stands(self, *options: tuple[str, ...]) -> AbstractContextManager[tuple[Stand, ...]]:
        """A stand for each of these options of measured_server.py, each on a new database."""
        return self.opener(*((self.new_url(), *each) for each in options))


def alternating(rounds: int, names: Sequence[str]) -> Iterator[str]:
    """The names, once a round, every other round from last to first: what drifts meets all alike."""
    for number in range(rounds):
        yield from names if number % 2 == 0 else reversed(names)


def median_ratio(values: Sequence[float], others: Sequence[float]) -> float:
    """The median of the ratios, each of two slices of the same round."""
    return statistics.median(a / b for a, b in zip(values, others, strict=True))
