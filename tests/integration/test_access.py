"""Who may do what: every method by every id field by everybody who may knock, generated from the contract.

The table that this walks is printed by `python -m tests.access`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from comptoir_server.app import access, checkouts, credentials, once, orders, sessions
from comptoir_server.app.call import CallContext, Caller
from comptoir_server.domain.errors import Reason, Refused
from comptoir_server.store.reads import checkouts as lists_of_checkouts
from comptoir_server.store.tables import CHANNELS, ORDERS
from comptoir_server.store.tx import Tx
from comptoir_server.transport import boundary
from comptoir_server.transport.binding import bind
from comptoir_server.transport.boundary import Boundary
from comptoir_server.transport.policy import Method
from comptoir_server.transport.server import STATUS_DETAILS, Server
from tests.access import programs
from tests.access.door import METHODS, Credential, Reply, bearer, knock
from tests.access.estate import Estate, open_estate
from tests.access.fields import id_fields
from tests.access.identities import Identity, knockers
from tests.access.matrix import Findings, Matrix, walked
from tests.access.recipes import RECIPES, request_of
from tests.access.witness import Witness
from tests.support.databases import new_postgresql, new_sqlite
from tests.support.door import absent_id

EVERYTHING = tuple(METHODS.values())
READS = tuple(method for method in EVERYTHING if method.reads)


@dataclass
class Field:
    """An estate and the matrix over it."""

    estate: Estate
    matrix: Matrix

    async def violations(self, *names: str) -> list[str]:
        """What must not have been, in the cells of these methods."""
        return (await self.matrix.walk(METHODS[name] for name in names)).violations


@asynccontextmanager
async def opened(database_url: str) -> AsyncIterator[Field]:
    async with open_estate(database_url) as estate:
        witness = Witness(estate.deps, database_url)
        yield Field(estate, Matrix(estate, witness))
        witness.close()


@pytest.fixture
async def field(tmp_path: Path) -> AsyncIterator[Field]:
    async with opened(new_sqlite(tmp_path)) as made:
        yield made


# What the matrix must notice.


def unfiltered(_call: CallContext, found: Any) -> Any:
    return found


def told_more(call: CallContext, found: Any) -> Any:
    """An ownership filter that tells what is somebody else's from what is absent by one character."""
    if found is not None and found.bot_id != call.bot_id:
        raise Refused(Reason.NOT_FOUND, "There is no such object, or it is not yours. Check the id!!")
    return access.owned(call, found)


