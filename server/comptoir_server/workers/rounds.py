"""The rounds: each looks for rows that are due and hands them to the use case that deals with one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from comptoir_server.app import checkouts, operations, provider_tokens, wallet_links, webhooks
from comptoir_server.app.deps import Deps
from comptoir_server.store.errors import StorageUnavailable
from comptoir_server.store.reads import due

log = structlog.get_logger()

BATCH = 64
"""How many due rows one round takes on."""

_Round = Callable[[Deps], Awaitable[int]]


async def resolve_operations(deps: Deps) -> int:
    """Seeks evidence on every operation whose time has come."""
    found = await deps.store.read(lambda tx: due.operations(tx, deps.runtime.now(), BATCH))
    for operation_id in found:
        deps.runtime.spawn(_guarded(operations.resolve(deps, operation_id), operation_id), f"resolve {operation_id}")
    return len(found)


async def expire_checkouts(deps: Deps) -> int:
    """Ends checkouts whose time has run out."""
    found = await deps.store.read(lambda tx: due.checkouts(tx, deps.runtime.now(), BATCH))
    for checkout_id in found:
        await _guarded(checkouts.expire(deps, checkout_id), checkout_id)
    return len(found)


async def process_deliveries(deps: Deps) -> int:
    """Tries stored webhooks again whose object was not known."""
    found = await deps.store.read(lambda tx: due.deliveries(tx, deps.runtime.now(), BATCH))
    for provider, event_id in found:
        await _guarded(webhooks.process(deps, provider, event_id), event_id)
    return len(found)


@dataclass(frozen=True, slots=True)
class Round:
    """A job and the seconds between two of its rounds when there was nothing to do."""

    name: str
    job: _Round
    seconds: float


ROUNDS: tuple[Round, ...] = (
    Round("resolve operations", resolve_operations, 0.5),
    Round("expire checkouts", expire_checkouts, 1.0),
    Round("expire wallet links", wallet_links.expire_wallet_links, 5.0),
    Round("revoke provider tokens", provider_tokens.revoke_tokens, 5.0),
    Round("process deliveries", process_deliveries, 2.0),
)
"""Every job of the workers."""


def run(deps: Deps, rounds: tuple[Round, ...] = ROUNDS) -> tuple[asyncio.Task[None], ...]:
    """Starts a task for each job and answers them; they go on until they are cancelled, before the server drains.

    What moves money runs in tasks of its own, which the drain waits for.
    """
    return tuple(deps.runtime.spawn(_repeat(deps, one), one.name) for one in rounds)


async def _repeat(deps: Deps, one: Round) -> None:
    while True:
        await _guarded(one.job(deps), one.name)
        await deps.runtime.sleep(one.seconds)


async def _guarded(work: Awaitable[object], name: str) -> None:
    """One row that fails is logged and tried again in its time; it never stops the others."""
    try:
        await work
    except StorageUnavailable:
        log.warning("storage unavailable", job=name)
    except Exception:
        log.exception("job failed", job=name)
