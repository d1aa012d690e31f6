"""What a work holds in its hands: loads, staged writes, and a time and ids that stay the same when it runs again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Iterable, Iterator, Mapping
from typing import Any, Generic, TypeVar, overload

from sqlalchemy import Row, Select

from comptoir_server.runtime import Runtime
from comptoir_server.store.relation import Key, Load, Relation

A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
E = TypeVar("E")
F = TypeVar("F")
Drawn = TypeVar("Drawn", str, bytes)

Place = tuple[Relation[Any], Key]
"""A primary key of a relation."""

Registry = Mapping[type, Relation[Any]]
"""The relation of each record type."""

Wakes = dict[str, Any]
"""Keys to wake after a commit, each with what its listeners are told, or None."""

PENDING = 1 << 62
"""Numbers from here on stand, in keys and only within a batch, for numbers that the flush will give."""


class Suspension(Generic[A]):
    """What a work yields to the batch that runs it, and what comes back."""

    __slots__ = ()

    def __await__(self) -> Generator[Suspension[A], A, A]:
        return (yield self)


class Request(Suspension[Any]):
    """Loads that a work waits for; `single` when it wants the one value and not a tuple of one."""

    __slots__ = ("loads", "single")

    def __init__(self, loads: tuple[Load[Any], ...], *, single: bool) -> None:
        self.loads = loads
        self.single = single


class Query(Suspension[list[Row[*tuple[Any, ...]]]]):
    """A SELECT that a reading work waits for."""

    __slots__ = ("statement",)

    def __init__(self, statement: Select[*tuple[Any, ...]]) -> None:
        self.statement = statement


class Draws:
    """The time, ids and random bytes of one work: drawn once, however often the work is run."""

    __slots__ = ("_drawn", "_now", "_runtime")

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._now: int | None = None
        self._drawn: dict[str | int, list[Any]] = {}

    def now(self) -> int:
        """The time at which the work was first run."""
        if self._now is None:
            self._now = self._runtime.now()
        return self._now

    def new_id(self, prefix: str, ordinal: int) -> str:
        """The ordinal-th id of that prefix."""
        return self._draw(prefix, ordinal, self._runtime.new_id)

    def random_bytes(self, count: int, ordinal: int) -> bytes:
        """The ordinal-th draw of that many bytes."""
        return self._draw(count, ordinal, self._runtime.random_bytes)

    def _draw(self, kind: Any, ordinal: int, draw: Callable[[Any], Drawn]) -> Drawn:
        drawn: list[Drawn] = self._drawn.setdefault(kind, [])
        if ordinal == len(drawn):
            drawn.append(draw(kind))
        return drawn[ordinal]


class Tx:
    """One run of one work. It may be run again from its start, and then meets the same `now` and the same ids.

    A work awaits nothing but its Tx and changes nothing outside of it.
    """

    __slots__ = ("_draws", "_pending", "_registry", "_used", "held", "now", "puts", "seen", "wakes", "writable")

    def __init__(self, draws: Draws, registry: Registry, pending: Iterator[int], *, writable: bool) -> None:
        self.now = draws.now()
        """Microseconds since the Unix epoch, UTC: when the work was first run."""
        self.writable = writable
        self.puts: dict[Relation[Any], dict[Key, Any]] = {}
        """What this run would write."""
        self.held: set[Place] = set()
        """The keys that this run locked, with a row or without."""
        self.seen: set[Place] = set()
        """The rows that this run read unlocked."""
        self.wakes: Wakes = {}
        self._draws = draws
        self._registry = registry
        self._pending = pending
        self._used: dict[str | int, int] = {}

    def new_id(self, prefix: str) -> str:
        """A new opaque id."""
        return self._draws.new_id(prefix, self._ordinal(prefix))

    def random_bytes(self, count: int) -> bytes:
        """`count` random bytes, fit for secrets."""
        return self._draws.random_bytes(count, self._ordinal(count))

    def _ordinal(self, kind: str | int) -> int:
        ordinal = self._used.get(kind, 0)
        self._used[kind] = ordinal + 1
        return ordinal

    @overload
    def load(self, a: Load[A], /) -> Awaitable[A]: ...
    @overload
    def load(self, a: Load[A], b: Load[B], /) -> Awaitable[tuple[A, B]]: ...
    @overload
    def load(self, a: Load[A], b: Load[B], c: Load[C], /) -> Awaitable[tuple[A, B, C]]: ...
    @overload
    def load(self, a: Load[A], b: Load[B], c: Load[C], d: Load[D], /) -> Awaitable[tuple[A, B, C, D]]: ...
    @overload
    def load(
        self, a: Load[A], b: Load[B], c: Load[C], d: Load[D], e: Load[E], /
    ) -> Awaitable[tuple[A, B, C, D, E]]: ...
    @overload
    def load(
        self, a: Load[A], b: Load[B], c: Load[C], d: Load[D], e: Load[E], f: Load[F], /
    ) -> Awaitable[tuple[A, B, C, D, E, F]]: ...
    def load(self, *loads: Load[Any]) -> Awaitable[Any]:
        """Reads rows: one value for one load, a tuple for several. What can be asked at once is one round trip.

        Locks are taken before anything unlocked is read, so a list beside the lock of its parent is complete.
        """
        return self._request(loads, single=len(loads) == 1)

    def load_all(self, loads: Iterable[Load[A]]) -> Awaitable[tuple[A, ...]]:
        """As `load`, for any number of loads of one kind: always a tuple."""
        return self._request(tuple(loads), single=False)

    def _request(self, loads: tuple[Load[Any], ...], *, single: bool) -> Request:
        if not self.writable and any(load.locked for load in loads):
            raise RuntimeError("a reading work cannot lock: use get, or Database.write")
        return Request(loads, single=single)

    def put(self, record: object) -> None:
        """Stages a row: an update if this work locked and found it, an insert if it was never found.

        Raises RuntimeError for a row that was read but not locked: another work may be changing it.
        """
        relation = self._registry.get(type(record))
        if relation is None or not self.writable:
            raise RuntimeError(f"{type(record).__name__} cannot be put: unknown record, or a reading work")
        key = relation.key_of(record)
        if relation.numbered_key:
            key = self._pending_key(relation, record, key)
        rows = self.puts.get(relation)
        if rows is None:
            rows = self.puts[relation] = {}
        if self.seen and key not in rows and (relation, key) in self.seen and (relation, key) not in self.held:
            raise RuntimeError(f"{relation.name} {key} was read without a lock; load it with lock before changing it")
        rows[key] = record

    def _pending_key(self, relation: Relation[Any], record: object, key: Key) -> Key:
        """The key of a record whose key the flush completes; unlike any other, and after all that exist."""
        numbered = {sequence.column for sequence in relation.sequences}
        columns = relation.primary.columns
        if any(getattr(record, column) for column in columns if column in numbered):
            return key
        number = next(self._pending)
        parts = tuple(number if column in numbered else getattr(record, column) for column in columns)
        return parts if len(parts) > 1 else parts[0]

    def query(self, statement: Select[*tuple[Any, ...]]) -> Awaitable[list[Row[*tuple[Any, ...]]]]:
        """The rows of a Core SELECT; only in `Database.read`, for lists and checks.

        A writing work cannot use it: a query does not see what earlier works of the same batch have staged.
        """
        if self.writable:
            raise RuntimeError("a writing work reads by key: use load, or query in Database.read before it")
        return Query(statement)

    def after_commit(self, key: str, told: object = None) -> None:
        """Wakes, after the commit, whoever listens for `key`, in this process and in others.

        Listeners in this process are given what is `told`; it must be what they would find by looking.
        """
        if told is not None or key not in self.wakes:
            self.wakes[key] = told
