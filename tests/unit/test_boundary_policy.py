"""A contract or a use case that is not whole stops the server before it starts, with a sentence that mends it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pool import DescriptorPool

from comptoir.v1 import checkout_pb2, options_pb2
from comptoir_server.app.call import Caller
from comptoir_server.domain.checkouts import Checkout
from comptoir_server.domain.errors import Reason
from comptoir_server.domain.money import Money
from comptoir_server.transport import policy
from comptoir_server.transport.answers import Answers
from comptoir_server.transport.binding import bind, snake
from comptoir_server.transport.policy import ContractError
from comptoir_server.transport.views import MESSAGES
from tests.support.door import METHODS, use_case, use_cases

Change = Callable[[descriptor_pb2.FileDescriptorProto], object]


def changed(change: Change) -> FileDescriptor:
    """checkout.proto with a change, in a pool of its own."""
    pool = DescriptorPool()

    def add(file: FileDescriptor) -> None:
        for dependency in file.dependencies:
            add(dependency)
        proto = descriptor_pb2.FileDescriptorProto()
        file.CopyToProto(proto)
        if file.name == checkout_pb2.DESCRIPTOR.name:
            change(proto)
        pool.AddSerializedFile(proto.SerializeToString())

    add(checkout_pb2.DESCRIPTOR)
    found: FileDescriptor = pool.FindFileByName(checkout_pb2.DESCRIPTOR.name)
    return found


def options_of(file: descriptor_pb2.FileDescriptorProto, method: str) -> Any:
    return next(each for each in file.service[0].method if each.name == method).options


def field_of(file: descriptor_pb2.FileDescriptorProto, message: str, name: str) -> Any:
    found = next(each for each in file.message_type if each.name == message)
    return next(each for each in found.field if each.name == name)


def without_policy(file: descriptor_pb2.FileDescriptorProto) -> None:
    options_of(file, "GetCheckout").ClearExtension(options_pb2.method)


def without_callers(file: descriptor_pb2.FileDescriptorProto) -> None:
    options_of(file, "GetCheckout").Extensions[options_pb2.method].ClearField("callers")


def without_scope(file: descriptor_pb2.FileDescriptorProto) -> None:
    options_of(file, "CreateCheckout").Extensions[options_pb2.method].ClearField("scope")


def not_repeatable(file: descriptor_pb2.FileDescriptorProto) -> None:
    options_of(file, "GetCheckout").Extensions[options_pb2.method].repeatable = False


def without_id_kind(file: descriptor_pb2.FileDescriptorProto) -> None:
    field_of(file, "GetCheckoutRequest", "checkout_id").options.ClearExtension(options_pb2.field)


def with_unknown_id_kind(file: descriptor_pb2.FileDescriptorProto) -> None:
    field_of(file, "GetCheckoutRequest", "checkout_id").options.Extensions[options_pb2.field].id = "zzz"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (without_policy, "GetCheckout has no policy: add `option (comptoir.v1.method)` with its callers."),
        (without_callers, "GetCheckout may be called by nobody: name its callers"),
        (without_scope, "CreateCheckout is open to partners without a scope: name one"),
        (not_repeatable, "GetCheckout is not repeatable: give its request a `request_id`"),
        (without_id_kind, "GetCheckoutRequest.checkout_id is named like an id and does not say of what: add"),
        (with_unknown_id_kind, "GetCheckoutRequest.checkout_id: 'zzz' is no kind of id"),
    ],
)
def test_a_contract_that_says_too_little_is_refused_at_start(change: Change, sentence: str) -> None:
    with pytest.raises(ContractError) as refused:
        policy.methods((changed(change),))

    assert sentence in str(refused.value)


def test_two_methods_of_one_name_are_refused_at_start() -> None:
    with pytest.raises(ContractError, match="have the same name"):
        policy.methods((checkout_pb2.DESCRIPTOR, changed(lambda file: None)))


def test_a_method_without_a_use_case_is_refused_at_start() -> None:
    services = use_cases({})
    del services["CheckoutService"].confirm_checkout

    with pytest.raises(ContractError) as refused:
        bind("test", services)

    assert str(refused.value) == (
        "/comptoir.v1.CheckoutService/ConfirmCheckout has no use case: write confirm_checkout in app/checkouts.py."
    )


def test_a_service_without_a_module_is_refused_at_start() -> None:
    services = use_cases({})
    del services["LedgerService"]

    with pytest.raises(ContractError, match="LedgerService has no module: add one to SERVICES"):
        bind("test", services)


async def too_few(deps: object, call: object) -> dict[str, Any]:
    return {}


async def too_many(deps: object, call: object, *, checkout_id: str, color: str) -> dict[str, Any]:
    return {}


async def wrong_type(deps: object, call: object, *, checkout_id: int) -> dict[str, Any]:
    return {}


async def wrong_order(call: object, deps: object, *, checkout_id: str) -> dict[str, Any]:
    return {}


def not_a_coroutine(deps: object, call: object, *, checkout_id: str) -> dict[str, Any]:
    return {}


@pytest.mark.parametrize(
    ("function", "sentence"),
    [
        (too_few, r"missing \['checkout_id'\], too many \[\]"),
        (too_many, r"missing \[\], too many \['color'\]"),
        (wrong_type, r"\(checkout_id\) must be str, not <class 'int'>"),
        (wrong_order, "must take `deps` and `call` first"),
        (not_a_coroutine, "must be a coroutine function"),
    ],
)
def test_a_use_case_that_does_not_fit_its_request_is_refused_at_start(function: Any, sentence: str) -> None:
    services = use_cases({})
    services["CheckoutService"].get_checkout = function

    with pytest.raises(ContractError, match=sentence):
        bind("test", services)


def test_a_use_case_that_would_lose_a_currency_is_refused_at_start() -> None:
    services = use_cases({})
    function = use_case(METHODS["CreateCheckout"], {})
    function.__annotations__ = {**function.__annotations__, "total": int}
    services["CheckoutService"].create_checkout = function

    with pytest.raises(ContractError, match="Money becomes a dataclass, not <class 'int'>"):
        bind("test", services)


@dataclasses.dataclass(frozen=True)
class HalfACheckout:
    id: str
    state: str


def test_an_object_that_cannot_fill_its_message_is_refused_at_start() -> None:
    messages = {**MESSAGES, "Checkout": (Checkout, HalfACheckout)}

    with pytest.raises(ContractError, match=r"HalfACheckout has no session_id for Checkout\.session_id: add it"):
        Answers(Caller.USER, messages).compile(METHODS["GetCheckout"])


def test_a_message_that_is_made_from_nothing_is_refused_at_start() -> None:
    messages = {name: kinds for name, kinds in MESSAGES.items() if name != "Checkout"}

    with pytest.raises(ContractError, match=r"comptoir\.v1\.Checkout is made from nothing"):
        Answers(Caller.USER, messages).compile(METHODS["GetCheckout"])


def test_every_method_of_the_contract_is_bound_to_its_real_use_case() -> None:
    bound = bind("test")

    assert {each.method.name for each in bound.values()} == set(METHODS)
    assert all(each.function.__name__ == snake(each.method.name) for each in bound.values())


def test_every_reason_has_one_code_and_error_proto_and_the_domain_list_the_same() -> None:
    rules = policy.errors()

    assert set(rules) == set(Reason)
    assert rules[Reason.NOT_FOUND].code == 5
    assert rules[Reason.CREDENTIAL_INVALID].code == 16
    assert rules[Reason.INTERNAL].metadata == {"reference"}
    assert not any(rule.code in (0, 1, 2, 4) for rule in rules.values())


def test_methods_that_exist_for_tests_only_are_not_there_in_live_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    real = policy.methods()
    marked = tuple(dataclasses.replace(method, test_only=method.name == "GetOrder") for method in real)
    monkeypatch.setattr(policy, "methods", lambda: marked)

    assert "/comptoir.v1.OrderService/GetOrder" in bind("test", use_cases({}))
    assert "/comptoir.v1.OrderService/GetOrder" not in bind("live", use_cases({}))


def test_money_is_made_of_both_its_parts() -> None:
    assert MESSAGES["Money"] == (Money,)
