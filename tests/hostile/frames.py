"""HTTP/2 by hand: just enough to open gRPC calls, and to do everything with a connection that no client would."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, END_HEADERS, ACK = 0x1, 0x4, 0x1
INITIAL_WINDOW_SIZE = 4
CANCEL = (8).to_bytes(4, "big")


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One frame."""
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def header(name: bytes, value: bytes) -> bytes:
    """A header field in HPACK: literal, not indexed, no Huffman code."""
    return b"\x00" + _integer(len(name)) + name + _integer(len(value)) + value


def indexed(name: bytes, value: bytes) -> bytes:
    """The same, which the other side is to keep in its table; then `b"\\xbe"` stands for the newest of these."""
    return b"\x40" + _integer(len(name)) + name + _integer(len(value)) + value


def _integer(value: int) -> bytes:
    """A number with a prefix of seven bits."""
    if value < 127:
        return bytes((value,))
    out, value = bytearray((127,)), value - 127
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes((*out, value))


def call_headers(path: str, key: str, *more: bytes) -> bytes:
    """What opens a gRPC call."""
    fields = {
        b":method": b"POST",
        b":scheme": b"http",
        b":path": path.encode(),
        b":authority": b"localhost",
        b"content-type": b"application/grpc",
        b"te": b"trailers",
        b"authorization": f"Bearer {key}".encode(),
    }
    return b"".join([*(header(name, value) for name, value in fields.items()), *more])


def message(raw: bytes) -> bytes:
    """A gRPC message as it stands in DATA frames."""
    return b"\x00" + len(raw).to_bytes(4, "big") + raw


@dataclass
class Line:
    """One connection. What the other side says is read and thrown away, so that it is never the one to wait."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    listening: asyncio.Task[None]
    stream: int = 1

    @property
    def open(self) -> bool:
        """Whether the other side has not hung up."""
        return not self.listening.done()

    def next_stream(self) -> int:
        """The number of a stream that was not opened yet."""
        number, self.stream = self.stream, self.stream + 2
        return number

    async def send(self, *frames: bytes) -> None:
        """Sends frames; returns early where nobody reads them, and does nothing where nobody is there."""
        if not self.open or self.writer.is_closing():
            return
        with contextlib.suppress(OSError, TimeoutError):
            self.writer.write(b"".join(frames))
            async with asyncio.timeout(1.0):
                await self.writer.drain()

    def close(self) -> None:
        """Hangs up."""
        self.listening.cancel()
        self.writer.close()


async def connect(host: str, port: int, *, greet: bool = True) -> Line | None:
    """A new connection, greeted in HTTP/2 unless it is to keep silent; None where it was not taken."""
    try:
        async with asyncio.timeout(5.0):
            reader, writer = await asyncio.open_connection(host, port)
    except (OSError, TimeoutError):
        return None
    line = Line(reader, writer, asyncio.create_task(_listen(reader)))
    if greet:
        await line.send(PREFACE, frame(SETTINGS, 0, 0), frame(SETTINGS, ACK, 0))
    return line


async def _listen(reader: asyncio.StreamReader) -> None:
    with contextlib.suppress(OSError):
        while await reader.read(65_536):
            pass
