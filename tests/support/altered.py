"""`comptoir-server` with something altered in it, as a test ordered: an entry of the tests, and of no release.

The orders are one JSON object in the environment.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.support.overheard import overhear

VARIABLE = "ALTERED_FOR_A_TEST"

Orders = Mapping[str, Any]


def pausing(seed: object, seconds_max: float) -> Callable[..., Any]:
    """A `PostgresqlSession._run` that waits a moment before each statement, so that transactions of servers meet."""
    from comptoir_server.store.postgresql import PostgresqlSession

    draw = random.Random(str(seed))
    run = PostgresqlSession._run

    def paused(session: PostgresqlSession, *arguments: Any) -> Any:
        time.sleep(draw.uniform(0, seconds_max))
        return run(session, *arguments)

    return paused


def pause_statements(server: int, seed: int, seconds_max: float) -> None:
    """Has every statement of this process wait, each server in a rhythm of its own."""
    from comptoir_server.store.postgresql import PostgresqlSession

    PostgresqlSession._run = pausing((server, seed), seconds_max)  # type: ignore[method-assign]


def take_locks_away() -> None:
    """Has rows be read where they should be locked."""
    from comptoir_server.store import postgresql

    for lock in postgresql.LOCKS:
        postgresql.LOCKS[lock] = ""


def put_forward(path: str) -> None:
    """The clocks run ahead by the seconds that a file holds as the process starts: it was down for a while."""
    from comptoir_server.runtime import MICROSECONDS, Runtime

    ahead = float(Path(path).read_text(encoding="utf-8"))

    def now(self: Runtime) -> int:
        del self
        return time.time_ns() // 1_000 + int(ahead * MICROSECONDS)

    def monotonic(self: Runtime) -> float:
        del self
        return time.monotonic() + ahead

    Runtime.now, Runtime.monotonic = now, monotonic  # type: ignore[method-assign]


def synchronous(level: str) -> None:
    """SQLite syncs less than it must."""
    from comptoir_server.store import sqlite

    kept = (pragma for pragma in sqlite.PRAGMAS if "synchronous" not in pragma and "fullfsync" not in pragma)
    sqlite.PRAGMAS = (*kept, f"PRAGMA synchronous = {level}")  # type: ignore[assignment]


def slow_disk(seconds: float) -> None:
    """A commit of SQLite's takes so long: a disk that is slow, and a server that is soon asked more than it can do."""
    from comptoir_server.store.sqlite import SqliteSession

    commit = SqliteSession.commit

    def slowly(self: SqliteSession) -> None:
        time.sleep(seconds)
        commit(self)

    SqliteSession.commit = slowly  # type: ignore[method-assign]


def take_silence_for_no() -> None:
    """What the provider did not answer is taken for what it did not do."""
    from comptoir_server.app import operations
    from comptoir_server.app.ports import Instruction, Outcome, OutcomeKind, Provider
    from comptoir_server.domain.records import replace

    ask = operations._ask

    async def asking(provider: Provider, instruction: Instruction) -> Outcome:
        outcome = await ask(provider, instruction)
        return replace(outcome, kind=OutcomeKind.NOT_SENT) if outcome.kind == OutcomeKind.IN_DOUBT else outcome

    operations._ask = asking


def plant(names: list[str]) -> None:
    """Plants defects."""
    from tests.defects import registry

    registry.plant(names)


def orders(environment: Mapping[str, str]) -> Orders:
    """What is ordered there."""
    found: Orders = json.loads(environment.get(VARIABLE, "{}"))
    return found


def written(ordered: Orders) -> dict[str, str]:
    """The orders as variables of an environment."""
    return {VARIABLE: json.dumps(ordered)} if ordered else {}


def alter(ordered: Orders) -> None:
    """Carries orders out in this process."""
    for name, make in ALTERATIONS.items():
        if name in ordered:
            make(ordered)


ALTERATIONS: Mapping[str, Callable[[Orders], None]] = {
    "pause": lambda ordered: pause_statements(ordered.get("server", 0), **ordered["pause"]),
    "unlocked": lambda ordered: take_locks_away(),
    "ahead_file": lambda ordered: put_forward(ordered["ahead_file"]),
    "silence_for_no": lambda ordered: take_silence_for_no(),
    "slow_disk": lambda ordered: slow_disk(ordered["slow_disk"]),
    "synchronous": lambda ordered: synchronous(ordered["synchronous"]),
    "overhear": lambda ordered: overhear(ordered["overhear"]),
    "defects": lambda ordered: plant(ordered["defects"]),
}
"""What may be ordered."""


if __name__ == "__main__":
    alter(orders(os.environ))

    from comptoir_server import cli

    cli.main()
