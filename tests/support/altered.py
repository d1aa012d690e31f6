"""`comptoir-server` with something altered in it, as a test ordered: an entry of the tests, and of no release.

The orders are one JSON object in the environment.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Callable, Mapping
from typing import Any

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


def orders(environment: Mapping[str, str]) -> Orders:
    """What is ordered there."""
    found: Orders = json.loads(environment.get(VARIABLE, "{}"))
    return found


def written(ordered: Orders) -> dict[str, str]:
    """The orders as variables of an environment."""
    return {VARIABLE: json.dumps(ordered)} if ordered else {}


def alter(ordered: Orders) -> None:
    """Carries orders out in this process."""
    if "pause" in ordered:
        pause_statements(ordered.get("server", 0), **ordered["pause"])
    if ordered.get("unlocked"):
        take_locks_away()
    if "defects" in ordered:
        from tests.defects.registry import plant

        plant(ordered["defects"])


if __name__ == "__main__":
    alter(orders(os.environ))

    from comptoir_server import cli

    cli.main()
