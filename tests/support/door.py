"""A boundary to knock at: a small world of keys and people, and use cases that do what a test says."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

from google.protobuf import any_pb2
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from comptoir.v1 import options_pb2
from comptoir_server.app import credentials
from comptoir_server.app.deps import Deps, Settings
from comptoir_server.app.settled import Settled
from comptoir_server.domain import cards, checkouts, ids, payments, sessions
from comptoir_server.domain.money import Money
from comptoir_server.domain.partners import ApiKey, Bot, BotState, Channel, KeyState, Partner, PartnerState
from comptoir_server.domain.users import User, UserState
from comptoir_server.runtime import Runtime
from comptoir_server.store.columns import metadata
from comptoir_server.store.database import open_database
from comptoir_server.store.tables import RELATIONS
from comptoir_server.store.tx import Tx
from comptoir_server.transport import policy
from comptoir_server.transport.binding import bind, snake
from comptoir_server.transport.boundary import Boundary
from comptoir_server.transport.capacity import Limits
from comptoir_server.transport.failures import Failed
from comptoir_server.vault import Vault

MASTER_KEY = bytes(range(32))
Detail = TypeVar("Detail", bound=Message)


@dataclass(frozen=True, slots=True)
class Item:
    """A line item as the stand-in for CreateCheckout takes it."""

    title: str
    description: str
    quantity: int
    unit_amount: Money
    amount: Money
    item_reference: str


@dataclass(frozen=True, slots=True)
class Extra:
    """An adjustment as the stand-in for CreateCheckout takes it."""

    kind: checkouts.AdjustmentKind
    label: str
    amount: Money


@dataclass(frozen=True, slots=True)
class Subscribe:
    """The first request of a stream of events."""

    consumer: str
    cursor: str
    max_outstanding: int


@dataclass(frozen=True, slots=True)
class Ack:
    """An acknowledgement."""

    cursor: str


MESSAGES: dict[str, Any] = {
    "comptoir.v1.MessageContent": cards.Content,
    "comptoir.v1.Referral": sessions.Referral,
    "comptoir.v1.LineItem": Item,
    "comptoir.v1.Adjustment": Extra,
}
ENUMS: dict[str, Any] = {
    "comptoir.v1.Checkout.State": checkouts.CheckoutState | None,
    "comptoir.v1.CaptureMode": checkouts.CaptureMode | None,
    "comptoir.v1.PendingOperation.State": payments.PendingState | None,
}
SCALARS: dict[int, type] = {
    FieldDescriptor.CPPTYPE_STRING: str,
    FieldDescriptor.CPPTYPE_INT32: int,
    FieldDescriptor.CPPTYPE_INT64: int,
    FieldDescriptor.CPPTYPE_BOOL: bool,
}

Script = Callable[..., Any]


def hint_of(field: FieldDescriptor) -> Any:
    """The type hint by which a use case takes a field."""
    one: Any
    if field.message_type is None:
        one = ENUMS[field.enum_type.full_name] if field.enum_type is not None else SCALARS[field.cpp_type]
    elif field.message_type.GetOptions().map_entry:
        return dict[str, str]
    elif field.message_type.full_name == "google.protobuf.Timestamp":
        one = int
    elif field.message_type.full_name == "comptoir.v1.Money":
        one = Money if field.GetOptions().Extensions[options_pb2.field].required else Money | None
    else:
        one = MESSAGES[field.message_type.full_name]
    return tuple[one, ...] if field.is_repeated else one


def use_cases(scripts: dict[str, Script]) -> dict[str, Any]:
    """A module for each service whose functions fit the contract; each does what `scripts` has under its method's name.

    A script takes deps, call and the keyword arguments; a use case without one answers nothing.
    """
    services: dict[str, SimpleNamespace] = {}
    for method in policy.methods():
        module = services.setdefault(method.service, SimpleNamespace())
        setattr(module, snake(method.name), use_case(method, scripts))
    return dict(services)


def use_case(method: policy.Method, scripts: dict[str, Script]) -> Any:
    """A function that fits a method and does what its script says."""

    async def unary(deps: Deps, call: Any, **arguments: Any) -> dict[str, Any]:
        script = scripts.get(method.name)
        answer: dict[str, Any] = {} if script is None else await script(deps, call, **arguments)
        return answer

    async def stream(deps: Deps, call: Any, *requests: Any, **arguments: Any) -> AsyncIterator[dict[str, Any]]:
        script = scripts.get(method.name)
        if script is not None:
            async for answer in script(deps, call, *requests, **arguments):
                yield answer

    function: Any = stream if method.gives_stream else unary
    kinds = inspect.Parameter
    parameters = [kinds("deps", kinds.POSITIONAL_OR_KEYWORD), kinds("call", kinds.POSITIONAL_OR_KEYWORD)]
    if method.takes_stream:
        parameters.append(kinds("requests", kinds.POSITIONAL_OR_KEYWORD))
        function.__annotations__ = {"requests": AsyncIterator[Subscribe | Ack]}
    else:
        hints = {field.name: hint_of(field) for field in method.request_type.fields if field.name != "request_id"}
        parameters += [kinds(name, kinds.KEYWORD_ONLY) for name in hints]
        function.__annotations__ = hints
    function.__signature__ = inspect.Signature(parameters)
    function.__name__ = function.__qualname__ = snake(method.name)
    return function


class Clock(Runtime):
    """A runtime whose clocks a test can put forward; everything else is real."""

    def __init__(self) -> None:
        super().__init__()
        self.ahead_seconds = 0.0

    def now(self) -> int:
        return super().now() + int(self.ahead_seconds * 1_000_000)

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead_seconds


@dataclass(slots=True)
class World:
    """A partner with a bot, a channel with a person, a foreign channel with another, and a key for each."""

    deps: Deps
    clock: Clock
    boundary: Boundary
    scripts: dict[str, Script]
    partner: Partner
    bot: Bot
    channel: Channel
    user: User
    stranger: User
    partner_secret: str = ""
    channel_secret: str = ""
    operator_secret: str = ""

    async def put(self, *records: object) -> None:
        """Stores records, whatever was stored under their ids."""
        relations = {relation.record: relation for relation in RELATIONS}

        async def work(tx: Tx) -> None:
            for record in records:
                relation = relations[type(record)]
                await tx.load(relation.lock(relation.key_of(record)))
                tx.put(record)

        await self.deps.store.write(work)

    async def new_key(self, owner_id: str, **changes: Any) -> tuple[str, ApiKey]:
        """A stored key of an owner, and its secret."""
        secret = credentials.new_secret(self.clock, "test")
        fields: dict[str, Any] = {
            "id": new_id("key"),
            "owner_id": owner_id,
            "bot_id": "",
            "secret_hash": credentials.secret_hash(self.deps.vault, secret),
            "hint": credentials.hint(secret),
            "scopes": ("*",),
            "state": KeyState.ACTIVE,
            "create_time": 1,
            "expire_time": 0,
        }
        key = ApiKey(**{**fields, **changes})
        await self.put(key)
        return secret, key

    def rebuild(self, limits: Limits) -> None:
        """A new boundary with other limits."""
        self.boundary = Boundary(self.deps, bind("test", use_cases(self.scripts)), limits)

    async def call(
        self, name: str, request: Message, secret: str, *, user_id: str = "", time_left: float | None = None
    ) -> Any:
        """The response of a unary method, called by its name."""
        method = METHODS[name]
        raw = await self.boundary.unary(
            method.path, metadata_of(secret, user_id), request.SerializeToString(), time_left
        )
        return method.response.FromString(raw)


METHODS = {method.name: method for method in policy.methods()}


def metadata_of(secret: str, user_id: str = "") -> list[tuple[str, str | bytes]]:
    """The metadata of a call with a credential, perhaps for a user."""
    metadata: list[tuple[str, str | bytes]] = [("user-agent", "test"), ("authorization", f"Bearer {secret}")]
    return [*metadata, ("comptoir-user", user_id)] if user_id else metadata


def new_id(prefix: str) -> str:
    """A new id of a kind."""
    return Runtime().new_id(prefix)


def absent_id(prefix: str) -> str:
    """A well-formed id that nothing has."""
    return ids.build(prefix, 0, bytes(10))


def new_user(channel_id: str, **changes: Any) -> User:
    """A person in a channel."""
    user_id = new_id("usr")
    fields: dict[str, Any] = {
        "id": user_id,
        "channel_id": channel_id,
        "channel_user_hash": user_id,
        "channel_user_sealed": b"",
        "display_name_sealed": b"",
        "wrapped_key": b"",
        "market": "US",
        "locale": "en-US",
        "time_zone": "UTC",
        "state": UserState.ACTIVE,
        "default_wallet_id": "",
        "create_time": 1,
    }
    return User(**{**fields, **changes})


async def open_world(directory: Path, *, inline: bool = True) -> World:
    """A world in a new database; close it with `world.deps.store.close()`."""
    clock = Clock()
    store = open_database(f"sqlite:///{directory}/door.db", RELATIONS, clock, inline=inline)
    await store.open()
    await store.create_all(metadata)
    settled = Settled(clock)
    settings = Settings(mode="test", public_url="https://localhost", worker_name="test")
    deps = Deps(clock, store, Vault(MASTER_KEY, clock), {}, settled, settings)
    scripts: dict[str, Script] = {}
    partner = Partner(new_id("prt"), "Copper Air", "", 0, PartnerState.ACTIVE, 1)
    bot = Bot(new_id("bot"), partner.id, "Copper Bot", "", BotState.LIVE, 1)
    channel, other = Channel(new_id("chn"), "Messenger", 1), Channel(new_id("chn"), "Web", 1)
    user, stranger = new_user(channel.id), new_user(other.id)
    boundary = Boundary(deps, bind("test", use_cases(scripts)))
    world = World(deps, clock, boundary, scripts, partner, bot, channel, user, stranger)
    await world.put(partner, bot, channel, other, user, stranger)
    world.partner_secret, _ = await world.new_key(partner.id)
    world.channel_secret, _ = await world.new_key(channel.id)
    world.operator_secret, _ = await world.new_key("")
    return world


async def failure_of(call: Awaitable[Any]) -> Failed:
    """The failure with which a call ends; a call that succeeds is a failed test."""
    try:
        answer = await call
    except Failed as failed:
        return failed
    raise AssertionError(f"was answered: {answer!r}")


def detail(failed: Failed, kind: type[Detail]) -> Detail:
    """The one detail of a kind in a failure's status."""
    [packed] = [each for each in status_of(failed).details if each.TypeName() == kind.DESCRIPTOR.full_name]
    found = kind()
    any_pb2.Any.Unpack(packed, found)
    return found


def status_of(failed: Failed) -> status_pb2.Status:
    """The status of a failure."""
    return status_pb2.Status.FromString(failed.status)


def reason_of(failed: Failed) -> str:
    """The reason that the caller reads."""
    return detail(failed, error_details_pb2.ErrorInfo).reason
