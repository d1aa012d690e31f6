"""The boundary behind a real gRPC server on this machine: what travels, what connections may do, how it stops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_status import rpc_status

from comptoir.v1 import checkout_pb2, checkout_pb2_grpc, event_pb2, event_pb2_grpc, session_pb2, session_pb2_grpc
from comptoir_server.app.call import CallContext
from comptoir_server.domain.errors import not_found
from comptoir_server.transport.boundary import REQUEST_BYTES_MAX
from comptoir_server.transport.capacity import Limits
from comptoir_server.transport.server import MESSAGE_BYTES_MAX, ListenError, Server, Tls, is_loopback
from tests.support.door import METHODS, Subscribe, World, absent_id, open_world

ASK = checkout_pb2.GetCheckoutRequest(checkout_id=absent_id("chk"))
FOLLOW = session_pb2.StreamMessagesRequest(session_id=absent_id("ses"))


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    opened = await open_world(tmp_path)
    yield opened
    await opened.clock.drain(5)
    await opened.deps.store.close()


@asynccontextmanager
async def listening(world: World, **options: bool) -> AsyncIterator[tuple[Server, grpc.aio.Channel]]:
    """A server on a free port of this machine, and a channel to it."""
    server = Server(world.boundary, **options)
    port = await server.start("127.0.0.1:0")
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        try:
            yield server, channel
        finally:
            await server.stop(5)


def bearer(secret: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {secret}"),)


def unary(channel: grpc.aio.Channel, path: str) -> Any:
    """A unary method that takes and gives bytes."""
    return channel.unary_unary(path)


async def failure(call: Any) -> grpc.aio.AioRpcError:
    """The error with which a call ends; one that succeeds is a failed test."""
    try:
        answer = await call
    except grpc.aio.AioRpcError as error:
        return error
    raise AssertionError(f"was answered: {answer!r}")


def info(error: grpc.aio.AioRpcError) -> error_details_pb2.ErrorInfo:
    """The ErrorInfo in the trailing metadata, which agrees with the code and the message."""
    status = rpc_status.from_call(error)  # type: ignore[arg-type]  # an AioRpcError has what it reads
    assert status is not None
    found = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(found)
    return found


async def silent(deps: object, call: object, **arguments: object) -> AsyncIterator[dict[str, Any]]:
    yield {}
    await asyncio.Event().wait()


async def test_a_call_without_a_credential_is_unauthenticated_with_its_reason(world: World) -> None:
    async with listening(world) as (_, channel):
        error = await failure(checkout_pb2_grpc.CheckoutServiceStub(channel).GetCheckout(ASK))

    assert (error.code(), info(error).reason, info(error).domain) == (
        grpc.StatusCode.UNAUTHENTICATED,
        "CREDENTIAL_INVALID",
        "comptoir.dev",
    )


async def test_malformed_bytes_are_never_unknown_nor_internal_for_any_method(world: World) -> None:
    async with listening(world) as (_, channel):
        for method in METHODS.values():
            for raw in (b"\x0a\xff", b"\xff" * 30):
                if not method.gives_stream:
                    error = await failure(unary(channel, method.path)(raw))
                elif not method.takes_stream:
                    follow: Any = channel.unary_stream(method.path)
                    error = await failure(follow(raw).read())
                else:
                    world.scripts[method.name] = echo
                    talk: Any = channel.stream_stream(method.path)
                    error = await failure(talk(iter([raw]), metadata=bearer(world.partner_secret)).read())
                assert (method.name, error.code(), info(error).reason) == (
                    method.name,
                    grpc.StatusCode.INVALID_ARGUMENT,
                    "FIELD_INVALID",
                )


async def test_a_request_that_is_too_large_is_refused_with_its_reason(world: World) -> None:
    path = METHODS["SendMessage"].path
    async with listening(world) as (_, channel):
        for size in (REQUEST_BYTES_MAX + 1, MESSAGE_BYTES_MAX):
            error = await failure(unary(channel, path)(bytes(size), metadata=bearer(world.partner_secret)))
            assert (error.code(), info(error).reason) == (grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID")
            assert info(error).metadata == {"field": "request"}


async def echo(deps: object, call: object, requests: AsyncIterator[Any]) -> AsyncIterator[dict[str, Any]]:
    async for request in requests:
        name = request.consumer if isinstance(request, Subscribe) else request.cursor
        yield {"acked": {"cursor": name}}


async def test_answers_and_refusals_travel_in_both_kinds_of_streams(world: World) -> None:
    async def messages(deps: object, call: object, **arguments: object) -> AsyncIterator[dict[str, Any]]:
        yield {}
        raise not_found()

    world.scripts.update(StreamEvents=echo, StreamMessages=messages)
    metadata = bearer(world.partner_secret)
    async with listening(world) as (_, channel):
        call: Any = event_pb2_grpc.EventServiceStub(channel).StreamEvents(metadata=metadata)
        await call.write(event_pb2.StreamEventsRequest(subscribe=event_pb2.Subscribe(consumer="bot")))
        assert (await call.read()).acked.cursor == "bot"
        await call.write(event_pb2.StreamEventsRequest(ack=event_pb2.Ack(cursor="c1")))
        assert (await call.read()).acked.cursor == "c1"
        await call.done_writing()
        assert await call.read() == grpc.aio.EOF
        assert await call.code() == grpc.StatusCode.OK

        following = session_pb2_grpc.SessionServiceStub(channel).StreamMessages(FOLLOW, metadata=metadata)
        assert await following.read() == session_pb2.StreamMessagesResponse()
        error = await failure(following.read())
        assert (error.code(), info(error).reason) == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND")


async def test_the_callers_deadline_reaches_the_use_case(world: World) -> None:
    calls: list[CallContext] = []

    async def script(deps: object, call: CallContext, **arguments: object) -> dict[str, Any]:
        calls.append(call)
        return {}

    world.scripts["GetCheckout"] = script
    async with listening(world) as (_, channel):
        stub = checkout_pb2_grpc.CheckoutServiceStub(channel)
        before = world.clock.monotonic()
        await stub.GetCheckout(ASK, metadata=bearer(world.partner_secret), timeout=4)

    assert before + 3 < calls[0].deadline < before + 3.6


async def test_a_deadline_that_runs_out_leaves_the_work_running(world: World) -> None:
    begun, go_on, done = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def slow(deps: object, call: object, **arguments: object) -> dict[str, Any]:
        begun.set()
        await go_on.wait()
        done.set()
        return {}

    world.scripts["CancelCheckout"] = slow
    async with listening(world) as (_, channel):
        request = checkout_pb2.CancelCheckoutRequest(request_id="r1", checkout_id=absent_id("chk"))
        stub = checkout_pb2_grpc.CheckoutServiceStub(channel)
        call = stub.CancelCheckout(request, metadata=bearer(world.partner_secret))
        await begun.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        go_on.set()
        await asyncio.wait_for(done.wait(), 10)


async def test_a_client_that_leaves_a_stream_stops_its_use_case(world: World) -> None:
    stopped = asyncio.Event()

    async def watched(deps: object, call: object, **arguments: object) -> AsyncIterator[dict[str, Any]]:
        try:
            yield {}
            await asyncio.Event().wait()
        finally:
            stopped.set()

    world.scripts["StreamMessages"] = watched
    async with listening(world) as (_, channel):
        stub = session_pb2_grpc.SessionServiceStub(channel)
        call = stub.StreamMessages(FOLLOW, metadata=bearer(world.partner_secret))
        await call.read()
        call.cancel()
        await asyncio.wait_for(stopped.wait(), 10)


async def test_what_the_contract_does_not_have_is_unimplemented(world: World) -> None:
    async with listening(world) as (_, channel):
        error = await failure(unary(channel, "/comptoir.v1.CheckoutService/Nope")(b""))

    assert error.code() == grpc.StatusCode.UNIMPLEMENTED


async def test_messages_and_metadata_beyond_the_limits_are_refused(world: World) -> None:
    metadata = bearer(world.partner_secret)
    async with listening(world) as (_, channel):
        get = unary(channel, METHODS["GetCheckout"].path)
        large = await failure(get(bytes(MESSAGE_BYTES_MAX + 1), metadata=metadata))
        many = await failure(get(b"", metadata=(*metadata, ("x-note", "a" * 10_000))))

    assert (large.code(), many.code()) == (grpc.StatusCode.RESOURCE_EXHAUSTED,) * 2


async def test_the_longest_list_of_violations_reaches_the_client(world: World) -> None:
    request = checkout_pb2.CreateCheckoutRequest(items=[checkout_pb2.LineItem()] * 100)
    async with listening(world) as (_, channel):
        stub = checkout_pb2_grpc.CheckoutServiceStub(channel)
        error = await failure(stub.CreateCheckout(request, metadata=bearer(world.partner_secret)))

    assert (error.code(), info(error).reason) == (grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID")


async def test_health_needs_no_credential_and_tells_of_draining(world: World) -> None:
    async with listening(world) as (server, channel):
        stub: Any = health_pb2_grpc.HealthStub(channel)
        names = ("", "comptoir.v1.CheckoutService")
        answers = [await stub.Check(health_pb2.HealthCheckRequest(service=name)) for name in names]
        assert [answer.status for answer in answers] == [health_pb2.HealthCheckResponse.SERVING] * 2

        watching = stub.Watch(health_pb2.HealthCheckRequest())
        assert (await watching.read()).status == health_pb2.HealthCheckResponse.SERVING
        stopping = asyncio.create_task(server.stop(5))
        assert (await watching.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        await stopping


async def test_stopping_lets_calls_end_and_ends_streams_with_draining(world: World) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(deps: object, call: object, **arguments: object) -> dict[str, Any]:
        begun.set()
        await go_on.wait()
        return {}

    world.scripts.update(GetCheckout=slow, StreamMessages=silent)
    metadata = bearer(world.partner_secret)
    async with listening(world) as (server, channel):
        checkouts = checkout_pb2_grpc.CheckoutServiceStub(channel)
        call = checkouts.GetCheckout(ASK, metadata=metadata)
        stream = session_pb2_grpc.SessionServiceStub(channel).StreamMessages(FOLLOW, metadata=metadata)
        await asyncio.gather(begun.wait(), stream.read())

        stopping = asyncio.create_task(server.stop(20))

        ended = await failure(stream.read())
        assert (ended.code(), info(ended).reason) == (grpc.StatusCode.UNAVAILABLE, "DRAINING")
        refused = await failure(checkouts.GetCheckout(ASK, metadata=metadata))
        assert (refused.code(), info(refused).reason) == (grpc.StatusCode.UNAVAILABLE, "DRAINING")
        go_on.set()
        assert await call == checkout_pb2.GetCheckoutResponse()
        await stopping


async def test_the_contract_is_shown_by_reflection_only_where_that_was_asked_for(world: World) -> None:
    stub: Any = reflection_pb2_grpc.ServerReflectionStub
    question = reflection_pb2.ServerReflectionRequest(list_services="")
    async with listening(world) as (_, channel):
        unasked = stub(channel).ServerReflectionInfo()  # a question would meet the refusal on its way
        assert (await failure(unasked.read())).code() == grpc.StatusCode.UNIMPLEMENTED
    world.rebuild(Limits())
    async with listening(world, reflect=True) as (_, channel):
        call = stub(channel).ServerReflectionInfo(iter([question]))
        answer = await call.read()
        names = {service.name for service in answer.list_services_response.service}
    assert {"comptoir.v1.CheckoutService", "grpc.health.v1.Health"} <= names


@pytest.mark.parametrize(
    ("address", "loopback"),
    [
        ("127.0.0.1:1", True),
        ("127.9.9.9:1", True),
        ("[::1]:1", True),
        ("localhost:1", True),
        ("unix:/tmp/x.sock", True),
        ("0.0.0.0:1", False),
        ("[::]:1", False),
        ("192.168.0.1:1", False),
        ("localhost.example:1", False),
        (":1", False),
    ],
)
def test_an_address_is_loopback_only_where_no_other_machine_can_reach_it(address: str, loopback: bool) -> None:
    assert is_loopback(address) is loopback


async def test_plaintext_is_refused_where_other_machines_can_reach_it_unless_that_is_said(world: World) -> None:
    server = Server(world.boundary)
    with pytest.raises(ListenError, match="keys would cross the network in the clear"):
        await server.start("0.0.0.0:0")

    assert await server.start("0.0.0.0:0", plaintext_anywhere=True) > 0
    await server.stop(1)


async def test_a_port_that_is_taken_is_told_in_words(world: World) -> None:
    async with listening(world):
        first = Server(world.boundary)
        port = await first.start("127.0.0.1:0")
        with pytest.raises(ListenError, match=f"Cannot listen at 127.0.0.1:{port}: it is taken"):
            await Server(world.boundary).start(f"127.0.0.1:{port}")
        await first.stop(1)


def self_signed() -> Tls:
    """A certificate for localhost."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Tls(certificate.public_bytes(serialization.Encoding.PEM), private)


async def test_with_a_certificate_the_server_speaks_tls_and_nothing_else(world: World) -> None:
    tls = self_signed()
    server = Server(world.boundary)
    port = await server.start("0.0.0.0:0", tls)
    credentials = grpc.ssl_channel_credentials(tls.certificate)
    async with grpc.aio.secure_channel(f"localhost:{port}", credentials) as channel:
        stub = checkout_pb2_grpc.CheckoutServiceStub(channel)
        answer = await stub.GetCheckout(ASK, metadata=bearer(world.partner_secret))
        assert answer == checkout_pb2.GetCheckoutResponse()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        error = await failure(checkout_pb2_grpc.CheckoutServiceStub(channel).GetCheckout(ASK, timeout=5))
        assert error.code() == grpc.StatusCode.UNAVAILABLE
    await server.stop(1)


async def test_a_burst_of_calls_on_a_new_connection_is_answered_whole(world: World) -> None:
    async with listening(world) as (_, channel):
        stub = checkout_pb2_grpc.CheckoutServiceStub(channel)
        calls = [stub.GetCheckout(ASK, metadata=bearer(world.partner_secret)) for _ in range(400)]
        answers = await asyncio.gather(*calls)

    assert len(answers) == 400
