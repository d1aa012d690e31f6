"""A line to PostgreSQL that can be cut at the moment of a COMMIT: a relay between a client and the server's socket."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from enum import Enum
from typing import Self

import psycopg.conninfo

COMMIT = b"COMMIT\x00"


class Cut(Enum):
    """When the line breaks."""

    BEFORE = "the server never gets the COMMIT"
    AFTER = "the server commits, and its answer is lost"
    LATE = "the client is cut off, and the server gets the COMMIT a while later"


class CutLine:
    """Relays connections on a loopback port; `cut` applies to the next COMMIT, once."""

    def __init__(self, url: str) -> None:
        parts = psycopg.conninfo.conninfo_to_dict(url)
        self._server = f"{parts['host']}/.s.PGSQL.{parts.get('port', 5432)}"
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.url = (
            f"postgresql://{parts['user']}@127.0.0.1:{self.port}/{parts['dbname']}?sslmode=disable&gssencmode=disable"
        )
        self.cut: Cut | None = None
        self.cuts = 0
        self._threads: list[threading.Thread] = []
        self.refuses = False
        """While true, new connections are turned away."""
        self.refuses_after_cut = False
        """Whether it turns them away from the next cut on."""

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        _shut(self._listener)
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _start(self, run: Callable[..., None], *arguments: object) -> threading.Thread:
        thread = threading.Thread(target=run, args=arguments, daemon=True)
        thread.start()
        self._threads.append(thread)
        return thread

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.refuses:
                client.close()
            else:
                self._start(self._relay, client)

    def _relay(self, client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as server:
            try:
                server.connect(self._server)
            except OSError:
                return  # nobody is there at the moment
            answers = self._start(_forward, server, client)
            while data := _receive(client):
                if self.cut is not None and COMMIT in data:
                    self._cut_off(client, server, data)
                    break
                if not _send(server, data):
                    break
            _shut(server)
            answers.join()

    def _cut_off(self, client: socket.socket, server: socket.socket, data: bytes) -> None:
        cut, self.cut = self.cut, None
        self.refuses = self.refuses or self.refuses_after_cut
        self.cuts += 1
        _shut(client)
        if cut is Cut.LATE:
            time.sleep(0.3)
        if cut is not Cut.BEFORE:
            _send(server, data)
            time.sleep(0.1)  # PostgreSQL is busy with the COMMIT, whoever listens


def _forward(source: socket.socket, target: socket.socket) -> None:
    while data := _receive(source):
        if not _send(target, data):
            break  # a client that is cut off
    _shut(target)


def _receive(line: socket.socket) -> bytes:
    try:
        return line.recv(1 << 16)
    except OSError:
        return b""


def _send(line: socket.socket, data: bytes) -> bool:
    try:
        line.sendall(data)
    except OSError:
        return False
    return True


def _shut(line: socket.socket) -> None:
    try:
        line.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # it was shut by the other side
