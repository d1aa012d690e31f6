"""What goes wrong by itself over time, and how the provider's webhooks travel."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any

from comptoir_server.app import webhooks
from comptoir_server.app.ports import ProviderUnavailable, WebhookRefused
from comptoir_server.runtime import MICROSECONDS
from comptoir_server.standins.paypal.webhooks import Transmission
from comptoir_server.store.errors import StorageUnavailable
from comptoir_server.store.tables import INBOX
from tests.simulation.browser import request
from tests.simulation.plan import DEPLOY, FORGETS, SAFETY_SECONDS
from tests.simulation.servers import Process, Unreachable
from tests.simulation.world import World

JUMPS = {"clock.second": 1.0, "clock.minutes": 288.0, "clock.hour": 3_600.0, "clock.month": 30 * 86_400.0}
"""By how much wall clocks jump, forwards or backwards; the month passes for everybody."""

IDLE_SECONDS = 3_600.0
LATE_SECONDS = 60.0
DELIVERED, UNDELIVERED, UNAVAILABLE, REFUSED = 204, 0, 503, 400


def troubles(world: World) -> list[Coroutine[Any, Any, None]]:
    """What comes by itself in this world."""
    kinds = [kind for kind in (DEPLOY, *JUMPS) if world.plan.rate(kind)]
    forgets = [forgetting(world)] if world.plan.rate(FORGETS) else []
    return [*(at_random(world, kind) for kind in kinds), *forgets]


async def at_random(world: World, kind: str) -> None:
    """Lets a kind of trouble come as often as the plan says, while there are faults."""
    draw = world.generator(kind)
    for _ in range(max(1, round(world.plan.rate(kind)))):
        await asyncio.sleep(draw.uniform(0, 1.2 * SAFETY_SECONDS / max(1.0, world.plan.rate(kind))))
        if world.healed:
            return
        machine = draw.choice(world.machines)
        if kind == DEPLOY:
            await world.deploy(machine, draw.uniform(0.5, 15.0))
        elif kind == "clock.month":
            world.jump(None, JUMPS[kind])
        else:
            world.jump(machine, draw.choice((-1, 1)) * JUMPS[kind])
        world.found.struck[kind] += 1


async def forgetting(world: World) -> None:
    """Has the provider forget its keys now and then."""
    draw = world.generator(FORGETS)
    while not world.healed:
        await asyncio.sleep(draw.uniform(5.0, 40.0))
        if world.strikes(FORGETS):
            world.paypal.state.keys.forget()


async def courier(world: World) -> None:
    """Lets happen what happens at the provider by itself, and carries its webhooks, until it is cancelled."""
    while True:
        now = world.clock.now()
        world.paypal.advance(now)
        for transmission in world.paypal.state.webhooks.take_due(now):
            world.spawn(_deliver(world, transmission))
        next_time = world.paypal.next_time()
        wait = IDLE_SECONDS if next_time is None else (next_time - world.clock.now()) / MICROSECONDS
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(wait, 0.0)):
                await world.courier_bell.wait()
        world.courier_bell.clear()


async def _deliver(world: World, transmission: Transmission) -> None:
    """One webhook: not at all, once or up to three times, now or late."""
    status = DELIVERED
    if _is_news(transmission) or not world.strikes("webhook.lost"):
        for _ in range(3):
            if world.strikes("webhook.late"):
                await world.pause(LATE_SECONDS)
            status = await _post(world, transmission)
            if not world.strikes("webhook.repeated"):
                break
    world.paypal.state.webhooks.report(transmission, status, world.clock.now())
    world.courier_bell.set()


def _is_news(transmission: Transmission) -> bool:
    """What was done at the provider's own pages: nothing else tells of it, so that this is never lost for good."""
    event = transmission.delivery.event
    given_back = event.type in {"PAYMENT.CAPTURE.REFUNDED", "PAYMENT.CAPTURE.REVERSED"}
    return event.type.startswith("VAULT.") or (given_back and b'"custom_id":"rfd_' not in event.body)


async def _post(world: World, transmission: Transmission) -> int:
    try:
        process = await world.network.reach()
        if world.plan.real_webhooks:
            sent = request(process.pages, "POST", transmission.url, dict(transmission.headers), transmission.body)
            status = int((await process.serve(sent)).status)
        else:
            status = int(await process.serve(_take(process, transmission)))
    except Unreachable:
        return UNDELIVERED
    if status == DELIVERED and not _is_stored(world, transmission.delivery.event.id):
        world.failed("E7 a webhook was acknowledged before it was stored")
    return status


def _is_stored(world: World, event_id: str) -> bool:
    statement = f"SELECT 1 FROM {INBOX.name} WHERE event_id = ?"
    return world.disk.session.raw.execute(statement, (event_id,)).fetchone() is not None


async def _take(process: Process, transmission: Transmission) -> int:
    """What the server's page does with a delivery, without HTTP around it."""
    try:
        notice = await process.deps.providers["paypal"].read_webhook(transmission.headers, transmission.body)
        await webhooks.receive(process.deps, "paypal", notice)
    except WebhookRefused:
        return REFUSED
    except (ProviderUnavailable, StorageUnavailable):
        return UNAVAILABLE
    return DELIVERED
