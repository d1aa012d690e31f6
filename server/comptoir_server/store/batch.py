"""Runs many works in one transaction: their loads gathered, their writes staged, as if they ran one by one.

The order in which works end is the order in which they seem to have run: each sees what those before it staged, and
a key that one of them holds makes the others wait until it has ended.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from itertools import count
from typing import Any

from comptoir_server.store.image import Images
from comptoir_server.store.ownership import Ownership, Slot
from comptoir_server.store.relation import Index, Key, Load, Relation
from comptoir_server.store.round import Round, Snapshot
from comptoir_server.store.session import Lock, Session
from comptoir_server.store.tx import PENDING, Place, Query, Registry, Request, Tx, Wakes
from comptoir_server.store.work import Job, Work

NOTHING: dict[Key, Any] = {}

Answer = tuple[Job, bool, Any]
"""A job, whether its work returned, and what it returned or raised."""


class Batch:
    """One transaction's worth of works.

    `first` and `later` say how rows are locked in the first round of SELECTs and in those after it. Only the first
    may wait, because only it locks all its rows in one order; a work that runs alone may wait always.
    """

    def __init__(
        self,
        session: Session,
        registry: Registry,
        *,
        first: Lock = Lock.WAIT,
        later: Lock = Lock.SKIP,
        writable: bool = True,
    ) -> None:
        self.images = Images()
        self.answers: list[Answer] = []
        """In the order in which the works ended."""
        self.moved: list[Job] = []
        """Jobs that must run in the next batch; they have written nothing."""
        self.wakes: Wakes = {}
        self._session = session
        self._registry = registry
        self._writable = writable
        self._lock = first
        self._later = later
        self._pending = count(PENDING)
        self._ownership = Ownership()
        self._ready: deque[tuple[Work, Any]] = deque()
        self._works: list[Work] = []
        self._live: dict[Work, None] = {}
        self._round = Round(session, self.images, Snapshot())

    def run(self, jobs: Iterable[Job]) -> None:
        """Runs the works of `jobs` to their ends, or moves them; writes nothing. Raises what the database raises."""
        try:
            for job in jobs:
                work = Work(job, Tx(job.draws, self._registry, self._pending, writable=self._writable))
                self._works.append(work)
                self._live[work] = None
                if job.wanted:
                    work.prelude = True
                    self._admit(work, job.wanted, single=False)
                else:
                    self._ready.append((work, None))
            while self._ready or self._round.members:
                while self._ready:
                    self._advance(*self._ready.popleft())
                if self._round.members:
                    self._run_round()
            assert not self._live, "a work waits for nothing"
        finally:
            for work in self._live:
                if work.steps is not None:
                    work.steps.close()

    def remember_locks(self) -> None:
        """Lets every work's next run begin with all the locks that this one wanted: taken in order, none deadlocks."""
        for work in self._works:
            work.remember_locks()

    def _run_round(self) -> None:
        current = self._round
        snapshot = current.snapshot if self._session.exclusive else Snapshot()
        self._round = Round(self._session, self.images, snapshot)
        held_elsewhere = current.run(self._lock)
        if current.locks_rows:
            self._lock = self._later
        if held_elsewhere:
            for work in current.members:
                if work in self._live and self._wants_any(work, held_elsewhere):
                    self._move(work)
        for work in current.members:
            if work in self._live:
                work.fetching = False  # one by one: who inherits a slot on the way is resolved once, not twice
                if work.blocked is None:
                    self._resolve(work)

    def _wants_any(self, work: Work, places: set[Place]) -> bool:
        """Whether a row that somebody else holds is among the locks that `work` waits for."""
        for load in work.loads:
            if load.locked:
                key = load.key if load.index is load.relation.primary else self._find(work, load)
                if (load.relation, key) in places:
                    return True
        return False

    def _advance(self, work: Work, value: Any) -> None:
        """Runs a work until it wants something, or to its end."""
        try:
            if work.steps is None:
                work.steps = work.job.work(work.tx).__await__()
            wish = work.steps.send(value)
        except StopIteration as stop:
            self._finish(work, stop.value)
        except BaseException as error:  # noqa: BLE001 - whatever a work raises is its caller's, and nobody else's
            self._end(work, succeeded=False, value=error)
        else:
            if type(wish) is Request:
                self._admit(work, wish.loads, single=wish.single)
            elif type(wish) is Query:
                self._ready.append((work, self._session.query(wish.statement)))
            else:
                work.steps.close()
                misuse = RuntimeError(f"a work awaits nothing but its Tx, and this one awaited {wish!r}")
                self._end(work, succeeded=False, value=misuse)

    def _admit(self, work: Work, loads: tuple[Load[Any], ...], *, single: bool) -> None:
        """Notes what a work wants: rows for the next round, slots from now on."""
        work.loads, work.single = loads, single
        work.snapshot = self._round.snapshot
        missing: list[Slot] = []
        for load in loads:
            if self._round.want(load):
                work.fetching = True
            if load.locked:
                work.locks.append(load)
                missing.append((load.relation, load.index.name, load.key))
        if work.fetching:
            self._round.members.append(work)
        if missing:
            if len(missing) > 1:
                missing.sort(key=_slot_order, reverse=True)
            work.missing = missing
            self._acquire(work)
        elif not work.fetching:
            self._resolve(work)

    def _acquire(self, work: Work) -> None:
        if not self._ownership.acquire(work):
            self._move(work)
        elif work.blocked is None and not work.fetching:
            self._resolve(work)

    def _resolve(self, work: Work) -> None:
        """Hands a work what it waited for, unless a unique key led to a row that it has yet to own."""
        values: list[Any] = []
        for load in work.loads:
            if load.many:
                values.append(self._list(work, load))
                continue
            key = load.key if load.index is load.relation.primary else self._find(work, load)
            if load.locked and key is not None and (load.relation, "", key) not in work.owned:
                work.missing = [(load.relation, "", key)]
                self._acquire(work)
                return
            values.append(None if key is None else self._row(work, load, key))
        if work.prelude:
            work.prelude = False
            self._ready.append((work, None))
        else:
            self._ready.append((work, values[0] if work.single else tuple(values)))

    def _row(self, work: Work, load: Load[Any], key: Key) -> Any:
        """The row as this work sees it; notes how it was read."""
        record = self._current(work, load.relation, key)
        if load.locked:
            work.tx.held.add((load.relation, key))
        elif record is not None:
            work.tx.seen.add((load.relation, key))
        return record

    def _current(self, work: Work, relation: Relation[Any], key: Key) -> Any:
        """The newest version of a row: put by this work, staged by an earlier one, locked, read unlocked."""
        image = self.images[relation]
        for rows in (work.tx.puts.get(relation, NOTHING), image.staged, image.locked):
            if key in rows:
                return rows[key]
        return work.snapshot.rows.get((relation, key))

    def _find(self, work: Work, load: Load[Any]) -> Key | None:
        """The primary key of the row that has a unique key now, or None."""
        relation, index = load.relation, load.index
        staged = self.images[relation].staged_under(index, load.key)
        found = work.snapshot.found.get((relation, index.name, load.key))
        for key in (*work.tx.puts.get(relation, NOTHING), staged, found):
            if key is not None and _is_under(self._current(work, relation, key), index, load.key):
                return key
        return None

    def _list(self, work: Work, load: Load[Any]) -> tuple[Any, ...]:
        """The rows under a parent key: those of the database, and those that were put or staged since."""
        relation, index = load.relation, load.index
        image = self.images[relation]
        own = work.tx.puts.get(relation, NOTHING)
        rows = {relation.key_of(record): record for record in work.snapshot.lists[relation, index.name, load.key]}
        if own or image.staged or image.locked:
            for key in (*rows, *image.staged_among(index, load.key), *own):
                if key in own or key in image.staged or key in image.locked:
                    rows[key] = self._current(work, relation, key)
            rows = {key: rows[key] for key in sorted(rows) if _is_under(rows[key], index, load.key)}
        work.tx.seen.update((relation, key) for key in rows)
        return tuple(rows.values())

    def _finish(self, work: Work, value: Any) -> None:
        """A work has returned: what it put becomes visible to the others, unless one of them owns such a key."""
        puts = work.tx.puts
        for relation, rows in puts.items():
            if self._is_taken(work, relation, rows):
                self._move(work)
                return
        for relation, rows in puts.items():
            self.images[relation].stage(rows)
        for woken, told in work.tx.wakes.items():
            if told is not None or woken not in self.wakes:
                self.wakes[woken] = told
        self._end(work, succeeded=True, value=value)

    def _is_taken(self, work: Work, relation: Relation[Any], rows: dict[Key, Any]) -> bool:
        """Whether another work of the batch has added one of these rows before, or owns one of their keys."""
        image, held = self.images[relation], work.tx.held
        if image.locked or not image.staged.keys().isdisjoint(rows):
            for key in rows:
                if (key in image.staged or image.locked.get(key) is not None) and (relation, key) not in held:
                    return True
        if relation not in self._ownership.relations:
            return False
        return any(
            self._ownership.is_foreign((relation, index.name, index.value_of(record)), work)
            for index in (relation.primary, *relation.unique.values())
            for record in rows.values()
        )

    def _move(self, work: Work) -> None:
        """Takes a work out of this batch; its next run begins with all the locks that it is known to want."""
        if work.steps is not None:
            work.steps.close()
        work.job.moves += 1
        work.remember_locks()
        self.moved.append(work.job)
        self._leave(work)

    def _end(self, work: Work, *, succeeded: bool, value: Any) -> None:
        self.answers.append((work.job, succeeded, value))
        self._leave(work)

    def _leave(self, work: Work) -> None:
        del self._live[work]
        for heir in self._ownership.release(work):
            self._acquire(heir)


def _slot_order(slot: Slot) -> tuple[int, str, Key]:
    return slot[0].position, slot[1], slot[2]


def _is_under(record: Any, index: Index, value: Key) -> bool:
    return record is not None and bool(index.value_of(record) == value)
