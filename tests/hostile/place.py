"""Where hostile input arrives: the real door and use cases on a file, with everything drawn from one seed.

The same seed gives the same ids, keys and times, so that an input that was written down means the same again.
"""

from __future__ import annotations

import asyncio
import random
import re
import sqlite3
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager, closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from comptoir_server.app.call import Caller
from comptoir_server.app.provisioning import provision_operator
from comptoir_server.store.checks import check_connection
from comptoir_server.transport.binding import bind
from comptoir_server.transport.boundary import Boundary
from tests.support import linking
from tests.support.databases import new_sqlite
from tests.support.door import METHODS, metadata_of
from tests.support.world import MovableRuntime

SEED = 20_261_128
"""What continuous integration draws from."""

START = 1_790_000_000_000_000
"""When everything begins, in microseconds."""

TICK = 100
"""How much later it is whenever somebody looks at the clock, in microseconds."""

IDLE_SECONDS = 30.0
"""The longest that a task may go on once its call was answered."""

SILENCE_SECONDS = 0.01
"""How long a stream may be silent before it is left."""

ANSWERS_MAX = 30
"""After so many answers a stream is left."""

KEPT = 40
"""How many texts of each kind are remembered."""

_ID = re.compile(r"^[a-z]{3}_[0-9a-z]{26}$")


class SeededRuntime(MovableRuntime):
    """A runtime whose wall clock and random source follow from a seed."""

    def __init__(self, seed: str) -> None:
        super().__init__()
        self._random = random.Random(seed)
        self._ticks = 0

    def now(self) -> int:
        self._ticks += TICK
        return START + self._ticks + self.ahead

    def random_bytes(self, count: int) -> bytes:
        return self._random.randbytes(count)

    def uniform(self, low: float, high: float) -> float:
        return self._random.uniform(low, high)


Pools = dict[str, list[str]]
"""Texts that the server gave out, by kind: the prefix of an id, or the name of the field that held them."""


@dataclass(frozen=True, slots=True)
class Credential:
    """A secret, and the user whom a channel names with it."""

    secret: str
    user_id: str = ""

    @property
    def metadata(self) -> list[tuple[str, str | bytes]]:
        """What a call with this credential sends."""
        return metadata_of(self.secret, self.user_id)


@dataclass
class Place:
    """The server's parts, and what visitors were given: `own` of this visit, `foreign` of everybody before."""

    world: linking.World
    boundary: Boundary
    operator: Credential
    database: Path
    watcher: sqlite3.Connection
    own: Pools = field(default_factory=lambda: defaultdict(list))
    foreign: Pools = field(default_factory=lambda: defaultdict(list))
    credentials: dict[Caller, Credential] = field(default_factory=dict)
    strangers: list[Credential] = field(default_factory=list)

    def digest(self) -> tuple[int, int]:
        """Changes whenever anybody commits anything, or money moves at the provider; costs microseconds."""
        (version,) = self.watcher.execute("PRAGMA data_version").fetchone()
        return version, len(self.world.provider.books.moved)

    def remember(self, message: Message) -> None:
        """Keeps the ids, tokens and cursors that an answer holds."""
        for name, value in _texts(message):
            kept = self.own[value[:3] if _ID.match(value) else name]
            if value not in kept and len(kept) < KEPT:
                kept.append(value)

    def leave(self) -> None:
        """Another visitor comes. What the very first was given is foreign to all later ones."""
        if not self.foreign:
            self.foreign = {kind: list(values) for kind, values in self.own.items()}
            self.strangers = [found for caller, found in self.credentials.items() if caller != Caller.OPERATOR]
        self.own.clear()
        self.credentials = {Caller.OPERATOR: self.operator}

    def spoil(self, method: str, wrong: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
        """Has a method of the door do what it must not."""
        bound = bind("test")
        path = METHODS[method].path
        bound[path] = replace(bound[path], function=wrong(bound[path].function))
        self.boundary = Boundary(self.world.deps, bound)

    async def idle(self) -> bool:
        """Waits for what calls have left running; False where it had to be cancelled."""
        return await self.world.runtime.drain(IDLE_SECONDS) == 0

    def problems(self) -> list[str]:
        """The invariants that the database breaks as it is."""
        deps = self.world.deps
        engine = sa.create_engine(f"sqlite:///{self.database}", poolclass=sa.NullPool)
        with engine.connect() as connection:
            report = check_connection(connection, deps.runtime.now(), vault=deps.vault)
        return [f"{found.invariant.code}: {found.broken[:3]}" for found in report.findings if found.broken]


@asynccontextmanager
async def open_place(folder: Path, seed: int) -> AsyncIterator[Place]:
    """A new place on a new file, in which nobody has been but its operator."""
    url = new_sqlite(folder)
    runtime = SeededRuntime(f"place {seed}")
    async with linking.open_world(url, runtime=runtime, inline=True) as world:
        operator = Credential((await provision_operator(world.deps)).secret)
        database = Path(url.removeprefix("sqlite:///"))
        with closing(sqlite3.connect(database, isolation_level=None)) as watcher:
            place = Place(world, Boundary(world.deps), operator, database, watcher)
            place.credentials[Caller.OPERATOR] = operator
            yield place


async def send(
    boundary: Boundary,
    name: str,
    metadata: Sequence[tuple[str, str | bytes]],
    requests: Sequence[bytes],
    time_left: float | None,
    patience_seconds: float = SILENCE_SECONDS,
) -> list[bytes]:
    """The answers to one call of any kind. Raises Failed.

    A stream is left once it has nothing more to say, at first for `patience_seconds`.
    """
    method = METHODS[name]
    if not method.gives_stream:
        return [await boundary.unary(method.path, metadata, requests[0], time_left)]
    raw = _one_by_one(requests) if method.takes_stream else requests[0]
    answers: list[bytes] = []
    async with aclosing(boundary.stream(method.path, metadata, raw, time_left)) as stream:
        while len(answers) < ANSWERS_MAX:
            coming = asyncio.ensure_future(anext(stream, None))
            done, _ = await asyncio.wait({coming}, timeout=SILENCE_SECONDS if answers else patience_seconds)
            if not done:
                coming.cancel()
                await asyncio.wait({coming})
                break
            answer = coming.result()
            if answer is None:
                break
            answers.append(answer)
    return answers


async def _one_by_one(requests: Sequence[bytes]) -> AsyncIterator[bytes]:
    for raw in requests:
        yield raw


def _texts(message: Message) -> list[tuple[str, str]]:
    """Every text in a message with the name of its field."""
    found: list[tuple[str, str]] = []
    for field_, value in message.ListFields():
        if field_.type == FieldDescriptor.TYPE_STRING:
            found += [(field_.name, each) for each in (value if field_.is_repeated else [value])]
        elif field_.message_type is not None and not field_.message_type.GetOptions().map_entry:
            for each in value if field_.is_repeated else [value]:
                found += _texts(each)
    return found
