"""A work that was handed in, and one run of it within a batch."""

from __future__ import annotations

from asyncio import Future
from collections.abc import Awaitable, Callable, Generator
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from comptoir_server.store.relation import Load
from comptoir_server.store.tx import Draws, Tx

if TYPE_CHECKING:
    from comptoir_server.store.ownership import Slot
    from comptoir_server.store.round import Snapshot


class Job:
    """A work on its way: it lives from the call to the answer, over all its runs."""

    __slots__ = ("draws", "future", "moves", "wanted", "work")

    def __init__(self, work: Callable[[Tx], Awaitable[Any]], future: Future[Any], draws: Draws) -> None:
        self.work = work
        self.future = future
        self.draws = draws
        self.moves = 0
        """How often it had to leave its batch because a row it wanted was held."""
        self.wanted: tuple[Load[Any], ...] = ()
        """The locks that its last run wanted; the next run takes them all at once, in order, before it starts."""


def take(queue: SimpleQueue[Job | None], jobs: list[Job], limit: int) -> bool:
    """Moves what is queued to `jobs` until it holds `limit`, waiting for the first; True when None ends the queue."""
    while len(jobs) < limit:
        try:
            job = queue.get_nowait() if jobs else queue.get()
        except Empty:
            return False
        if job is None:
            return True
        jobs.append(job)
    return False


class Work:
    """One run of a job within a batch."""

    __slots__ = (
        "blocked",
        "fetching",
        "job",
        "loads",
        "locks",
        "missing",
        "owned",
        "prelude",
        "single",
        "snapshot",
        "steps",
        "tx",
    )

    def __init__(self, job: Job, tx: Tx) -> None:
        self.job = job
        self.tx = tx
        self.steps: Generator[Any, Any, Any] | None = None
        """The work itself, once it has begun."""
        self.loads: tuple[Load[Any], ...] = ()
        """What it waits for."""
        self.single = False
        self.prelude = False
        """True while it takes the locks that its last run wanted: the work itself has not begun."""
        self.locks: list[Load[Any]] = []
        """Every lock that this run has asked for."""
        self.fetching = False
        """True while rows that it waits for are still to be selected."""
        self.snapshot: Snapshot
        """What the round that answered its loads has read unlocked."""
        self.owned: dict[Slot, None] = {}
        self.missing: list[Slot] = []
        """The slots it has yet to own, the next one last."""
        self.blocked: Slot | None = None
        """The slot whose owner it waits for."""

    def remember_locks(self) -> None:
        """Has the job's next run begin with every lock that this one has asked for."""
        wanted = {(load.relation, load.index.name, load.key): load for load in (*self.job.wanted, *self.locks)}
        self.job.wanted = tuple(wanted.values())
