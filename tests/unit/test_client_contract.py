"""The client against the contract: every method is there, every reason is an exception, every retry is safe."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor

import comptoir
from comptoir import AsyncClient, Bot, Client, ComptoirError, errors, line_item, money, text_content, total_of, v1
from comptoir._connection import call_metadata, channel_credentials, is_local
from comptoir._failure import error_from
from comptoir._method import method_at
from comptoir._retry import worth_reopening, worth_repeating
from comptoir.v1 import Adjustment, Button, ErrorReason, options_pb2
from tests.support.scripted_comptoir import Trailing, event, refusal_details

# The client's name of a service is its noun in the plural, but for nouns that have none.
UNCOUNTABLE = {"ledger", "sandbox"}
# What takes the place of a streaming method: it is followed and resumed.
FOLLOWERS = {"StreamEvents": "stream", "StreamMessages": "stream_messages"}


def services() -> Iterator[ServiceDescriptor]:
    for module in vars(v1).values():
        if isinstance(module, ModuleType) and module.__name__.endswith("_pb2"):
            yield from module.DESCRIPTOR.services_by_name.values()


METHODS: list[MethodDescriptor] = [method for service in services() for method in service.methods]


def path_of(method: MethodDescriptor) -> str:
    return f"/{method.containing_service.full_name}/{method.name}"


def test_the_contract_was_found() -> None:
    assert len(METHODS) > 40


@pytest.mark.parametrize("kind", [Client, AsyncClient])
@pytest.mark.parametrize("method", METHODS, ids=path_of)
async def test_every_method_is_in_the_client(method: MethodDescriptor, kind: type[Client] | type[AsyncClient]) -> None:
    client = kind("localhost:1", "key")
    noun = method.containing_service.name.removesuffix("Service").lower()
    service = getattr(client, noun if noun in UNCOUNTABLE else f"{noun}s")

    snake_case = re.sub(r"(?<!^)(?=[A-Z])", "_", method.name).lower()
    assert callable(getattr(service, FOLLOWERS.get(method.name, snake_case)))
    closing = client.close()
    if closing is not None:
        await closing


@pytest.mark.parametrize("method", METHODS, ids=path_of)
def test_every_method_may_be_sent_again(method: MethodDescriptor) -> None:
    known = method_at(path_of(method))

    assert known.safe_to_retry
    assert known.has_request_id == ("request_id" in method.input_type.fields_by_name)
    waits = method.GetOptions().Extensions[options_pb2.method].waits_seconds
    assert known.attempt_seconds == (waits + 5 if waits else 10)


def test_confirming_waits_longer_than_a_provider_may_take() -> None:
    assert method_at("/comptoir.v1.CheckoutService/ConfirmCheckout").attempt_seconds == 30
    assert method_at("/comptoir.v1.SessionService/SendMessage").attempt_seconds == 10


class Failure(grpc.RpcError):
    """A failed call, as grpc reports it."""

    def __init__(self, code: grpc.StatusCode, trailing: Trailing = (), details: str = "what is wrong") -> None:
        super().__init__()
        self._code, self._trailing, self._details = code, trailing, details

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return self._details

    def trailing_metadata(self) -> Any:
        return self._trailing


STATUSES = {status.value[0]: status for status in grpc.StatusCode}


@pytest.mark.parametrize("name", [name for name, number in ErrorReason.items() if number])
def test_every_reason_is_raised_as_its_own_class(name: str) -> None:
    reason = name.removeprefix("ERROR_REASON_")
    policy = ErrorReason.DESCRIPTOR.values_by_name[name].GetOptions().Extensions[options_pb2.error]
    metadata = {key: f"the {key}" for key in policy.metadata}

    error = error_from(Failure(STATUSES[policy.code], refusal_details(reason, metadata=metadata)), "req_1")

    assert type(error) is errors.BY_REASON[reason]
    assert type(error) is not ComptoirError
    assert (error.reason, error.code, dict(error.metadata)) == (reason, STATUSES[policy.code], metadata)
    assert error.message == "what is wrong"
    assert worth_repeating(error) is policy.retryable


def test_a_reason_of_a_later_contract_is_still_an_error_of_ours() -> None:
    error = error_from(Failure(grpc.StatusCode.FAILED_PRECONDITION, refusal_details("MOON_TOO_FULL")))

    assert type(error) is ComptoirError
    assert error.reason == "MOON_TOO_FULL"
    assert not worth_repeating(error)


def test_a_reason_of_a_later_contract_is_repeated_where_the_server_names_a_delay() -> None:
    trailing = refusal_details("MOON_TOO_FULL", retry_after_seconds=0.25)
    error = error_from(Failure(grpc.StatusCode.FAILED_PRECONDITION, trailing))

    assert error.retry_after_seconds == 0.25
    assert worth_repeating(error)


@pytest.mark.parametrize(
    "trailing",
    [
        (),
        refusal_details("VERSION_STALE", domain="somebody.else"),
        (("grpc-status-details-bin", b"\xff\xff\xff"),),
        (("grpc-status-details-bin", b""),),
    ],
    ids=["nothing", "another domain", "garbage", "empty"],
)
def test_an_error_that_is_not_ours_goes_by_its_status_code(trailing: Trailing) -> None:
    error = error_from(Failure(grpc.StatusCode.UNAVAILABLE, trailing, details="connection refused"), "req_1")

    assert type(error) is ComptoirError
    assert (error.reason, error.message, dict(error.metadata)) == (
        "UNAVAILABLE",
        "connection refused",
        {"request_id": "req_1"},
    )


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
def test_a_stream_is_opened_again_unless_the_caller_must_change_something(code: grpc.StatusCode) -> None:
    callers_fault = {
        "INVALID_ARGUMENT", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "UNAUTHENTICATED",
        "FAILED_PRECONDITION", "OUT_OF_RANGE", "UNIMPLEMENTED",
    }  # fmt: skip

    assert worth_reopening(error_from(Failure(code))) is (code.name not in callers_fault)


@pytest.mark.parametrize(
    "target",
    ["localhost:7600", "LOCALHOST:1", "127.0.0.1:7600", "127.8.9.1", "[::1]:7600", "unix:/run/c.sock", "unix:///c.sock",
     "dns:///localhost:7600", "dns:localhost:7600", "ipv4:127.0.0.1:7600", "ipv6:[::1]:7600"],
)  # fmt: skip
def test_a_connection_on_this_machine_needs_no_encryption(target: str) -> None:
    assert is_local(target)
    assert channel_credentials(target, None, None) is None
    assert channel_credentials(target, False, None) is not None


@pytest.mark.parametrize(
    "target",
    ["api.example.com:443", "localhost.example.com:443", "127.0.0.1.example.com:80", "10.0.0.1:7600", "[::2]:7600",
     "dns:///api.example.com:443", "dns://localhost/api.example.com:443", "example.com:443/localhost", "",
     "ipv4:127.0.0.1:1,10.0.0.1:1"],
)  # fmt: skip
def test_every_other_connection_is_encrypted_unless_the_caller_insists(target: str) -> None:
    assert not is_local(target)
    assert channel_credentials(target, None, None) is not None
    assert channel_credentials(target, True, None) is None


@pytest.mark.parametrize("key", ["", "with space", "line\nbreak", "schlüssel"])
def test_a_key_that_could_not_be_sent_is_refused_without_repeating_it(key: str) -> None:
    with pytest.raises(ValueError, match=r"^key must be visible ASCII characters without spaces, and not empty$"):
        Client("localhost:1", key)
    with pytest.raises(ValueError, match=r"^user_id must be"):
        call_metadata("key", key)


def test_money_is_a_whole_number_of_minor_units() -> None:
    assert (money(1250, "EUR").minor_units, money(1250, "EUR").currency_code) == (1250, "EUR")
    for wrong in (12.5, "1250", True):
        with pytest.raises(TypeError, match="whole number of minor units such as cents"):
            money(wrong, "EUR")  # type: ignore[arg-type]
    for wrong_code in ("eur", "EURO", "€", ""):
        with pytest.raises(ValueError, match="three upper-case letters"):
            money(1, wrong_code)


def test_a_total_adds_everything_and_takes_discounts_off() -> None:
    items = [line_item("Flight", money(10_000, "USD"), 2, item_reference="CM417"), line_item("Seat", money(999, "USD"))]
    adjustments = [
        Adjustment(kind=Adjustment.KIND_TAX, label="Tax", amount=money(1500, "USD")),
        Adjustment(kind=Adjustment.KIND_DISCOUNT, label="Spring", amount=money(500, "USD")),
    ]

    assert [item.amount.minor_units for item in items] == [20_000, 999]
    assert total_of(items, adjustments) == money(21_999, "USD")
    with pytest.raises(ValueError, match=r"one currency, not in \['EUR', 'USD'\]"):
        total_of([*items, line_item("Tea", money(1, "EUR"))])
    with pytest.raises(ValueError, match="not in none"):
        total_of([])


def test_buttons_are_pairs_of_what_is_read_and_what_comes_back() -> None:
    content = text_content("Where?", [("Window", "seat:w"), Button(title="Aisle", payload="seat:a")])

    assert content.text.text == "Where?"
    assert [(each.title, each.payload) for each in content.text.buttons] == [("Window", "seat:w"), ("Aisle", "seat:a")]


def test_the_examples_in_the_documentation_are_right() -> None:
    tried = 0
    for found in pkgutil.iter_modules(comptoir.__path__, "comptoir."):
        if not found.ispkg:
            failed, attempted = doctest.testmod(importlib.import_module(found.name))
            assert failed == 0
            tried += attempted
    assert tried >= 6


def test_the_examples_in_the_readme_run(monkeypatch: pytest.MonkeyPatch) -> None:
    readme = Path(comptoir.__path__[0]).parent / "README.md"
    examples = re.findall(r"```python\n(.*?)```", readme.read_text(encoding="utf-8"), re.DOTALL)
    ran: list[Bot] = []

    def run(bot: Bot) -> None:
        ran.append(bot)

    monkeypatch.setenv("COMPTOIR_KEY", "cmp_test_key")
    monkeypatch.setattr(Bot, "run", run)

    names: dict[str, Any] = {"__name__": "readme"}
    for example in examples:
        exec(compile(f"from __future__ import annotations\n{example}", str(readme), "exec"), names)

    (bot,) = ran
    handler = bot._handlers.find(event(1, kind="postback.received", payload="order:espresso"))
    assert handler is names["order"]
    assert {"pay", "follow", "overhear"} <= set(names)
