"""What a call to PayPal proves: failures on the wire, and the access token."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest

from comptoir_server.app.ports import (
    DeclineCode,
    OperationKind,
    Outcome,
    OutcomeKind,
)
from comptoir_server.providers.paypal import PaypalConfig, PaypalProvider
from comptoir_server.providers.paypal.client import CallFailed, PaypalClient
from comptoir_server.runtime import Runtime, arm_faults
from tests.support import paypal_wire as wire

CHARGE, AUTHORIZE = OperationKind.CHARGE, OperationKind.AUTHORIZE
CAPTURE, VOID, REFUND = OperationKind.CAPTURE, OperationKind.VOID, OperationKind.REFUND
ORDER_PATH = f"/v2/checkout/orders/{wire.ORDER_ID}"
PAID = wire.order(captures=[wire.capture()])


def fails(failure: Exception) -> wire.Responder:
    def respond(request: httpx.Request) -> httpx.Response:
        raise failure

    return respond


def answers(status: int, body: Any = b"", **headers: str) -> wire.Responder:
    return lambda request: wire.streamed(status, body, headers)


# --- What a failure on the wire proves -------------------------------------------------------------


@pytest.mark.parametrize(
    "failure", [httpx.ConnectError("refused"), httpx.ConnectTimeout("slow"), httpx.PoolTimeout("busy")]
)
async def test_a_request_that_found_no_connection_was_not_sent(failure: Exception) -> None:
    provider, _, _ = wire.connector(fails(failure))
    outcome = await provider.execute(wire.instruction(CHARGE))
    assert (outcome.kind, outcome.provider_code) == (OutcomeKind.NOT_SENT, type(failure).__name__)


@pytest.mark.parametrize(
    "failure",
    [
        httpx.ReadTimeout("slow"),
        httpx.WriteTimeout("slow"),
        httpx.ReadError("reset"),
        httpx.WriteError("reset"),
        httpx.CloseError("reset"),
        httpx.RemoteProtocolError("no answer"),
        httpx.LocalProtocolError("odd"),
        httpx.ProxyError("proxy"),
        OSError("broken"),
        RuntimeError("anything else"),
    ],
)
async def test_a_failure_after_a_connection_leaves_doubt(failure: Exception) -> None:
    provider, script, _ = wire.connector(fails(failure))
    outcome = await provider.execute(wire.instruction(CHARGE))
    assert outcome.kind is OutcomeKind.IN_DOUBT
    assert script.calls == [f"POST {ORDER_PATH}/capture"], "a money-moving call is never repeated by the connector"


@pytest.mark.parametrize("status", [200, 201])
async def test_an_answer_that_breaks_off_leaves_doubt(status: int) -> None:
    body = json.dumps(PAID).encode()[:40]
    provider, _, _ = wire.connector(lambda request: wire.streamed(status, body, failure=httpx.ReadError("reset")))
    assert (await provider.execute(wire.instruction(CHARGE))).kind is OutcomeKind.IN_DOUBT


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, {"name": "INTERNAL_SERVER_ERROR"}),
        (500, {"name": "UNPROCESSABLE_ENTITY", "details": [{"issue": "INSTRUMENT_DECLINED"}]}),
        (503, b"<html>"),
        (302, b""),
        (404, b"<html>not ours</html>"),
        (408, {"name": "REQUEST_TIMEOUT"}),
        (409, {"name": "RESOURCE_CONFLICT", "details": [{"issue": "PREVIOUS_REQUEST_IN_PROGRESS"}]}),
        (422, {"name": "UNPROCESSABLE_ENTITY", "details": [{"issue": "ORDER_COMPLETION_IN_PROGRESS"}]}),
        (422, b"{"),
        (422, {"name": "INVALID_REQUEST", "details": [{"issue": "INSTRUMENT_DECLINED"}]}),
        (403, b"Access Denied"),
        (400, {"name": "INVALID_REQUEST", "details": [{"issue": "NEVER_SEEN"}]}),
        (201, b""),
        (201, b"[]"),
        (201, {"id": wire.ORDER_ID, "status": "COMPLETED"}),
        (201, wire.order("CREATED")),
        (201, wire.order(captures=[wire.capture(amount=wire.money("12.49"))])),
        (201, wire.order(captures=[wire.capture(amount=wire.money("12.50", "USD"))])),
        (201, wire.order(captures=[wire.capture(invoice_id="pay_2")])),
        (201, wire.order(captures=[wire.capture("BRAND_NEW")])),
        (201, wire.order(captures=[wire.capture(amount=None)])),
        (202, PAID),
        (204, b""),
    ],
)
async def test_an_answer_that_proves_nothing_leaves_doubt(status: int, body: Any) -> None:
    provider, script, _ = wire.connector(answers(status, body))
    assert (await provider.execute(wire.instruction(CHARGE))).kind is OutcomeKind.IN_DOUBT
    assert script.calls == [f"POST {ORDER_PATH}/capture"]


async def test_an_answer_larger_than_a_mebibyte_is_not_read_on() -> None:
    provider, _, _ = wire.connector(answers(201, b" " * 1_048_577))
    outcome = await provider.execute(wire.instruction(CHARGE))
    assert (outcome.kind, outcome.provider_code) == (OutcomeKind.IN_DOUBT, "ANSWER_TOO_LARGE")


async def test_an_answer_in_an_encoding_that_we_did_not_ask_for_is_not_unpacked() -> None:
    provider, _, _ = wire.connector(lambda request: wire.streamed(201, PAID, {"content-encoding": "gzip"}))
    outcome = await provider.execute(wire.instruction(CHARGE))
    assert (outcome.kind, outcome.provider_code) == (OutcomeKind.IN_DOUBT, "ENCODED_ANSWER")


async def test_an_answer_that_never_ends_is_given_up_within_the_limit() -> None:
    async def silence(request: httpx.Request) -> httpx.Response:
        await asyncio.Event().wait()
        raise AssertionError

    script = wire.Script(silence)
    config = PaypalConfig(wire.BASE, "client", "not-for-anybody", "webhook", call_limit_seconds=0.05)
    provider = PaypalProvider(config, wire.WireRuntime(script))
    outcome = await provider.execute(wire.instruction(CHARGE))
    assert (outcome.kind, outcome.provider_code) == (OutcomeKind.IN_DOUBT, "TimeoutError")


async def test_too_many_requests_means_not_processed() -> None:
    provider, script, _ = wire.connector(answers(429, {"name": "RATE_LIMIT_REACHED"}))
    assert (await provider.execute(wire.instruction(CHARGE))).kind is OutcomeKind.THROTTLED
    assert len(script.calls) == 1


# --- The same over real sockets --------------------------------------------------------------------

TOKEN_BYTES = json.dumps(wire.TOKEN_ANSWER).encode()
GRANT = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(TOKEN_BYTES), TOKEN_BYTES)


async def charged_over(serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]) -> Outcome:
    """What a charge comes to when `serve` answers the connection after the one for the access token."""
    connections = 0

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        if connections == 1:
            await reader.readuntil(b"grant_type=client_credentials")
            writer.write(GRANT)
        else:
            await serve(reader, writer)
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    provider = PaypalProvider(PaypalConfig(base_url, "client", "not-for-anybody", "webhook"), Runtime())
    if serve is nobody:
        await provider.look_up(wire.instruction(VOID))  # takes the access token
        server.close()
    outcome = await provider.execute(wire.instruction(CHARGE))
    server.close()
    await provider.close()
    return outcome


async def nobody(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Closes at once; afterwards nobody listens any more."""


