"""A request id is one intent: its answer is kept, given again to whoever may see it, and never made twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from comptoir_server.app.call import CallContext
from comptoir_server.app.once import (
    JOINED_MAX,
    NOUNS,
    Answer,
    Begun,
    answer_waiting,
    begin,
    new_request,
    once,
    replayed,
    stored_answer,
)
from comptoir_server.app.ports import OutcomeKind
from comptoir_server.domain.checkouts import Checkout
from comptoir_server.domain.errors import Reason, Refused
from comptoir_server.domain.operations import Operation
from comptoir_server.domain.orders import Order
from comptoir_server.domain.partners import ApiKey, Bot, Channel, Partner
from comptoir_server.domain.payments import Capture, Payment, Refund
from comptoir_server.domain.requests import Request
from comptoir_server.domain.sessions import Message, Session
from comptoir_server.domain.wallets import Market, Wallet, WalletLink
from comptoir_server.store import snapshots
from comptoir_server.store.tables import CAPTURES, CHANNELS, REQUESTS
from comptoir_server.store.tx import Tx
from tests.support.databases import new_sqlite
from tests.support.providers import answering
from tests.support.records import some
from tests.support.world import World, open_world

PAYMENT = some(Payment, id="pay_1")
OPERATION = some(Operation, id="opn_1")

KEPT: dict[str, type[Any]] = {
    "partner": Partner, "channel": Channel, "bot": Bot, "api_key": ApiKey, "session": Session, "message": Message,
    "market": Market, "wallet_link": WalletLink, "wallet": Wallet, "checkout": Checkout, "order": Order,
    "payment": Payment, "capture": Capture, "refund": Refund,
}  # fmt: skip


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with open_world(new_sqlite(tmp_path)) as made:
        yield made


async def refused(call: Awaitable[object]) -> Refused:
    """The refusal that an awaitable ends in."""
    with pytest.raises(Refused) as refusal:
        await call
    return refusal.value


async def row(world: World, call: CallContext) -> Request | None:
    """What is kept of a request."""
    return await world.deps.store.read(lambda tx: tx.load(REQUESTS.get(call.request_key)))


async def keep(world: World, call: CallContext, object_id: str, answer: Answer | None = None) -> None:
    """Claims a request id."""

    async def work(tx: Tx) -> None:
        tx.put(new_request(tx, call, object_id, answer))

    await world.deps.store.write(work)


class Work:
    """Answers, or refuses, and counts how often it was run."""

    def __init__(self, answer: Any, *writes: object) -> None:
        self.answer, self.writes, self.runs = answer, writes, 0

    async def __call__(self, tx: Tx) -> Any:
        self.runs += 1
        for record in self.writes:
            tx.put(record)
        return self.answer


@pytest.mark.parametrize(("noun", "kind"), KEPT.items(), ids=KEPT)
def test_an_answer_that_holds_any_noun_is_read_as_it_was_written(noun: str, kind: type[Any]) -> None:
    answer = {noun: some(kind)}

    assert stored_answer(Request("key", "print", "", snapshots.dump_named(answer), 0)) == answer
    assert NOUNS.keys() == KEPT.keys()


async def test_a_request_is_done_once_and_answered_alike_ever_after(world: World) -> None:
    call, work = world.by_partner("Test", "one"), Work({"payment": PAYMENT})

    first = await once(world.deps, world.by_partner("Test", "one"), work)
    kept = await row(world, call)
    again = await once(world.deps, replace(call, bot_id=""), work)

    assert first == again == {"payment": PAYMENT}
    assert work.runs == 1
    assert kept is not None
    assert kept == Request(
        f"{world.partner_id}/Test/one", call.fingerprint, "", snapshots.dump_named(first), kept.create_time
    )
    assert abs(kept.create_time - world.runtime.now()) < 60_000_000


async def test_the_same_id_with_other_content_is_refused_and_nothing_is_run(world: World) -> None:
    work = Work({"payment": PAYMENT})
    await once(world.deps, world.by_partner("Test", "one", amount=1), work)
    begun = Work(Begun("pay_1"))
    await begin(world.deps, world.by_partner("Begin", "one", amount=1), begun)

    refusals = [
        await refused(once(world.deps, world.by_partner("Test", "one", amount=2), work)),
        await refused(begin(world.deps, world.by_partner("Test", "one", amount=2), work)),
        await refused(begin(world.deps, world.by_partner("Begin", "one", amount=2), begun)),
    ]

    assert [one.reason for one in refusals] == [Reason.REQUEST_ID_REUSED] * 3
    assert refusals[0].metadata == {"request_id": "one"}
    assert (work.runs, begun.runs) == (1, 1)


async def test_a_refusal_keeps_what_it_wrote_and_leaves_the_id_to_be_tried_again(world: World) -> None:
    call, channel = world.by_partner("Test", "one"), some(Channel, id=world.runtime.new_id("chn"))
    refusal = Refused(Reason.CONFIRMATION_CODE_WRONG, "The code is wrong.")

    assert await refused(once(world.deps, call, Work(refusal, channel))) is refusal
    assert await row(world, call) is None
    assert await world.deps.store.read(lambda tx: tx.load(CHANNELS.get(channel.id))) == channel
    assert await once(world.deps, call, Work({"channel": channel})) == {"channel": channel}


async def test_what_was_begun_is_joined_and_carried_out_by_whoever_began_it_alone(world: World) -> None:
    payment = (await world.confirm(await world.checkout()))["payment"]
    call, work = world.by_partner("Begin", "one"), Work(Begun(payment.id, OPERATION))

    assert await begin(world.deps, call, work) == Begun(payment.id, OPERATION)
    kept = await row(world, call)
    assert kept is not None
    assert (kept.object_id, kept.answer) == (payment.id, "")
    assert await begin(world.deps, call, work) == Begun(payment.id, None)
    assert work.runs == 1


async def test_what_has_nothing_left_to_wait_for_is_answered_and_kept(world: World) -> None:
    call, work = world.by_partner("Begin", "one"), Work({"payment": PAYMENT})

    assert await begin(world.deps, call, work) == {"payment": PAYMENT}
    kept = await row(world, call)
    assert kept is not None
    assert (kept.object_id, kept.answer) == ("", snapshots.dump_named({"payment": PAYMENT}))
    assert await begin(world.deps, replace(call, bot_id=""), work) == {"payment": PAYMENT}
    assert work.runs == 1


async def test_payment_capture_and_refund_that_were_begun_are_absent_to_another_bot(world: World) -> None:
    payment = (await world.confirm(await world.checkout()))["payment"]
    captures = await world.deps.store.read(lambda tx: tx.load(CAPTURES.list_by("by_payment", payment.id)))
    refund = (await world.refund(payment.id, 100))["refund"]
    for made in (payment, captures[0], refund):
        call = world.by_partner("Begin", made.id)
        await keep(world, call, made.id)

        assert await begin(world.deps, call, Work(None)) == Begun(made.id)
        assert await begin(world.deps, replace(call, bot_id=""), Work(None)) == Begun(made.id)
        refusal = await refused(begin(world.deps, replace(call, bot_id="bot_2"), Work(None)))
        assert refusal.reason == Reason.NOT_FOUND


async def test_the_outcome_answers_everybody_who_waits_and_changes_no_answer_that_was_given(world: World) -> None:
    waiting, second, answered = (world.by_partner("Begin", name) for name in ("one", "two", "three"))
    for call in (waiting, second):
        await keep(world, call, "pay_1")
    await keep(world, answered, "pay_1", {"payment": some(Payment, id="pay_1", amount=1)})
    before = await row(world, answered)
    woken = asyncio.create_task(world.deps.settled.pause("pay_1", 10.0))
    await asyncio.sleep(0)

    await world.deps.store.write(lambda tx: answer_waiting(tx, "pay_1", {"payment": PAYMENT}))

    assert await woken == {"payment": PAYMENT}
    for call in (waiting, second):
        kept = await row(world, call)
        assert kept is not None
        assert (kept.object_id, stored_answer(kept)) == ("pay_1", {"payment": PAYMENT})
    assert await row(world, answered) == before


async def test_one_outcome_answers_so_many_requests_and_refuses_others_without_keeping_them(world: World) -> None:
    checkout = await world.checkout()
    world.provider.replies.append(
        answering(OutcomeKind.REQUIRES_ACTION, executed=False, action_url="https://provider.example/act")
    )
    payment_id = (await world.confirm(checkout, "first"))["payment"].id
    for number in range(JOINED_MAX - 1):
        assert (await world.confirm(checkout, f"joined-{number}"))["payment"].id == payment_id

    refusal = await refused(world.confirm(checkout, "one too many"))

    assert (refusal.reason, refusal.metadata) == (Reason.LIMIT_EXCEEDED, {"limit": "requests_waiting"})
    waiting = await world.deps.store.read(lambda tx: tx.load(REQUESTS.list_by("by_object", payment_id)))
    assert len(waiting) == JOINED_MAX
    assert (await world.confirm(checkout, "joined-7"))["payment"].id == payment_id


async def test_an_answer_is_given_again_where_everything_in_it_is_of_the_bot_that_asks(world: World) -> None:
    def again(bot_id: str, **answer: object) -> Answer:
        request = Request("key", "", "", snapshots.dump_named(answer), 0)
        return replayed(replace(world.by_partner(), bot_id=bot_id, fingerprint=""), request)

    mine, foreign = some(Payment, bot_id="bot_1"), some(Checkout, bot_id="bot_2")
    bot, message = some(Bot, id="bot_1"), some(Message)

    assert again("bot_1", payment=mine, message=message, bot=bot) == {"payment": mine, "message": message, "bot": bot}
    assert again("", payment=mine, checkout=foreign) == {"payment": mine, "checkout": foreign}
    for answer in ({"payment": mine, "checkout": foreign}, {"bot": some(Bot, id="bot_2")}, {"checkout": foreign}):
        with pytest.raises(Refused) as refusal:
            again("bot_1", **answer)
        assert refusal.value.reason == Reason.NOT_FOUND
