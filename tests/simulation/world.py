"""One world: servers on machines, a provider with its own books, and everything that goes wrong between them."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import hashlib
import random
import sqlite3
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

from comptoir_server.runtime import MICROSECONDS
from comptoir_server.standins.paypal import Paypal, make_signer
from comptoir_server.standins.paypal.signing import Signer
from comptoir_server.store.checks import check_connection
from comptoir_server.store.tables import OPERATIONS
from comptoir_server.store.tx import Wakes
from tests.simulation.calls import Network
from tests.simulation.loop import Halt, VirtualLoop
from tests.simulation.machine import EPOCH, RUNNING, Clock
from tests.simulation.plan import CRASH_POINT, CRASH_STEP, PROVIDER, Plan
from tests.simulation.servers import STANDIN, Process, Site, Unreachable
from tests.simulation.storage import Disk, Wake
from tests.simulation.wire import Line

POINTS = {
    **dict.fromkeys(("batch.flushed", "batch.committed"), 0.04),
    **dict.fromkeys(("events.flushed", "answer.unsent", "journal.flushed"), 0.15),
    **dict.fromkeys(("settle.committed", "begin.committed", "webhook.stored", "webhook.processed"), 0.6),
}
RARE_POINT = 2.5
"""How likely a crash is at each fault point: at those that are reached often as likely in the end as elsewhere."""

CRASHES_MAX = 16
DOWN_SECONDS = 4.0

MACHINES_SHARE = 0.2
"""Of the crashes, those of a whole machine: its monotonic clock begins anew."""

STEPS_BETWEEN_CRASHES = 350
PACES_SECONDS = (2.0, 10.0, 20.0, 30.0)
HEALED_PACE_SECONDS = 300.0
"""The longest between two rounds of the workers: drawn before healing, and longer after it."""

FOUNDED_SECONDS = 1_000.0
"""How much later a world begins than the town in which it begins was made."""

AFTER_A_CRASH = frozenset("L1 L6 C1 C1b C2 C3 C4 C4b C9 C12 E1a K1".split())
"""What is checked after each crash; everything is at the end."""

NOTICE_SECONDS = 0.05
STEPS_MAX = 60_000


@functools.cache
def signer() -> Signer:
    """The provider's signing key, made once: it signs, and decides nothing."""
    return make_signer(EPOCH)


@dataclass
class Machine:
    """Where one server runs, again and again."""

    name: str
    clock: Clock
    process: Process | None = None
    starting: bool = False


@dataclass
class Findings:
    """What was wrong, and what happened."""

    violations: list[str] = field(default_factory=list)
    hits: Counter[str] = field(default_factory=Counter)
    """How often each fault point was reached."""
    crashes: Counter[str] = field(default_factory=Counter)
    struck: Counter[str] = field(default_factory=Counter)
    facts: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    steps: int = 0
    trace: str = ""

    def failed(self, what: str) -> None:
        """Notes a violation once."""
        if what not in self.violations:
            self.violations.append(what)