async def hangs_up_after_reading(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"8kk8451t")


async def hangs_up_before_reading(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def hangs_up_within_the_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"8kk8451t")
    writer.write(b"HTTP/1.1 201 Created\r\nContent-Length: 5000\r\n\r\n{")
    await writer.drain()


async def speaks_nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"8kk8451t")
    writer.write(b"220 mail.example ESMTP\r\n")
    await writer.drain()


async def test_a_port_where_nobody_listens_was_sent_nothing() -> None:
    outcome = await charged_over(nobody)
    assert (outcome.kind, outcome.provider_code) == (OutcomeKind.NOT_SENT, "ConnectError")


@pytest.mark.parametrize(
    "serve", [hangs_up_after_reading, hangs_up_before_reading, hangs_up_within_the_answer, speaks_nonsense]
)
async def test_a_connection_that_breaks_leaves_doubt(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> None:
    assert (await charged_over(serve)).kind is OutcomeKind.IN_DOUBT


async def test_a_server_that_does_not_finish_the_tls_handshake_was_sent_nothing() -> None:
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(plain, "127.0.0.1", 0)
    base_url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    client = PaypalClient(PaypalConfig(base_url, "client", "not-for-anybody", "webhook"), Runtime())
    with pytest.raises(CallFailed) as failure:
        await client.fetch(client.deadline(), f"{base_url}/v1/notifications/certs/CERT-1")
    assert (failure.value.kind, failure.value.code) == (OutcomeKind.NOT_SENT, "ConnectError")
    server.close()
    await client.close()


# --- The access token ------------------------------------------------------------------------------


async def test_callers_at_once_share_one_token_request() -> None:
    provider, script, _ = wire.connector(answers(201, PAID))
    outcomes = await asyncio.gather(*(provider.execute(wire.instruction(CHARGE)) for _ in range(20)))
    assert {outcome.kind for outcome in outcomes} == {OutcomeKind.CAPTURED}
    assert [request.url.path for request in script.requests].count("/v1/oauth2/token") == 1


async def test_a_caller_that_gives_up_does_not_take_the_token_from_the_others() -> None:
    gate = asyncio.Event()

    async def respond(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/oauth2/token":
            await gate.wait()
            return wire.streamed(200, wire.TOKEN_ANSWER)
        return wire.streamed(201, PAID)

    provider, script, _ = wire.connector(respond, answers_token=False)
    first = asyncio.create_task(provider.execute(wire.instruction(CHARGE)))
    second = asyncio.create_task(provider.execute(wire.instruction(CHARGE)))
    await asyncio.sleep(0)
    first.cancel()
    gate.set()
    assert (await second).kind is OutcomeKind.CAPTURED
    assert [request.url.path for request in script.requests].count("/v1/oauth2/token") == 1


async def test_a_token_is_asked_for_with_basic_authentication_and_renewed_before_it_ends() -> None:
    provider, script, runtime = wire.connector(answers(201, PAID))
    await provider.execute(wire.instruction(CHARGE))
    asked = script.requests[0]
    assert asked.headers["authorization"] == "Basic Y2xpZW50Om5vdC1mb3ItYW55Ym9keQ=="
    assert asked.content == b"grant_type=client_credentials"
    runtime.ahead = 32_400 - 300 + 1
    assert (await provider.execute(wire.instruction(CHARGE))).kind is OutcomeKind.CAPTURED
    await runtime.drain(1)
    runtime.ahead = 32_400 + 1
    await provider.execute(wire.instruction(CHARGE))
    paths = [request.url.path for request in script.requests]
    assert paths.count("/v1/oauth2/token") == 2, "renewed once, behind the call that met its last minutes"


async def test_a_refused_token_is_replaced_once_and_the_call_made_again() -> None:
    tokens = iter(["old", "new"])

    def respond(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/oauth2/token":
            return wire.streamed(200, wire.TOKEN_ANSWER | {"access_token": next(tokens)})
        if request.headers["authorization"] == "Bearer old":
            return wire.error(401, "AUTHENTICATION_FAILURE")
        return wire.streamed(201, PAID)

    provider, script, _ = wire.connector(respond, answers_token=False)
    assert (await provider.execute(wire.instruction(CHARGE))).kind is OutcomeKind.CAPTURED
    assert script.calls == [f"POST {ORDER_PATH}/capture"] * 2
    keys = {request.headers.get("paypal-request-id") for request in script.requests} - {None}
    assert keys == {"key_1:execute"}


async def test_a_token_refused_twice_means_that_nothing_was_executed() -> None:
    provider, script, _ = wire.connector(lambda request: wire.error(401, "AUTHENTICATION_FAILURE"))
    outcome = await provider.execute(wire.instruction(CHARGE))
    assert (outcome.kind, outcome.provider_code) == (OutcomeKind.NOT_SENT, "AUTHENTICATION_FAILURE")
    assert script.calls == [f"POST {ORDER_PATH}/capture"] * 2


async def test_a_merchant_account_that_paypal_refuses_is_a_decline() -> None:
    provider, _, _ = wire.connector(lambda request: wire.error(401, "AUTHENTICATION_FAILURE", "INVALID_ACCOUNT_STATUS"))
    outcome = await provider.execute(wire.instruction(CHARGE))
    assert (outcome.kind, outcome.decline_code) == (OutcomeKind.DECLINED, DeclineCode.MERCHANT_ACCOUNT)


@pytest.mark.parametrize(
    ("status", "grant", "kind"),
    [
        (401, {"error": "invalid_client"}, OutcomeKind.NOT_SENT),
        (500, b"", OutcomeKind.NOT_SENT),
        (429, b"", OutcomeKind.THROTTLED),
        (200, b"<html>", OutcomeKind.NOT_SENT),
        (200, {}, OutcomeKind.NOT_SENT),
        (200, wire.TOKEN_ANSWER | {"access_token": "a\r\nX-Evil: 1"}, OutcomeKind.NOT_SENT),
        (200, wire.TOKEN_ANSWER | {"expires_in": "3600"}, OutcomeKind.NOT_SENT),
        (200, wire.TOKEN_ANSWER | {"expires_in": 0}, OutcomeKind.NOT_SENT),
        (200, wire.TOKEN_ANSWER | {"expires_in": True}, OutcomeKind.NOT_SENT),
        (200, wire.TOKEN_ANSWER | {"token_type": "mac"}, OutcomeKind.NOT_SENT),
    ],
)
async def test_without_a_token_nothing_is_asked_for(status: int, grant: Any, kind: OutcomeKind) -> None:
    provider, script, _ = wire.connector(answers(status, grant), answers_token=False)
    assert (await provider.execute(wire.instruction(CHARGE))).kind is kind
    assert script.calls == []


# --- Fault points ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "point"),
    [
        (CHARGE, "charge.sent"),
        (AUTHORIZE, "charge.sent"),
        (CAPTURE, "capture.sent"),
        (VOID, "void.sent"),
        (REFUND, "refund.sent"),
    ],
)
async def test_the_fault_point_lies_between_the_last_byte_sent_and_the_first_one_read(
    kind: OperationKind, point: str
) -> None:
    reached: list[str] = []
    may_answer = asyncio.Event()

    def strike(name: str) -> None:
        reached.append(name)
        may_answer.set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next((line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), b":0")
        await reader.readexactly(int(length.split(b":")[1]))
        grants = b"/v1/oauth2/token" in head
        if not grants:
            await may_answer.wait()
        body = json.dumps(wire.TOKEN_ANSWER if grants else {"name": "INTERNAL_SERVER_ERROR"}).encode()
        status = b"200 OK" if grants else b"500 Internal Server Error"
        writer.write(b"HTTP/1.1 %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (status, len(body), body))
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    provider = PaypalProvider(replace(wire.CONFIG, base_url=address), Runtime())
    arm_faults(strike)
    try:
        outcome = await provider.execute(wire.instruction(kind))
        await provider.look_up(wire.instruction(kind))
    finally:
        arm_faults(None)
        await provider.close()
        server.close()
        await server.wait_closed()

    assert outcome.kind is OutcomeKind.IN_DOUBT
    assert reached == [point], "once, for the call that moves money and for no other"