@pytest.mark.parametrize(
    ("module", "name", "broken", "method", "words"),
    [
        (checkouts, "owned", unfiltered, "GetCheckout", "differ: OK"),
        (checkouts, "owned", unfiltered, "CancelCheckout", "was answered, and it is somebody else's"),
        (orders, "owned", told_more, "GetOrder", "differ: NOT_FOUND"),
        (lists_of_checkouts, "shown_to", lambda _call, _table: [], "ListCheckouts", "which is somebody else's"),
        (once, "_is_of_bot", lambda _bot_id, _record: True, "CancelCheckout", "again by another bot's key"),
        (credentials, "_require_working", lambda key, _now: key, "GetPartner", "by the revoked partner key was told"),
        (boundary, "admit", lambda _who, _callers, _scope: None, "GetOrder", "by a key without order.read was told OK"),
        (credentials, "_require_active_user", lambda _user: None, "GetUser", "by a suspended user's token was told"),
    ],
)
async def test_a_filter_that_is_missing_is_noticed(
    field: Field, monkeypatch: pytest.MonkeyPatch, module: object, name: str, broken: Callable[..., Any], method: str,
    words: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(module, name, broken)

    assert any(words in sentence for sentence in await field.violations(method))


def rebuilt(field: Field, name: str, function: Callable[..., Any]) -> None:
    """A boundary at which another function stands behind a method."""
    bound, path = bind("test"), METHODS[name].path
    field.estate.boundary = Boundary(field.estate.deps, {**bound, path: replace(bound[path], function=function)})


async def test_a_refused_call_that_moves_something_is_noticed(field: Field) -> None:
    async def meddling(deps: Any, call: CallContext, **arguments: Any) -> dict[str, Any]:
        async def work(tx: Tx) -> None:
            channel = await tx.load(CHANNELS.lock(field.estate.victim.venue.channel_id))
            assert channel is not None
            tx.put(replace(channel, display_name=f"touched at {tx.now}"))

        await deps.store.write(work)
        return await sessions.close_session(deps, call, **arguments)

    rebuilt(field, "CloseSession", meddling)

    found = await field.violations("CloseSession")

    assert "CloseSession with session_id by another bot's key was refused (NOT_FOUND), and something moved" in found
    assert "CloseSession: the tables are not as they were before the refused calls" in found


async def test_a_call_that_takes_longer_over_what_is_somebody_elses_is_noticed(field: Field) -> None:
    async def curious(deps: Any, call: CallContext, order_id: str) -> dict[str, Any]:
        if await deps.store.read(lambda tx: tx.load(ORDERS.get(order_id))) is not None:
            await deps.store.read(lambda tx: tx.load(ORDERS.get(order_id)))
        return await orders.get_order(deps, call, order_id=order_id)

    rebuilt(field, "GetOrder", curious)

    words = "GetOrder with order_id by another partner's key: 4 works for what is somebody else's, 3 for what is absent"
    assert words in await field.violations("GetOrder")


async def test_a_method_that_nobody_knows_how_to_ask_for_is_named_with_what_to_add(field: Field) -> None:
    del field.matrix.recipes["VoidPayment"]
    for side in field.estate.sides.values():
        del side.ids["rfd"]

    method, id_field = await field.violations("VoidPayment", "GetRefund")

    assert method == (
        "/comptoir.v1.PaymentService/VoidPayment changes something, and nobody in tests/access/recipes.py knows how to "
        "ask for it: add a recipe for VoidPayment to RECIPES that answers the fields of a request which its owner may "
        "send."
    )
    assert id_field == (
        "/comptoir.v1.PaymentService/GetRefund has the id field refund_id, and no side of the estate has a live object "
        "of its kind: make one in Side.furnish of tests/access/sides.py and keep its id under 'rfd'."
    )


async def test_a_recipe_whose_owner_is_refused_shows_nothing_and_is_named(field: Field) -> None:
    field.matrix.recipes["UpdateCheckout"] = RECIPES["ConfirmCheckout"]

    found = await field.violations("UpdateCheckout")

    for owner in ("the partner", "the bot", "a key with checkout.write alone"):
        assert any(each.startswith(f"UpdateCheckout by {owner} was refused: FIELD_INVALID") for each in found)


# The matrix.


def require_whole(findings: Findings, methods: tuple[Method, ...]) -> None:
    """Every method was asked by everybody, with every id field, and by at least one owner who was answered."""
    cells = {(cell.method, cell.field) for cell in findings.cells}
    for method in methods:
        for one in id_fields(method.request_type):
            assert (method.name, one.name) in cells
    answered = {cell.method for cell in findings.cells if cell.group == "owner" and cell.outcome == "answered"}
    assert answered == {method.name for method in methods}
    assert all(sum(cell.method == method.name for cell in findings.cells) > 40 for method in methods)


async def test_nobody_does_or_learns_what_is_not_theirs(tmp_path: Path) -> None:
    findings = await walked(new_sqlite(tmp_path), EVERYTHING)

    assert findings.violations == []
    require_whole(findings, EVERYTHING)


async def test_nobody_reads_what_is_not_theirs_on_postgresql_either() -> None:
    findings = await walked(new_postgresql(), READS)

    assert findings.violations == []
    require_whole(findings, READS)


# What the matrix does not reach.


async def test_a_request_of_another_bot_is_absent_while_it_runs_too(field: Field) -> None:
    victim, sibling = field.estate.victim, field.estate.sides["sibling"]
    method = METHODS["CreateRefund"]
    request = await request_of(method, victim, RECIPES, bearer(victim.bot_secret))
    request.request_id = "overheard"  # type: ignore[attr-defined]
    raw = request.SerializeToString()
    provider = field.estate.provider
    held, sent = provider.hold("execute"), [name for name, _ in provider.calls].count("execute")
    running = asyncio.create_task(knock(field.estate.boundary, method, bearer(victim.bot_secret), raw))
    while [name for name, _ in provider.calls].count("execute") == sent:
        await asyncio.sleep(0.001)

    overheard = await knock(field.estate.boundary, method, bearer(sibling.bot_secret), raw)

    assert (overheard.reason, overheard.answers) == ("NOT_FOUND", ())
    held.set()
    assert (await running).code == 0
    assert (await knock(field.estate.boundary, method, bearer(victim.tenant.secret), raw)).code == 0


async def test_a_key_for_the_whole_partner_is_not_told_to_a_bot_that_repeats_the_request(field: Field) -> None:
    victim, sibling = field.estate.victim, field.estate.sides["sibling"]
    request = METHODS["CreateApiKey"].request(request_id="overheard", scopes=["key.read"])
    raw = request.SerializeToString()
    made = await knock(field.estate.boundary, METHODS["CreateApiKey"], bearer(victim.tenant.secret), raw)

    overheard = await knock(field.estate.boundary, METHODS["CreateApiKey"], bearer(sibling.bot_secret), raw)

    assert (made.code, overheard.reason) == (0, "NOT_FOUND")


async def test_a_reference_of_another_bot_is_taken_without_a_word_of_its_checkout(field: Field) -> None:
    victim, sibling = field.estate.victim, field.estate.sides["sibling"]
    paid = await victim.new_payment(partner_reference="PAID-1")
    await victim.new_checkout(partner_reference="OPEN-1")
    for reference, reason in (("PAID-1", "REFERENCE_ALREADY_PAID"), ("OPEN-1", "INVALID_STATE")):
        asked = await request_of(METHODS["CreateCheckout"], sibling, RECIPES, bearer(sibling.bot_secret))
        asked.partner_reference = reference  # type: ignore[attr-defined]

        refused = await field.estate.reply("CreateCheckout", bearer(sibling.bot_secret), asked)

        assert refused.reason == reason
        assert re.findall(rb"[a-z]{3}_[0-9a-z]{26}", refused.everything) == []
    own = await request_of(METHODS["CreateCheckout"], victim, RECIPES, bearer(victim.bot_secret))
    own.partner_reference = "PAID-1"  # type: ignore[attr-defined]
    told = await field.estate.reply("CreateCheckout", bearer(victim.bot_secret), own)
    assert paid.checkout_id in told.message


async def test_the_page_of_a_list_is_nobody_elses_to_turn(field: Field) -> None:
    for method in READS:
        if "page_token" not in method.request_type.fields_by_name:
            continue
        strangers, owners = await knockers(field.estate, method)
        for owner in owners:
            reply = await knock(field.estate.boundary, method, owner.credential, await _page(field, method, owner))
            token = reply.response(method).next_page_token if reply.code == 0 else ""
            if not token:
                continue
            for stranger in strangers:
                if stranger.told or stranger.caller not in method.callers:
                    continue
                taken, made_up = [
                    await knock(field.estate.boundary, method, stranger.credential, raw)
                    for raw in [
                        method.request(page_token=each).SerializeToString() for each in (token, "x" * len(token))
                    ]
                ]
                assert taken == made_up, f"{method.name} by {stranger.name}"


async def test_a_place_in_another_log_is_as_good_as_a_made_up_one(field: Field) -> None:
    victim, sides = field.estate.victim, field.estate.sides
    cursor = (await field.estate.asked("ListEvents", bearer(victim.bot_secret))).next_cursor
    for credential in (bearer(sides["stranger"].bot_secret), bearer(victim.venue.secret)):
        for name, make in (
            ("ListEvents", lambda place: {"cursor": place}),
            ("AckEvents", lambda place: {"consumer": "till", "cursor": place}),
            ("StreamEvents", lambda place: {"subscribe": {"consumer": "till", "cursor": place}}),
        ):
            taken, made_up = [
                await field.estate.reply(name, credential, METHODS[name].request(**make(place)))
                for place in (cursor, "x" * len(cursor))
            ]
            assert taken == made_up
            assert taken.reason == "FIELD_INVALID"


async def test_a_user_whom_a_channel_does_not_have_is_absent_whoever_else_has_it(field: Field) -> None:
    victim, stranger = field.estate.victim, field.estate.sides["stranger"]
    for method in EVERYTHING:
        if Caller.CHANNEL not in method.callers:
            continue
        request = await request_of(method, stranger, RECIPES, bearer(stranger.venue.secret))
        replies = {
            await field.estate.reply(method.name, bearer(stranger.venue.secret, named), request)
            for named in (victim.user_id, absent_id("usr"), "usr_nobody", victim.bot_id, "x")
        }
        assert {reply.reason for reply in replies} == {"NOT_FOUND"}, method.name
        assert len(replies) == 1, method.name


async def test_a_reference_finds_nothing_of_anybody_elses(field: Field) -> None:
    await field.estate.victim.new_payment(partner_reference="TRIP-1")
    for method in READS:
        if "partner_reference" not in method.request_type.fields_by_name:
            continue
        strangers, owners = await knockers(field.estate, method)
        for one in (*strangers, *owners):
            if one.told or one.live or one.caller not in method.callers:
                continue
            reply, none = [
                await field.estate.reply(method.name, one.credential, method.request(partner_reference=reference))
                for reference in ("TRIP-1", "TRIP-2")
            ]
            assert (reply == none) == (one.group != "owner"), f"{method.name} by {one.name}"


async def _page(field: Field, method: Method, owner: Identity) -> bytes:
    request = await request_of(method, owner.side, RECIPES, owner.credential)
    for one in id_fields(method.request_type):
        request.ClearField(one.path[0].name)
    request.page_size = 1  # type: ignore[attr-defined]
    return request.SerializeToString()


# The same over a wire.


async def by_wire(connection: grpc.aio.Channel, method: Method, credential: Credential, raw: bytes) -> Reply:
    """What somebody gets who calls over gRPC; of a stream without end the first answer."""
    call: Any
    if method.takes_stream:
        call = connection.stream_stream(method.path)
    else:
        call = (connection.unary_stream if method.gives_stream else connection.unary_unary)(method.path)
    answering = call(iter([raw]) if method.takes_stream else raw, metadata=credential, timeout=20)
    try:
        if not method.gives_stream:
            return Reply(0, answers=(await answering,))
        answers = []
        async for each in answering:
            answers.append(each)
            if not method.takes_stream:
                break
        return Reply(0, answers=tuple(answers))
    except grpc.aio.AioRpcError as error:
        trailing = dict(error.trailing_metadata() or ())
        return Reply(error.code().value[0], "", error.details() or "", bytes(trailing.get(STATUS_DETAILS, b"")))


async def test_over_grpc_everybody_is_told_the_same_to_the_byte(field: Field) -> None:
    estate, server = field.estate, Server(field.estate.boundary)
    port = await server.start("127.0.0.1:0")
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as connection:
        for method in EVERYTHING:
            strangers, _ = await knockers(estate, method)
            request = await request_of(method, estate.victim, RECIPES, bearer(estate.victim.bot_secret))
            if method.takes_request_id:
                request.request_id = estate.request_id()  # type: ignore[attr-defined]
            raw = request.SerializeToString()
            chosen = {one.group: one for one in strangers if not one.live and (method.reads or one.told or one.caller)}
            for stranger in chosen.values():
                inside = await knock(estate.boundary, method, stranger.credential, raw)
                outside = await by_wire(connection, method, stranger.credential, raw)
                assert replace(inside, reason="") == replace(outside, reason=""), f"{method.name} by {stranger.name}"
    await server.stop(1)


# Whatever has happened before.


async def test_a_filter_that_is_missing_is_noticed_in_programs_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orders, "owned", unfiltered)
    monkeypatch.setattr(programs, "KNOCKED_AT", ("GetOrder",))

    tally = await programs.run_programs(0, 1, report=lambda _words: None)

    assert any("GetOrder with order_id by another" in sentence for sentence in tally.violations)


async def test_programs_of_two_tenants_in_any_order_open_no_door() -> None:
    tally = await programs.run_programs(100, 4, report=lambda _words: None)

    assert tally.violations == []
    assert (tally.programs, tally.actions) == (4, 4 * programs.STEPS)
