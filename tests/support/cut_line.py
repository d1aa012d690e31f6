"""A line to PostgreSQL that can be cut at the moment of a COMMIT: a relay between a client and the server's socket."""

from __future__ import annotations

import socket
import threading
import time
from enum import Enum
from typing import Self

import psycopg.conninfo

COMMIT = b"COMMIT\x00"
SIMPLE_QUERY, PARSE = b"Q", b"P"


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
        port = self._listener.getsockname()[1]
        self.url = f"postgresql://{parts['user']}@127.0.0.1:{port}/{parts['dbname']}?sslmode=disable&gssencmode=disable"
        self.cut: Cut | None = None
        self.cuts = 0
        self.refuses = False
        """While true, new connections are turned away."""

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.refuses:
                client.close()
                continue
            server = socket.socket(socket.AF_UNIX)
            server.connect(self._server)
            threading.Thread(target=self._to_server, args=(client, server), daemon=True).start()
            threading.Thread(target=self._to_client, args=(client, server), daemon=True).start()

    def _to_server(self, client: socket.socket, server: socket.socket) -> None:
        while data := _receive(client):
            if self.cut is not None and COMMIT in data:
                cut, self.cut = self.cut, None
                self.cuts += 1
                _close(client)
                if cut is Cut.LATE:
                    time.sleep(0.3)
                if cut is not Cut.BEFORE:
                    server.sendall(data)
                    while _receive(server):
                        pass
                break
            server.sendall(data)
        _close(server)

    def _to_client(self, client: socket.socket, server: socket.socket) -> None:
        while data := _receive(server):
            try:
                client.sendall(data)
            except OSError:
                return
        _close(client)


def _receive(line: socket.socket) -> bytes:
    try:
        return line.recv(1 << 16)
    except OSError:
        return b""


def _close(line: socket.socket) -> None:
    try:
        line.shutdown(socket.SHUT_RDWR)
    except OSError:
        return
