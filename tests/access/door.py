"""Knocking at the boundary with bytes, and all that comes back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from comptoir_server.transport.boundary import Boundary
from comptoir_server.transport.failures import Failed
from comptoir_server.transport.policy import Method
from tests.support.door import METHODS, metadata_of, reason_of

__all__ = ["METHODS", "Credential", "Reply", "bearer", "knock"]

Credential = tuple[tuple[str, str | bytes], ...]
"""The metadata by which somebody says who they are."""

PATIENCE_SECONDS = 20.0
"""A stream that says nothing for so long is a failed test."""


@dataclass(frozen=True)
class Reply:
    """What a caller gets: the code's number (0 for answers), the message, the serialised status, and the answers."""

    code: int
    reason: str = "OK"
    message: str = ""
    status: bytes = b""
    answers: tuple[bytes, ...] = ()

    def response(self, method: Method) -> Any:
        """The answer as the method's response; a refusal is a failed test."""
        assert self.code == 0, f"{method.name} was refused: {self.reason} {self.message}"
        return method.response.FromString(self.answers[0])

    @property
    def everything(self) -> bytes:
        """All bytes of it."""
        return b"\n".join((self.message.encode(), self.status, *self.answers))


def bearer(secret: str, user_id: str = "") -> Credential:
    """The metadata of a call with a credential, perhaps for a user."""
    return tuple(metadata_of(secret, user_id))


async def knock(
    boundary: Boundary, method: Method, credential: Credential, raw: bytes, time_left: float | None = None
) -> Reply:
    """Calls a method: all of an answer, of a stream without end the first of its answers."""
    try:
        if not method.gives_stream:
            return Reply(0, answers=(await boundary.unary(method.path, credential, raw, time_left),))
        stream = boundary.stream(method.path, credential, _said(raw) if method.takes_stream else raw, None)
        answers: list[bytes] = []
        async with asyncio.timeout(PATIENCE_SECONDS), aclosing(stream):
            async for each in stream:
                answers.append(each)
                if not method.takes_stream:
                    break
        return Reply(0, answers=tuple(answers))
    except Failed as failed:
        return Reply(failed.code, reason_of(failed) if failed.status else "", failed.message, failed.status)


async def _said(raw: bytes) -> AsyncIterator[bytes]:
    """A client that says one thing and then nothing more, upon which a stream ends once it has said all."""
    yield raw
