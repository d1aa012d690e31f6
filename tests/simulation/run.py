"""Running one world to its judgement: faults first, then healing, then everything must be decided."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
import warnings
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import structlog

from comptoir_server.runtime import arm_faults
from tests.simulation import judge
from tests.simulation.loop import Halt, Stuck
from tests.simulation.people import WAYS, Market
from tests.simulation.plan import NEWCOMER, PEOPLE, Plan, Story
from tests.simulation.readers import Reader
from tests.simulation.shops import look_after
from tests.simulation.town import Town, founded
from tests.simulation.townsfolk import FOLK
from tests.simulation.trouble import courier, troubles
from tests.simulation.world import Findings, World

SAFETY_SECONDS_MAX = 900.0
LIVENESS_SECONDS = 4 * 3_600.0
"""Within which everything must be decided once nothing goes wrong any more: the longest wait of the reconciler is an
hour, and a clock that was wrong may have put it off by another."""

CAUGHT_UP_SECONDS = 1_800.0
LOOK_SECONDS = 20.0

COLLECT_EVERY = 25
"""Worlds between two collections: within a world nothing may depend on when the collector runs."""

_worlds = 0


def run_plan(plan: Plan) -> Findings:
    """Runs the world of a plan, and says what was wrong with it."""
    with _alone() as failed:
        world = World(plan, founded().image)
        failed.append(world.failed)
        arm_faults(world.reached)
        try:
            world.loop.run(_life(world))
        except Stuck as stuck:
            world.failed(f"stuck: {stuck}")
        except Exception as error:  # a harness that fails is a finding too
            world.failed(f"the world ended: {error!r}")
            raise
        finally:
            arm_faults(None)
        world.found.violations += [failure for failure in world.loop.failures if failure not in world.found.violations]
        world.found.seconds = world.loop.time()
        world.found.steps = world.loop.steps
        return world.found


def _forgive() -> None:
    """What a killed process had begun is never awaited; Python says so of each, whenever the collector meets it."""
    warnings.filterwarnings("ignore", "coroutine .* was never awaited")


_forgive()  # where worlds run outside of pytest, which has filters of its own


def collect() -> None:
    """Clears away what worlds have left behind, such as what killed processes never awaited."""
    with warnings.catch_warnings():
        _forgive()
        gc.collect()


@contextmanager
def _alone() -> Iterator[list[Any]]:
    """Keeps the collector still, and hands every line that a server logs as an error to whom it concerns."""
    global _worlds
    concerned: list[Any] = []
    logging_before = structlog.get_config()

    def take(_logger: Any, _name: str, line: MutableMapping[str, Any]) -> str:
        error = sys.exc_info()[1] if line.get("exc_info") is True else line.get("exc_info")
        told = repr(error) if isinstance(error, BaseException) else str(line.get("exception", ""))
        if "Halt" not in told and "StorageUnavailable" not in told:
            for failed in concerned:
                failed(f"log: {line['event']} {line.get('method', line.get('job', ''))} {told}")
        raise structlog.DropEvent

    structlog.configure(processors=[take], wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    _worlds += 1
    gc.disable()
    try:
        with warnings.catch_warnings():
            _forgive()
            yield concerned
    finally:
        if _worlds % COLLECT_EVERY == 0:
            collect()
        gc.enable()
        structlog.configure(**logging_before)


async def _life(world: World) -> None:
    """The whole of it."""
    await world.start()
    carrier = world.spawn(courier(world))
    town = Town(world)
    town.settle_in(founded())
    market = Market(town)
    readers = _readers(world, town)
    world.begin()
    others = [world.spawn(FOLK[actor](market)) for actor in world.plan.actors if actor in FOLK]
    others += [world.spawn(work) for work in troubles(world)]
    reading = [world.spawn(reader.live()) for reader in readers]
    stories = [world.spawn(_story(market, story)) for story in world.plan.stories]
    if stories:
        await asyncio.wait(stories, timeout=SAFETY_SECONDS_MAX)
    await world.heal()
    _, late = await asyncio.wait([*stories, *others], timeout=SAFETY_SECONDS_MAX) if stories or others else (None, ())
    if late:
        world.failed(f"somebody still waits {SAFETY_SECONDS_MAX:.0f} s after everything works again")
    world.undecided = True
    await _decide(world)
    await _repeat(market)
    await _decide(world)
    world.undecided = False
    for reader in readers:
        await reader.catch_up(partial(judge.log_of, world, reader.log_id), CAUGHT_UP_SECONDS)
    if reading:
        await asyncio.wait(reading, timeout=CAUGHT_UP_SECONDS)
    await _judge(world, market, readers)
    carrier.cancel()
    await world.end()


def _readers(world: World, town: Town) -> list[Reader]:
    first, second = town.partners
    everybody = [partner.bot_id for partner in town.partners]
    followers = (
        ("reader polls", False, first.credential, [first.bot_id]),
        ("reader streams", True, second.credential, [second.bot_id]),
        ("channel streams", True, town.channel, everybody),
    )
    return [
        Reader(world, who, who.owner, bots, streams=streams)
        for actor, streams, who, bots in followers
        if actor in world.plan.actors
    ]


async def _story(market: Market, story: Story) -> None:
    """One purchase, and what comes after it."""
    await asyncio.sleep(story.start_seconds)
    person = market.town.people[story.person]
    if story.way == NEWCOMER:
        person = await market.town.newcomer(PEOPLE, person.account, f"newcomer {story.number}") or person
    checkout = await market.offer(story, person)
    if checkout is None:
        return
    await market.world.pause(story.pause_seconds + 0.1)
    await WAYS[story.way](market, story, person, checkout)
    if story.after:
        await look_after(market, story, checkout.checkout_id)


async def _decide(world: World) -> None:
    """Waits until nothing is in doubt any more; it must not take too long."""
    deadline = world.loop.time() + LIVENESS_SECONDS
    while found := judge.undecided(world):
        if world.loop.time() > deadline:
            world.failed(f"C13 undecided long after everything works again: {_noun(found[0])}")
            return
        await asyncio.sleep(LOOK_SECONDS)


def _noun(found: str) -> str:
    """What is undecided, without which one."""
    return found if " " in found else found[:3]


async def _repeat(market: Market) -> None:
    """Asks once more for what was answered finally: the network holds the answers against each other."""
    for (_, name, _), told in list(market.world.network.final.items()):
        if name in {"ConfirmCheckout", "CreateCapture", "CreateRefund", "VoidPayment", "CancelCheckout"}:
            await market.say(told.credential, name, told.request)


async def _judge(world: World, market: Market, readers: list[Reader]) -> None:
    for wrong in judge.invariants(world) + judge.books(world, market) + judge.calm(world):
        world.failed(wrong)
    for reader in readers:
        for wrong in reader.judge(judge.log_of(world, reader.log_id)):
            world.failed(wrong)
    facts = world.found.facts
    facts["payments"] += len(market.payments)
    facts["events read"] += sum(len(segment.events) for reader in readers for segment in reader.segments)
    world.note(judge.content(world))
    world.found.trace = world.digest()


__all__ = ["Halt", "run_plan"]
