"""The one door: nothing but answers and the contract's failures comes out, whatever goes in or wrong."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from google.rpc import code_pb2, error_details_pb2
from structlog.testing import capture_logs

from comptoir.v1 import card_pb2, checkout_pb2, money_pb2, partner_pb2, session_pb2
from comptoir_server.app import credentials
from comptoir_server.app.call import CallContext, Caller
from comptoir_server.app.ports import ProviderUnavailable
from comptoir_server.domain.errors import Reason, Refused, Violation, not_found
from comptoir_server.domain.partners import Partner, PartnerState
from comptoir_server.log import ALLOWED
from comptoir_server.store.errors import IntegrityError, StorageUnavailable
from comptoir_server.transport import policy
from comptoir_server.transport.boundary import ANSWER_MARGIN_SECONDS, REQUEST_BYTES_MAX
from comptoir_server.transport.capacity import Limits
from comptoir_server.transport.failures import DOMAIN, UNIMPLEMENTED, Failed
from tests.support.door import (
    METHODS,
    World,
    absent_id,
    detail,
    failure_of,
    metadata_of,
    open_world,
    reason_of,
    status_of,
)

CANARY = "postgresql://comptoir:hunter2@db/cmp_live_4111111111111111"
GET = METHODS["GetCheckout"].path
CONFIRM = METHODS["ConfirmCheckout"].path
CHECKOUT = absent_id("chk")
ASK = checkout_pb2.GetCheckoutRequest(checkout_id=CHECKOUT)
BAD_TEXT = b"\x0a\x02\xff\xfe"
MALFORMED = [BAD_TEXT, b"\x0a\xff", b"\xff" * 40, b"\x07", b"\x0a\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01"]
UNARY = sorted(name for name, method in METHODS.items() if not method.gives_stream)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    opened = await open_world(tmp_path)
    yield opened
    await opened.clock.drain(5)
    await opened.deps.store.close()


def confirm(request_id: str = "r1", **changes: Any) -> checkout_pb2.ConfirmCheckoutRequest:
    return checkout_pb2.ConfirmCheckoutRequest(request_id=request_id, checkout_id=CHECKOUT, version=1, **changes)


def raising(error: Exception) -> Any:
    """A script that fails."""

    async def script(deps: object, call: object, **arguments: object) -> dict[str, Any]:
        raise error

    return script


def recording(calls: list[CallContext]) -> Any:
    """A script that keeps who called."""

    async def script(deps: object, call: CallContext, **arguments: object) -> dict[str, Any]:
        calls.append(call)
        return {}

    return script


def secret_of(world: World, name: str) -> tuple[str, str]:
    """A credential that may call a method, and the user it names."""
    callers = METHODS[name].callers
    if Caller.PARTNER in callers:
        return world.partner_secret, ""
    if Caller.CHANNEL in callers:
        return world.channel_secret, world.user.id
    return world.operator_secret, ""


@pytest.mark.parametrize("raw", MALFORMED)
async def test_malformed_bytes_are_an_invalid_argument_for_every_method(world: World, raw: bytes) -> None:
    for name in UNARY:
        if not METHODS[name].request_type.fields and raw == BAD_TEXT:
            continue  # a field that the method does not know is nothing to it
        secret, user_id = secret_of(world, name)
        failed = await failure_of(world.boundary.unary(METHODS[name].path, metadata_of(secret, user_id), raw, None))
        assert (name, failed.code, reason_of(failed)) == (name, code_pb2.INVALID_ARGUMENT, "FIELD_INVALID")


async def test_a_request_that_is_too_large_is_refused_unread(world: World) -> None:
    raw = b"\x0a" * (REQUEST_BYTES_MAX + 1)

    failed = await failure_of(world.boundary.unary(GET, metadata_of(world.partner_secret), raw, None))

    assert (failed.code, failed.message) == (3, "The request has more than 262144 bytes.")


async def test_every_method_refuses_a_caller_without_a_credential(world: World) -> None:
    for name in UNARY:
        failed = await failure_of(world.boundary.unary(METHODS[name].path, [], b"", None))
        assert (name, failed.code, reason_of(failed)) == (name, 16, "CREDENTIAL_INVALID")


async def test_every_method_refuses_every_kind_of_caller_that_its_policy_does_not_list(world: World) -> None:
    token, _ = credentials.issue_token(world.deps, world.user)
    secrets = {
        Caller.PARTNER: world.partner_secret,
        Caller.USER: token,
        Caller.CHANNEL: world.channel_secret,
        Caller.OPERATOR: world.operator_secret,
    }
    for name in UNARY:
        for caller in Caller:
            failed = None
            try:
                await world.boundary.unary(METHODS[name].path, metadata_of(secrets[caller]), b"", None)
            except Failed as caught:
                failed = caught
            refused = failed is not None and failed.reason == Reason.SCOPE_MISSING
            assert (name, caller, refused) == (name, caller, caller not in METHODS[name].callers)


async def test_every_scope_of_the_contract_is_asked_for(world: World) -> None:
    secret, _ = await world.new_key(world.partner.id, scopes=("nothing.else",))
    for name in UNARY:
        if Caller.PARTNER in METHODS[name].callers:
            failed = await failure_of(world.boundary.unary(METHODS[name].path, metadata_of(secret), b"", None))
            info = detail(failed, error_details_pb2.ErrorInfo)
            assert (name, failed.code, info.metadata["scope"]) == (name, 7, METHODS[name].scope)


@pytest.mark.parametrize("reason", list(Reason))
async def test_every_reason_travels_as_error_proto_says(world: World, reason: Reason) -> None:
    rule = policy.errors()[reason]
    metadata = {key: f"<{key}>" for key in rule.metadata}
    error = Refused(reason, "What is wrong.", retry_after_seconds=2.5, **metadata)  # type: ignore[arg-type]
    world.scripts["GetCheckout"] = raising(error)

    failed = await failure_of(world.call("GetCheckout", ASK, world.partner_secret))

    info = detail(failed, error_details_pb2.ErrorInfo)
    assert (info.reason, info.domain, dict(info.metadata)) == (reason.value, DOMAIN, metadata)
    assert (failed.code, status_of(failed).code) == (rule.code, rule.code)
    assert (failed.message, status_of(failed).message) == ("What is wrong.", "What is wrong.")
    retry = detail(failed, error_details_pb2.RetryInfo).retry_delay
    assert (retry.seconds, retry.nanos) == (2, 500_000_000)


async def test_metadata_that_error_proto_does_not_list_stays_behind(world: World) -> None:
    world.scripts["GetCheckout"] = raising(Refused(Reason.INVALID_STATE, "No.", state="OPEN", lease_owner="host-7"))

    failed = await failure_of(world.call("GetCheckout", ASK, world.partner_secret))

    assert dict(detail(failed, error_details_pb2.ErrorInfo).metadata) == {"state": "OPEN"}


async def test_every_violation_is_named(world: World) -> None:
    violations = (Violation("total", "is required."), Violation("items[0].title", "is required."))
    world.scripts["GetCheckout"] = raising(Refused(Reason.FIELD_INVALID, "No.", violations=violations, field="total"))

    failed = await failure_of(world.call("GetCheckout", ASK, world.partner_secret))

    found = detail(failed, error_details_pb2.BadRequest).field_violations
    assert [(each.field, each.description) for each in found] == [
        ("total", "is required."),
        ("items[0].title", "is required."),
    ]


async def test_the_longest_refusal_still_fits_into_the_metadata_that_carries_it(world: World) -> None:
    wrong = checkout_pb2.LineItem(
        unit_amount=money_pb2.Money(minor_units=-1), amount=money_pb2.Money(minor_units=-1, currency_code="x")
    )
    request = checkout_pb2.CreateCheckoutRequest(items=[wrong] * 100)

    failed = await failure_of(world.call("CreateCheckout", request, world.partner_secret))

    assert len(detail(failed, error_details_pb2.BadRequest).field_violations) == 20
    assert len(failed.status) < 4_000


class Unforeseen(Exception):
    """What nobody foresaw."""


@pytest.mark.parametrize(
    "error",
    [Unforeseen(CANARY), IntegrityError(CANARY), KeyError(CANARY), TimeoutError(CANARY), RecursionError(CANARY)],
)
async def test_what_nobody_foresaw_reaches_neither_the_caller_nor_the_log(world: World, error: Exception) -> None:
    request = session_pb2.SendMessageRequest(
        request_id="r1",
        session_id=absent_id("ses"),
        content=card_pb2.MessageContent(text=card_pb2.TextContent(text=CANARY)),
    )
    error.__cause__ = Unforeseen(f"deeper: {CANARY}")
    world.scripts["SendMessage"] = raising(error)

    with capture_logs() as logs:
        failed = await failure_of(world.call("SendMessage", request, world.partner_secret))

    reference = detail(failed, error_details_pb2.ErrorInfo).metadata["reference"]
    assert (failed.code, reason_of(failed)) == (13, "INTERNAL")
    assert failed.message == (
        f"The server failed unexpectedly. Report the reference {reference}; read to see whether anything happened."
    )
    told = json.dumps(logs) + failed.message + failed.status.decode("latin-1")
    for part in (CANARY, "hunter2", "4111111111111111", world.partner_secret):
        assert part not in told
    [entry] = [each for each in logs if each["event"] == "unforeseen"]
    assert set(entry) - {"log_level"} <= ALLOWED
    assert (entry["reference"], entry["method"], entry["log_level"]) == (reference, "SendMessage", "error")
    assert "test_boundary.py" in entry["exception"]
    assert entry["exception"].splitlines()[-1].endswith("Unforeseen")


async def test_each_unforeseen_failure_has_a_reference_of_its_own(world: World) -> None:
    world.scripts["GetCheckout"] = raising(Unforeseen(CANARY))

    failures = [await failure_of(world.call("GetCheckout", ASK, world.partner_secret)) for _ in range(3)]

    assert len({failed.message for failed in failures}) == 3


async def test_an_answer_that_cannot_be_written_is_an_internal_failure(world: World) -> None:
    async def wrong(deps: object, call: object, **arguments: object) -> dict[str, Any]:
        return {"checkout": Partner(CANARY, "", "", 0, PartnerState.ACTIVE, 1)}

    world.scripts["GetCheckout"] = wrong

    failed = await failure_of(world.call("GetCheckout", ASK, world.partner_secret))

    assert reason_of(failed) == "INTERNAL"
    assert CANARY.encode() not in failed.status


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (StorageUnavailable(CANARY), "Nothing was done."),
        (StorageUnavailable(CANARY, in_doubt=True), "Whether anything was done is not known yet."),
        (ProviderUnavailable(CANARY), "Nothing was done."),
    ],
)
async def test_what_cannot_be_reached_is_unavailable_and_says_what_is_certain(
    world: World, error: Exception, says: str
) -> None:
    world.scripts["GetCheckout"] = raising(error)

    failed = await failure_of(world.call("GetCheckout", ASK, world.partner_secret))

    assert (failed.code, reason_of(failed)) == (14, "PROVIDER_UNAVAILABLE")
    assert says in failed.message
    assert CANARY not in failed.message


async def test_foreign_and_absent_objects_get_the_same_bytes(world: World) -> None:
    world.scripts["GetCheckout"] = raising(not_found())
    other = checkout_pb2.GetCheckoutRequest(checkout_id=absent_id("chk")[:-1] + "7")

    foreign = await failure_of(world.call("GetCheckout", ASK, world.partner_secret))
    absent = await failure_of(world.call("GetCheckout", other, world.partner_secret))

    assert (foreign.code, foreign.message, foreign.status) == (absent.code, absent.message, absent.status)


async def test_a_method_that_is_not_there_is_unimplemented(world: World) -> None:
    for path in ("/comptoir.v1.CheckoutService/Nope", "", "GetCheckout", METHODS["StreamEvents"].path):
        failed = await failure_of(world.boundary.unary(path, [], b"", None))
        assert (failed.code, failed.status) == (UNIMPLEMENTED, b"")


async def test_fields_are_checked_after_permission_and_before_the_use_case(world: World) -> None:
    calls: list[CallContext] = []
    world.scripts["GetCheckout"] = recording(calls)
    wrong = checkout_pb2.GetCheckoutRequest(checkout_id="chk_wrong")

    failed = await failure_of(world.call("GetCheckout", wrong, world.partner_secret))

    assert (reason_of(failed), calls) == ("FIELD_INVALID", [])
    assert detail(failed, error_details_pb2.ErrorInfo).metadata["field"] == "checkout_id"


async def test_the_context_comes_from_the_credential_and_the_request_alone(world: World) -> None:
    calls: list[CallContext] = []
    world.scripts["ConfirmCheckout"] = recording(calls)

    before = world.clock.monotonic()
    await world.call("ConfirmCheckout", confirm(), world.channel_secret, user_id=world.user.id, time_left=8.0)
    after = world.clock.monotonic()

    [call] = calls
    assert (call.caller, call.method, call.request_id) == (Caller.CHANNEL, "ConfirmCheckout", "r1")
    assert (call.channel_id, call.user_id, call.partner_id) == (world.channel.id, world.user.id, "")
    assert before + 8.0 - ANSWER_MARGIN_SECONDS <= call.deadline <= after + 8.0 - ANSWER_MARGIN_SECONDS


async def test_a_fingerprint_is_of_the_content_and_the_method_but_not_of_the_request_id(world: World) -> None:
    calls: list[CallContext] = []
    world.scripts["ConfirmCheckout"] = world.scripts["CancelCheckout"] = recording(calls)
    who: dict[str, Any] = {"secret": world.channel_secret, "user_id": world.user.id}

    await world.call("ConfirmCheckout", confirm("a"), **who)
    await world.call("ConfirmCheckout", confirm("b"), **who)
    await world.call("ConfirmCheckout", confirm("a", wallet_id=absent_id("wal")), **who)
    same_bytes = checkout_pb2.CancelCheckoutRequest(request_id="a", checkout_id=CHECKOUT)
    await world.call("CancelCheckout", same_bytes, **who)

    first, again, other, cancel = (call.fingerprint for call in calls)
    assert first == again
    assert len({first, other, cancel}) == 3
    assert CHECKOUT not in first


async def test_the_same_map_in_another_order_has_the_same_fingerprint(world: World) -> None:
    calls: list[CallContext] = []
    world.scripts["CreateCheckout"] = recording(calls)
    eur = money_pb2.Money(minor_units=1, currency_code="EUR")
    item = checkout_pb2.LineItem(title="Seat", quantity=1, unit_amount=eur, amount=eur)
    for names in ("abcdefgh", "hgfedcba"):
        request = checkout_pb2.CreateCheckoutRequest(
            request_id=names, session_id=absent_id("ses"), items=[item], total=eur, metadata={n: n for n in names}
        )
        await world.call("CreateCheckout", request, world.partner_secret)

    assert calls[0].fingerprint == calls[1].fingerprint


@pytest.mark.parametrize(
    ("name", "time_left", "held"),
    [
        ("GetCheckout", None, 10.0),
        ("GetCheckout", 3.0, 3.0),
        ("GetCheckout", 3600.0, 10.0),
        ("CreateCapture", None, 25.0),
        ("CreateCapture", 8.0, 8.0),
        ("CreateCapture", 3600.0, 25.0),
    ],
)
async def test_a_caller_is_held_as_long_as_it_waits_but_no_longer_than_the_method_may_take(
    world: World, name: str, time_left: float | None, held: float
) -> None:
    calls: list[CallContext] = []
    world.scripts[name] = recording(calls)
    request: Any = ASK
    if name == "CreateCapture":
        request = METHODS[name].request(request_id="r1", payment_id=absent_id("pay"))

    before = world.clock.monotonic()
    await world.call(name, request, world.partner_secret, time_left=time_left)

    assert 0 <= calls[0].deadline - (before + held - ANSWER_MARGIN_SECONDS) < 1


@pytest.mark.parametrize("time_left", [0.99, 0.1, 0.0, -5.0])
async def test_too_little_time_to_ask_a_provider_is_refused_before_anything_begins(
    world: World, time_left: float
) -> None:
    calls: list[CallContext] = []
    world.scripts["ConfirmCheckout"] = recording(calls)

    failed = await failure_of(
        world.call("ConfirmCheckout", confirm(), world.channel_secret, user_id=world.user.id, time_left=time_left)
    )

    assert (failed.code, reason_of(failed), calls) == (14, "PROVIDER_UNAVAILABLE", [])
    assert "Nothing was done. Send the same request again with a longer deadline." in failed.message


async def test_a_read_is_answered_however_little_time_is_left(world: World) -> None:
    await world.call("GetCheckout", ASK, world.partner_secret, time_left=0.01)


async def test_a_caller_that_hangs_up_leaves_the_work_running(world: World) -> None:
    begun, go_on, done = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def slow(deps: object, call: object, **arguments: object) -> dict[str, Any]:
        begun.set()
        await go_on.wait()
        done.set()
        return {}

    world.scripts["ConfirmCheckout"] = slow
    call = asyncio.create_task(world.call("ConfirmCheckout", confirm(), world.channel_secret, user_id=world.user.id))
    await begun.wait()

    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert not done.is_set()
    go_on.set()

    await asyncio.wait_for(done.wait(), 10)


async def test_a_caller_that_hangs_up_leaves_its_turn_to_its_work(world: World) -> None:
    go_on, at_work, most = asyncio.Event(), 0, 0

    async def slow(deps: object, call: object, **arguments: object) -> dict[str, Any]:
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        await go_on.wait()
        at_work -= 1
        return {}

    world.scripts["CloseSession"] = slow
    world.rebuild(Limits(quick=4, waiting=4))
    for number in range(20):
        ask = session_pb2.CloseSessionRequest(session_id=absent_id("ses"), request_id=f"r{number}")
        await failure_of(world.call("CloseSession", ask, world.partner_secret, time_left=0.01))
    go_on.set()
    await world.clock.drain(5)

    assert (at_work, most) == (0, 4)
    ask = session_pb2.CloseSessionRequest(session_id=absent_id("ses"), request_id="after")
    await world.call("CloseSession", ask, world.partner_secret)


async def test_a_caller_that_hangs_up_ends_a_read(world: World) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def slow(deps: object, call: object, **arguments: object) -> dict[str, Any]:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return {}

    world.scripts["GetCheckout"] = slow
    call = asyncio.create_task(world.call("GetCheckout", ASK, world.partner_secret))
    await begun.wait()

    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call

    assert ended.is_set()


async def test_work_that_fails_after_its_caller_left_is_logged_without_its_text(world: World) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(deps: object, call: object, **arguments: object) -> dict[str, Any]:
        begun.set()
        await go_on.wait()
        raise Unforeseen(CANARY)

    world.scripts["ConfirmCheckout"] = slow
    call = asyncio.create_task(world.call("ConfirmCheckout", confirm(), world.channel_secret, user_id=world.user.id))
    await begun.wait()
    call.cancel()

    with capture_logs() as logs:
        with pytest.raises(asyncio.CancelledError):
            await call
        go_on.set()
        await world.clock.drain(10)

    assert [(each["event"], each.get("reason")) for each in logs] == [("call", "CANCELED"), ("unforeseen", None)]
    assert "hunter2" not in json.dumps(logs)


async def test_work_that_outlasts_its_deadline_goes_on_and_its_caller_is_told_to_ask_again(world: World) -> None:
    go_on, done = asyncio.Event(), asyncio.Event()

    async def slow(deps: object, call: object, **arguments: object) -> dict[str, Any]:
        await go_on.wait()
        done.set()
        return {}

    world.scripts["CancelCheckout"] = slow
    request = checkout_pb2.CancelCheckoutRequest(request_id="r1", checkout_id=CHECKOUT)

    failed = await failure_of(world.call("CancelCheckout", request, world.partner_secret, time_left=0.02))

    assert (failed.code, reason_of(failed)) == (10, "REQUEST_IN_PROGRESS")
    assert detail(failed, error_details_pb2.RetryInfo).retry_delay.seconds == 1
    go_on.set()
    await asyncio.wait_for(done.wait(), 10)


async def test_a_read_that_outlasts_its_deadline_is_given_up(world: World) -> None:
    async def slow(deps: object, call: object, **arguments: object) -> dict[str, Any]:
        await asyncio.Event().wait()
        return {}

    world.scripts["GetCheckout"] = slow

    failed = await failure_of(world.call("GetCheckout", ASK, world.partner_secret, time_left=0.02))

    assert (failed.code, reason_of(failed)) == (14, "PROVIDER_UNAVAILABLE")


async def test_a_server_at_its_capacity_refuses_before_doing_anything(world: World) -> None:
    world.rebuild(Limits(calls=2))
    go_on = asyncio.Event()

    async def slow(deps: object, call: object, **arguments: object) -> dict[str, Any]:
        await go_on.wait()
        return {}

    world.scripts["GetCheckout"] = slow
    running = [asyncio.create_task(world.call("GetCheckout", ASK, world.partner_secret)) for _ in range(2)]
    await asyncio.sleep(0.01)

    failed = await failure_of(world.call("GetCheckout", ASK, world.partner_secret))

    assert (failed.code, reason_of(failed)) == (8, "OVERLOADED")
    assert detail(failed, error_details_pb2.RetryInfo).retry_delay.seconds == 1
    go_on.set()
    await asyncio.gather(*running)
    await world.call("GetCheckout", ASK, world.partner_secret)


async def test_a_draining_server_takes_nothing_on_and_lets_what_runs_end(world: World) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(deps: object, call: object, **arguments: object) -> dict[str, Any]:
        begun.set()
        await go_on.wait()
        return {}

    world.scripts["GetCheckout"] = slow
    running = asyncio.create_task(world.call("GetCheckout", ASK, world.partner_secret))
    await begun.wait()
    draining = asyncio.create_task(world.boundary.drain(30))
    await asyncio.sleep(0)

    failed = await failure_of(world.call("GetCheckout", ASK, world.partner_secret))

    assert (failed.code, reason_of(failed)) == (14, "DRAINING")
    assert not draining.done()
    go_on.set()
    await running
    assert await draining == 0


async def test_draining_waits_no_longer_than_it_is_told(world: World) -> None:
    begun = asyncio.Event()

    async def stuck(deps: object, call: object, **arguments: object) -> dict[str, Any]:
        begun.set()
        await asyncio.Event().wait()
        return {}

    world.scripts["GetCheckout"] = stuck
    running = asyncio.create_task(world.call("GetCheckout", ASK, world.partner_secret))
    await begun.wait()

    assert await world.boundary.drain(0.01) == 1

    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_call_is_logged_by_a_list_of_fields_and_nothing_else(world: World) -> None:
    request = partner_pb2.CreateBotRequest(request_id="r1", display_name="Whisper", greeting="hunter2")

    with capture_logs() as logs:
        await world.call("CreateBot", request, world.partner_secret)

    [entry] = logs
    assert entry.pop("duration_ms") < math.inf
    assert set(entry) - {"log_level"} <= ALLOWED
    assert entry == {
        "event": "call",
        "log_level": "info",
        "method": "CreateBot",
        "reason": "OK",
        "caller": "PARTNER",
        "owner": world.partner.id,
        "key_id": (await credentials.authenticate(world.deps, metadata_of(world.partner_secret))).key_id,
    }
