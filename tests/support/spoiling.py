"""Making what lies below a method fail, with a canary in the text, and putting texts into any field of a request."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import psycopg
import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from comptoir_server.app.ports import LinkRefused, ProviderUnavailable, WebhookRefused
from comptoir_server.store.errors import IntegrityError, StorageUnavailable
from comptoir_server.transport.policy import Method
from tests.access.estate import Estate
from tests.access.identities import Identity, owners
from tests.access.recipes import RECIPES, request_of

CANARY = "canary-of-hunter2-cmp_live_4111111111111111"
PLANTED = {"exception's text": CANARY}

TIME_LEFT_SECONDS = 1.1
"""As short as a method takes it that asks a provider, so that nobody waits for what never comes."""

REASONS = {"INTERNAL", "PROVIDER_UNAVAILABLE", "REQUEST_IN_PROGRESS", "OK"}
"""What a method may say of a database that fails: OK where nothing was left to do but to look again."""

DRIVER_ERRORS: tuple[Callable[[], Exception], ...] = (
    lambda: RuntimeError(CANARY),
    lambda: sqlite3.OperationalError(f"near {CANARY}: syntax error"),
    lambda: psycopg.errors.UniqueViolation(f"Key (name)=({CANARY}) already exists"),
    lambda: IntegrityError(CANARY),
    lambda: StorageUnavailable(CANARY),
)

PROVIDER_ERRORS: tuple[Callable[[], Exception], ...] = (
    lambda: RuntimeError(CANARY),
    lambda: httpx.ConnectError(CANARY),
    lambda: ProviderUnavailable(CANARY),
    lambda: LinkRefused(CANARY),
    lambda: WebhookRefused(CANARY),
)


@dataclass
class Spoiled:
    """A store whose calls fail from the one with this number on; `calls` counts them."""

    estate: Estate
    error: Callable[[], Exception]
    healthy: int
    calls: int = 0

    def take(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Takes the store's place."""
        for name in ("get", "read", "write"):
            monkeypatch.setattr(self.estate.deps.store, name, self._of(getattr(self.estate.deps.store, name)))
        monkeypatch.setattr(self.estate.deps.store, "conclusions", dict)

    def _of(self, call: Callable[[Any], Any]) -> Callable[[Any], Any]:
        async def spoiled(work: Any) -> Any:
            self.calls += 1
            if self.calls > self.healthy:
                raise self.error()
            return await call(work)

        return spoiled


async def an_owner(estate: Estate, method: Method) -> Identity:
    """Somebody who is answered."""
    able = [one for one in await owners(estate) if one.caller in method.callers]
    return next(one for one in able if one.name not in ("the bot", "the channel for nobody"))


async def asked(estate: Estate, method: Method, who: Identity) -> bytes:
    """A request that is answered."""
    request = await request_of(method, estate.victim, RECIPES, who.credential)
    if method.takes_request_id:
        request.request_id = estate.request_id()  # type: ignore[attr-defined]
    return request.SerializeToString()


def strings(descriptor: Descriptor, path: tuple[FieldDescriptor, ...] = ()) -> Iterator[tuple[FieldDescriptor, ...]]:
    """The way to every text of a request."""
    for one in descriptor.fields:
        inner = one.message_type
        if inner is not None and inner.full_name.startswith("comptoir.") and not inner.GetOptions().map_entry:
            yield from strings(inner, (*path, one))
        elif one.cpp_type == FieldDescriptor.CPPTYPE_STRING and one.name != "request_id":
            yield (*path, one)


def put(request: Message, path: tuple[FieldDescriptor, ...], text: str) -> None:
    """Puts a text where the path leads, making what it lies in."""
    holder: Any = request
    for step in path[:-1]:
        held = getattr(holder, step.name)
        holder = (held[0] if held else held.add()) if step.is_repeated else held
    if path[-1].is_repeated:
        getattr(holder, path[-1].name)[:] = [text]
    else:
        setattr(holder, path[-1].name, text)
