"""What the contract says about each method: read from the descriptors, so that no table is kept by hand."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor_pb2 import MethodOptions
from google.protobuf.message import Message

from comptoir.v1 import options_pb2

DEFAULT_SECONDS = 10.0
"""How long one attempt may take where the method waits for nobody."""

MARGIN_SECONDS = 5.0
"""What is added to the seconds that a provider or a bot may take inside a method."""


@dataclass(frozen=True, slots=True)
class Method:
    """One method of the contract, as the client must treat it."""

    path: str
    """`/comptoir.v1.CheckoutService/ConfirmCheckout`."""
    request: type[Message]
    response: type[Message]
    waits_seconds: int
    """How long a provider or a bot may take inside the method; 0 where it waits for nobody."""
    has_request_id: bool
    repeatable: bool
    """True where sending the same request twice does no harm even without a `request_id`."""

    @property
    def name(self) -> str:
        """`ConfirmCheckout`."""
        return self.path.rpartition("/")[2]

    @property
    def attempt_seconds(self) -> float:
        """The deadline of one attempt."""
        return self.waits_seconds + MARGIN_SECONDS if self.waits_seconds else DEFAULT_SECONDS

    @property
    def safe_to_retry(self) -> bool:
        """Whether the same request may be sent again: it carries a `request_id`, or repeating it is harmless."""
        return self.has_request_id or self.repeatable


@cache
def method_at(path: str) -> Method:
    """The method at a path, from its descriptor. Raises KeyError for a path that is not in the contract."""
    descriptor = descriptor_pool.Default().FindMethodByName(path.lstrip("/").replace("/", "."))
    options = descriptor.GetOptions()
    policy = options.Extensions[options_pb2.method]
    return Method(
        path=path,
        request=message_factory.GetMessageClass(descriptor.input_type),
        response=message_factory.GetMessageClass(descriptor.output_type),
        waits_seconds=policy.waits_seconds,
        has_request_id="request_id" in descriptor.input_type.fields_by_name,
        repeatable=policy.repeatable or options.idempotency_level == MethodOptions.NO_SIDE_EFFECTS,
    )
