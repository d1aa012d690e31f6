"""Makes a hostile call smaller for as long as what was wrong with it stays wrong."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from typing import TypeVar

from tests.hostile import wire
from tests.hostile.inputs import Input, Metadata

TRIES = 300
"""How many smaller calls are tried at most."""

T = TypeVar("T", str, bytes)

Fails = Callable[[Input], Awaitable[bool]]


async def shrink(given: Input, usual: Metadata, fails: Fails) -> Input:
    """The smallest call that was found to fail still; `usual` is the metadata of an honest caller."""
    tries = TRIES
    smaller = True
    while smaller:
        smaller = False
        for candidate in _smaller(given, usual):
            tries -= 1
            if tries < 0:
                return given
            if await fails(candidate):
                given, smaller = candidate, True
                break
    return given


def _smaller(given: Input, usual: Metadata) -> Iterator[Input]:
    """Smaller calls, the boldest first."""
    if given.metadata != usual:
        yield replace(given, metadata=usual)
        for place in range(len(given.metadata)):
            yield replace(given, metadata=given.metadata[:place] + given.metadata[place + 1 :])
    if given.time_left is not None:
        yield replace(given, time_left=None)
    requests = given.requests
    if len(requests) > 1:
        for place in range(len(requests)):
            yield replace(given, requests=requests[:place] + requests[place + 1 :])
    for place, raw in enumerate(requests):
        for less in smaller_bytes(raw):
            yield replace(given, requests=(*requests[:place], less, *requests[place + 1 :]))


def smaller_bytes(raw: bytes) -> Iterator[bytes]:
    """Less than these bytes: a message with fewer or smaller fields, or a text or noise with fewer bytes."""
    fields = wire.parse(raw)
    if fields:
        for count in (len(fields) // 2, len(fields) // 4, 1):
            for place in range(0, len(fields), count) if count else ():
                yield wire.join(fields[:place] + fields[place + count :])
        for place, field in enumerate(fields):
            if field.kind == wire.LEN:
                for less in smaller_bytes(field.payload):
                    yield wire.join([*fields[:place], replace(field, payload=less), *fields[place + 1 :]])
    try:
        yield from (less.encode() for less in _smaller_text(raw.decode()))
    except UnicodeDecodeError:
        yield from _smaller_text(raw)


def _smaller_text(text: T) -> Iterator[T]:
    """The text without its half, its quarters, and so on down to single characters."""
    size = max(len(text) // 2, 1)
    while size and text:
        for at in range(0, len(text), size):
            yield text[:at] + text[at + size :]
        size //= 2
