"""Request ids: the same id and content gives the same answer; other content is refused."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from comptoir_server.app.access import owned
from comptoir_server.app.call import CallContext
from comptoir_server.app.deps import Deps
from comptoir_server.domain.checkouts import Checkout
from comptoir_server.domain.errors import Reason, Refused, not_found
from comptoir_server.domain.operations import Operation
from comptoir_server.domain.orders import Order
from comptoir_server.domain.partners import ApiKey, Bot, Channel, Partner
from comptoir_server.domain.payments import Capture, Payment, Refund
from comptoir_server.domain.records import replace
from comptoir_server.domain.requests import Request
from comptoir_server.domain.sessions import Message, Session
from comptoir_server.domain.wallets import Market, Wallet, WalletLink
from comptoir_server.store import snapshots
from comptoir_server.store.relation import Relation
from comptoir_server.store.tables import CAPTURES, PAYMENTS, REFUNDS, REQUESTS
from comptoir_server.store.tx import Tx

JOINED_MAX = 50
"""How many requests may wait for the outcome of one payment, capture or refund."""

Answer = dict[str, Any]
"""A final answer: objects under the names of their nouns, which are the fields of the response."""

NOUNS: dict[str, type[Any]] = {
    "partner": Partner,
    "channel": Channel,
    "bot": Bot,
    "api_key": ApiKey,
    "session": Session,
    "message": Message,
    "market": Market,
    "wallet_link": WalletLink,
    "wallet": Wallet,
    "checkout": Checkout,
    "order": Order,
    "payment": Payment,
    "capture": Capture,
    "refund": Refund,
}
"""The record behind each noun that answers and events may hold."""

Work = Callable[[Tx], Awaitable[Answer | Refused]]
"""A work answers; or returns a refusal whose writes are to be kept (a wrong code counts)."""


async def once(deps: Deps, call: CallContext, work: Work) -> Answer:
    """Runs `work` and stores its answer with the request id, or answers what it answered the first time."""

    async def claimed(tx: Tx) -> Answer | Refused:
        request = await tx.load(REQUESTS.lock(call.request_key))
        if request is not None:
            return replayed(call, request)
        answer = await work(tx)
        if not isinstance(answer, Refused):
            tx.put(new_request(tx, call, "", answer))
        return answer

    answer = await deps.store.write(claimed)
    if isinstance(answer, Refused):
        raise answer
    return answer


@dataclass(frozen=True, slots=True)
class Begun:
    """What a provider-calling request has begun, or joined: the object whose outcome answers it.

    `operation` is there only in the answer of the very transaction that stored it: whoever holds it, and
    nobody else, is to carry it out.
    """

    object_id: str
    operation: Operation | None = None


async def begin(deps: Deps, call: CallContext, work: Callable[[Tx], Awaitable[Begun | Answer]]) -> Begun | Answer:
    """Claims the request id and runs `work`; a replay finds what was begun, or its stored final answer.

    `work` answers what it began, or a final answer where nothing is left to wait for.
    """

    async def claimed(tx: Tx) -> Begun | Answer:
        request = await tx.load(REQUESTS.lock(call.request_key))
        if request is not None:
            return replayed(call, request) if request.answer else await _joined(tx, call, request)
        begun = await work(tx)
        if isinstance(begun, Begun):
            if begun.operation is None:
                await _require_few(tx, begun.object_id)
            tx.put(new_request(tx, call, begun.object_id, None))
        else:
            tx.put(new_request(tx, call, "", begun))
        return begun

    return await deps.store.write(claimed)


async def _require_few(tx: Tx, object_id: str) -> None:
    """LIMIT_EXCEEDED where so many requests wait for one outcome that storing it with each would hold up others."""
    waiting = await tx.load(REQUESTS.list_by("by_object", object_id))
    if len(waiting) >= JOINED_MAX:
        raise Refused(
            Reason.LIMIT_EXCEEDED,
            f"{JOINED_MAX} requests wait for this outcome already. Send one of them again, with its request_id.",
            limit="requests_waiting",
        )


async def answer_waiting(tx: Tx, object_id: str, answer: Answer) -> None:
    """Stores the final answer of every request that waits for `object_id`, and hands it to those who wait here."""
    tx.after_commit(object_id, answer)
    text = snapshots.dump_named(answer)
    for waiting in await tx.load(REQUESTS.list_by("by_object", object_id)):
        request = await tx.load(REQUESTS.lock(waiting.key))
        if request is not None and not request.answer:
            tx.put(replace(request, answer=text))


def new_request(tx: Tx, call: CallContext, object_id: str, answer: Answer | None) -> Request:
    """The row of a request id that is claimed now."""
    text = snapshots.dump_named(answer) if answer is not None else ""
    return Request(call.request_key, call.fingerprint, object_id, text, tx.now)


def stored_answer(request: Request) -> Answer:
    """The answer as it was given the first time."""
    return snapshots.load_named(NOUNS, request.answer)


def replayed(call: CallContext, request: Request) -> Answer:
    """The stored answer, for whoever may see what is in it. Raises REQUEST_ID_REUSED, NOT_FOUND.

    Request ids are counted for a partner as a whole, and a key that is bound to one bot sees that bot's objects alone.
    """
    require_same(call, request)
    answer = stored_answer(request)
    if call.bot_id and not all(_is_of_bot(call.bot_id, record) for record in answer.values()):
        raise not_found()
    return answer


async def _joined(tx: Tx, call: CallContext, request: Request) -> Begun:
    """What the request has begun, where it is the caller's. Raises REQUEST_ID_REUSED, NOT_FOUND."""
    require_same(call, request)
    owned(call, await tx.load(_BEGUN[request.object_id.partition("_")[0]].get(request.object_id)))
    return Begun(request.object_id)


_BEGUN: dict[str, Relation[Any]] = {"pay": PAYMENTS, "cap": CAPTURES, "rfd": REFUNDS}
"""Where the objects are that requests begin, by the prefix of their ids."""


def _is_of_bot(bot_id: str, record: Any) -> bool:
    """Whether the record is the bot's; a message is its session's, which whoever sends one was asked for before."""
    if isinstance(record, Message):
        return True
    owner: str = record.id if isinstance(record, Bot) else record.bot_id
    return owner == bot_id


def require_same(call: CallContext, request: Request) -> None:
    """REQUEST_ID_REUSED where the id came with other content before."""
    if request.fingerprint != call.fingerprint:
        raise Refused(
            Reason.REQUEST_ID_REUSED,
            "This request_id was used before for another request. Draw a new one for each new intent.",
            request_id=call.request_id,
        )
