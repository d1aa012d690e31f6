"""What the contract's options say, read from the descriptors when the server starts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor, FileDescriptor, MethodDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions
from google.protobuf.message import Message

from comptoir.v1 import (
    checkout_pb2,
    error_pb2,
    event_pb2,
    ledger_pb2,
    options_pb2,
    order_pb2,
    partner_pb2,
    payment_pb2,
    session_pb2,
    user_pb2,
    wallet_pb2,
)
from comptoir_server.app.call import Caller
from comptoir_server.domain import ids
from comptoir_server.domain.errors import Reason

FILES: tuple[FileDescriptor, ...] = tuple(
    module.DESCRIPTOR
    for module in (
        user_pb2,
        partner_pb2,
        session_pb2,
        event_pb2,
        wallet_pb2,
        checkout_pb2,
        order_pb2,
        payment_pb2,
        ledger_pb2,
    )
)
"""Every file of the contract that holds a service."""

FOREIGN_IDS = frozenset(
    {
        "request_id",
        "ad_id",
        "channel_user_id",
        "provider_payment_id",
        "provider_capture_id",
        "provider_refund_id",
    }
)
"""Fields that are named like ids and hold somebody else's: a caller's, an advertiser's, a provider's."""

MAX_LENGTH = 256
"""The largest number of characters of a string whose field does not say."""

MAX_ITEMS = 100
"""The largest number of elements of a repeated field that does not say."""


class ContractError(Exception):
    """The contract or the code behind it is not whole; the server does not start. The text says how to mend it."""


@dataclass(frozen=True, slots=True)
class Method:
    """One method of the contract and what is enforced before it runs.

    `name` is unique over all services: request ids are counted under it. `reads` is true where it changes nothing,
    `takes_request_id` where requests carry the caller's id of their intent.
    """

    path: str
    name: str
    service: str
    request_type: Descriptor
    response_type: Descriptor
    request: type[Message]
    response: type[Message]
    takes_stream: bool
    gives_stream: bool
    callers: frozenset[Caller]
    scope: str
    waits_seconds: int
    repeatable: bool
    test_only: bool
    reads: bool
    takes_request_id: bool


@dataclass(frozen=True, slots=True)
class FieldRule:
    """What is checked in one field. `prefixes` are the kinds of id that it may hold; none where it holds no id."""

    required: bool
    prefixes: tuple[str, ...]
    max_length: int
    max_items: int
    secret: bool


@dataclass(frozen=True, slots=True)
class ErrorRule:
    """How a reason travels: the number of its gRPC status code, and the keys that its metadata may hold."""

    code: int
    retryable: bool
    metadata: frozenset[str]


def methods(files: tuple[FileDescriptor, ...] = FILES) -> tuple[Method, ...]:
    """Every method of the contract. Raises ContractError."""
    found = tuple(
        _method(descriptor)
        for file in files
        for service in file.services_by_name.values()
        for descriptor in service.methods
    )
    names: dict[str, str] = {}
    for method in found:
        if method.name in names:
            raise ContractError(
                f"{method.path} and {names[method.name]} have the same name, and request ids are counted by name: "
                "rename one."
            )
        names[method.name] = method.path
    return found


def _method(descriptor: MethodDescriptor) -> Method:
    path = f"/{descriptor.containing_service.full_name}/{descriptor.name}"
    options = descriptor.GetOptions()
    if not options.HasExtension(options_pb2.method):
        raise ContractError(f"{path} has no policy: add `option (comptoir.v1.method)` with its callers.")
    policy = options.Extensions[options_pb2.method]
    if not policy.callers:
        raise ContractError(f"{path} may be called by nobody: name its callers in `option (comptoir.v1.method)`.")
    callers = frozenset(Caller(options_pb2.Caller.Name(number).removeprefix("CALLER_")) for number in policy.callers)
    if Caller.PARTNER in callers and not policy.scope:
        raise ContractError(f"{path} is open to partners without a scope: name one in `option (comptoir.v1.method)`.")
    method = Method(
        path=path,
        name=descriptor.name,
        service=descriptor.containing_service.name,
        request_type=descriptor.input_type,
        response_type=descriptor.output_type,
        request=message_factory.GetMessageClass(descriptor.input_type),
        response=message_factory.GetMessageClass(descriptor.output_type),
        takes_stream=descriptor.client_streaming,
        gives_stream=descriptor.server_streaming,
        callers=callers,
        scope=policy.scope,
        waits_seconds=policy.waits_seconds,
        repeatable=policy.repeatable,
        test_only=policy.test_only,
        reads=options.idempotency_level == MethodOptions.NO_SIDE_EFFECTS,
        takes_request_id="request_id" in descriptor.input_type.fields_by_name,
    )
    if not method.repeatable and not method.takes_request_id:
        raise ContractError(f"{path} is not repeatable: give its request a `request_id`, or say `repeatable: true`.")
    if method.takes_stream and not method.gives_stream:
        raise ContractError(f"{path} takes a stream and answers once; no door is made for that: answer with a stream.")
    for message in reachable(descriptor.input_type, descriptor.output_type):
        for field in message.fields:
            field_rule(field)
    return method


def field_rule(field: FieldDescriptor) -> FieldRule:
    """What is checked in a field. Raises ContractError for one that is named like an id and does not say of what."""
    policy = field.GetOptions().Extensions[options_pb2.field]
    prefixes = tuple(policy.id.split("|")) if policy.id else ()
    if field.name.endswith("_id") and not prefixes and field.name not in FOREIGN_IDS:
        raise ContractError(
            f"{field.full_name} is named like an id and does not say of what: add `(comptoir.v1.field) = {{id: …}}`, "
            "or list it among FOREIGN_IDS in transport/policy.py."
        )
    unknown = [prefix for prefix in prefixes if prefix not in ids.PREFIXES]
    if unknown:
        raise ContractError(f"{field.full_name}: {unknown[0]!r} is no kind of id; domain/ids.py lists them.")
    return FieldRule(
        required=policy.required,
        prefixes=prefixes,
        max_length=policy.max_length or MAX_LENGTH,
        max_items=policy.max_items or MAX_ITEMS,
        secret=policy.secret,
    )


def message_type(field: FieldDescriptor) -> Descriptor:
    """The message that a field holds; only for fields that hold one."""
    assert field.message_type is not None
    return field.message_type


def reachable(*roots: Descriptor) -> Iterator[Descriptor]:
    """The messages of the contract that are `roots` or lie inside them, each once."""
    seen: set[str] = set()
    waiting = list(roots)
    while waiting:
        message = waiting.pop()
        if message.full_name in seen or not message.full_name.startswith("comptoir."):
            continue
        seen.add(message.full_name)
        waiting += [field.message_type for field in message.fields if field.message_type is not None]
        yield message


def errors() -> dict[Reason, ErrorRule]:
    """How each reason travels. Raises ContractError where error.proto and domain/errors.py differ."""
    rules: dict[Reason, ErrorRule] = {}
    for value in error_pb2.DESCRIPTOR.enum_types_by_name["ErrorReason"].values:
        name = value.name.removeprefix("ERROR_REASON_")
        if name == "UNSPECIFIED":
            continue
        if name not in Reason.__members__:
            raise ContractError(f"error.proto has the reason {name}: add it to Reason in domain/errors.py.")
        if not value.GetOptions().HasExtension(options_pb2.error):
            raise ContractError(f"{value.name} has no policy: add `(comptoir.v1.error)` with its code.")
        policy = value.GetOptions().Extensions[options_pb2.error]
        rules[Reason[name]] = ErrorRule(policy.code, policy.retryable, frozenset(policy.metadata))
    missing = [reason for reason in Reason if reason not in rules]
    if missing:
        raise ContractError(f"domain/errors.py has the reason {missing[0]}: add it to ErrorReason in error.proto.")
    return rules