class World:
    """A world of a plan. `rates` are the faults that strike now: none before it begins, none after it has healed."""

    def __init__(self, plan: Plan, image: sqlite3.Connection | None = None) -> None:
        self.plan = plan
        self.found = Findings()
        self.rates: dict[str, float] = {}
        self.healed = False
        self.undecided = False
        """Whether all that is left is to wait until everything is decided."""
        self.ended_keys: dict[str, float] = {}
        """When it was confirmed that a key was ended, by its secret."""
        self._trace = hashlib.blake2b(digest_size=8)
        # Sockets, signals and child processes have no place in this loop.
        self.loop = VirtualLoop(self.generator("loop"), shuffled=plan.shuffled, steps_max=STEPS_MAX)  # type: ignore[abstract]
        self.loop.started = _own
        self.loop.begin_at(FOUNDED_SECONDS if image is not None else 0.0)
        self.clock = Clock(self.loop)
        self._draw = self.generator("faults")
        self.draw = self.generator("people")
        self.paypal = Paypal(STANDIN, self.generator("paypal").randbytes, signer())
        self.courier_bell = asyncio.Event()
        self._provider_rates: dict[str, float] = {}
        self.line = Line(
            self.paypal, self.clock, self.generator("line"), self._provider_rates, self.courier_bell.set, self
        )
        self.disk = Disk(self._tell, self._disk_fails, image)
        self.site = Site(self.disk, self.line, signer().root_pem, self.failed)
        self._entropy = self.generator("entropy")
        names = [f"server {i + 1}" for i in range(plan.servers)]
        self.machines = [Machine(name, Clock(self.loop, self.clock, name)) for name in names]
        self.network = Network(self.generator("network"), self.rates, lambda: self.processes, self.failed, self.note)
        self._crashes_left = CRASHES_MAX
        self._pace = self.generator("pace").choice(PACES_SECONDS)

    def generator(self, purpose: str) -> random.Random:
        """Randomness for one purpose, so that others are not disturbed by how much of it is drawn."""
        return random.Random(f"{self.plan.seed}/{purpose}")

    @property
    def processes(self) -> list[Process]:
        """The server processes that run."""
        return [machine.process for machine in self.machines if machine.process is not None]

    def failed(self, what: str) -> None:
        """Something is wrong."""
        self.note(f"failed {what}")
        self.found.failed(what)

    def note(self, what: str) -> None:
        """Something happened: part of the trace, by which two runs are compared."""
        self._trace.update(f"{self.loop.time():.6f} {what}\n".encode())

    def digest(self) -> str:
        """The trace so far, and the state of what draws the schedule."""
        self.note(f"{self.loop.steps} {self._entropy.random()} {self._draw.random()}")
        return self._trace.hexdigest()

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Starts something of the world's own, outside of every server."""
        return self.loop.create_task(work, context=contextvars.Context())

    async def pause(self, mean_seconds: float) -> None:
        """Lets some time pass."""
        await asyncio.sleep(self.draw.expovariate(1 / mean_seconds))

    async def start(self) -> None:
        """Starts the servers."""
        for machine in self.machines:
            await self.boot(machine)

    async def boot(self, machine: Machine) -> None:
        """Has the server of a machine run."""
        while machine.starting:
            await asyncio.sleep(0.1)
        if machine.process is not None:
            return
        machine.starting = True
        process = Process(self.site, machine.name, machine.clock, self._entropy, self._longest_pace)
        await process.start()
        machine.process, machine.starting = process, False
        self.note(f"{machine.name} serves")

    def begin(self) -> None:
        """Lets faults strike from now on."""
        self.rates.update(self.plan.rates)
        provider = {
            kind.removeprefix(PROVIDER): rate for kind, rate in self.plan.rates.items() if kind.startswith(PROVIDER)
        }
        provider.pop("forgets", None)
        share = min(1.0, 0.5 / (sum(provider.values()) or 1.0))
        self._provider_rates.update({kind: rate * share for kind, rate in provider.items()})
        self._next_crash()

    def strikes(self, kind: str) -> bool:
        """Whether a fault strikes now."""
        rate = self.rates.get(kind, 0.0)
        if rate and self._draw.random() < rate:
            self.found.struck[kind] += 1
            return True
        return False

    def reached(self, point: str) -> None:
        """A fault point of a server was reached: it may die there. Raises Halt."""
        process = RUNNING.get()
        if process is None:
            return
        if not process.alive:
            raise Halt
        self.found.hits[point] += 1
        rate = self.rates.get(CRASH_POINT, 0.0) * POINTS.get(point, RARE_POINT)
        if rate and self._crashes_left and self._draw.random() < rate:
            self.kill(process, point)
            raise Halt

    def arrives(self, key: str) -> None:
        """What is about to move must have been written down before it was sent."""
        found = self.disk.session.raw.execute(f"SELECT sends FROM {OPERATIONS.name} WHERE id = ?", (key,)).fetchone()
        if found is None or not found[0]:
            self.failed("C9 the provider was asked for something that is not stored")

    def driven_twice(self, key: str) -> None:
        """Only wrong clocks may make somebody believe that a lease has run out."""
        if not any(kind.startswith("clock") for kind in self.plan.rates):
            self.failed(f"lease: two drive one {key[:3]} at once")

    def kill(self, process: Process, why: str) -> None:
        """Kills a server, which comes back after a while."""
        self._crashes_left -= 1
        self.found.crashes[why] += 1
        self.note(f"{process.name} dies at {why}")
        process.die()
        for machine in self.machines:
            if machine.process is process:
                machine.process = None
                self.spawn(self._come_back(machine))

    async def _come_back(self, machine: Machine) -> None:
        report = check_connection(self.disk.session.connection, self.clock.now(), codes=AFTER_A_CRASH)
        for code in report.broken:
            self.failed(f"invariant {code} is broken after a crash")
        await asyncio.sleep(self._draw.expovariate(1 / DOWN_SECONDS))
        if self._draw.random() < MACHINES_SHARE and machine.process is None and not machine.starting:
            machine.clock.start()
            self.note(f"{machine.name} starts from nothing")
        await self.boot(machine)

    def _next_crash(self) -> None:
        if self.rates.get(CRASH_STEP):
            steps = int(self._draw.expovariate(self.rates[CRASH_STEP] / (8 * STEPS_BETWEEN_CRASHES)))
            self.loop.interrupt(steps + 1, self._crash_now)

    def _crash_now(self) -> None:
        running = self.processes
        if self.rates and running and self._crashes_left:
            self.kill(running[int(self._draw.random() * len(running))], CRASH_STEP)
        if not self.healed:
            self._next_crash()

    async def deploy(self, machine: Machine, seconds: float) -> None:
        """Stops the server of a machine in good order, and starts it again."""
        process, machine.process = machine.process, None
        if process is not None:
            self.note(f"{machine.name} drains")
            with contextlib.suppress(Unreachable):  # it may be killed while it drains
                await process.stop(seconds)
            self.found.facts["deploys"] += 1
        await self.boot(machine)

    def jump(self, machine: Machine | None, seconds: float) -> None:
        """Puts a machine's wall clock wrong, or lets time pass for everybody at once."""
        clock = self.clock if machine is None else machine.clock
        clock.ahead += int(seconds * MICROSECONDS)
        self.note(f"clock {seconds}")
        self.courier_bell.set()

    async def heal(self) -> None:
        """From now on nothing goes wrong any more: lines work, clocks are right, every server runs."""
        self.healed = True
        self.found.struck += self.line.struck + self.network.struck
        self.rates.clear()
        self._provider_rates.clear()
        for machine in self.machines:
            machine.clock.ahead = 0
            await self.boot(machine)
        self.note("healed")

    def _longest_pace(self) -> float:
        return HEALED_PACE_SECONDS if self.healed else self._pace

    def _tell(self, wake: Wake, keys: Wakes) -> None:
        """Carries a notice of a commit to another server; it may be late, or lost."""
        if self.strikes("notice.lost"):
            return
        late = 10.0 if self.strikes("notice.late") else 1.0
        delay = self._draw.expovariate(1 / NOTICE_SECONDS) * late
        self.loop.call_later(delay, wake, keys, context=contextvars.Context())

    def _disk_fails(self, kind: str) -> bool:
        return self.strikes(kind)

    async def end(self) -> None:
        """Stops everything, and waits until it has stopped."""
        for process in self.processes:
            process.die()
        tasks = [task for task in self.loop.tasks if not task.done() and task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


def _own(task: asyncio.Task[Any]) -> None:
    """Has the server process whose code starts a task own it."""
    process = RUNNING.get()
    if process is not None:
        process.own(task)
