"""Wake-up keys from other processes, over PostgreSQL's LISTEN and NOTIFY."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event

import psycopg

from comptoir_server.store.postgresql import CHANNEL, CONNECT_SECONDS, EVERYTHING
from comptoir_server.store.tx import Wakes

POLL_SECONDS = 0.2
"""How often the thread looks whether it shall stop."""

RECONNECT_SECONDS = 1.0


class Notices:
    """Hands on what other writers tell. A lost connection is opened again; what was missed then is EVERYTHING."""

    def __init__(self, url: str, own: str, wake: Callable[[Wakes], None]) -> None:
        self._url = url
        self._own = own
        self._wake = wake
        self._stopped = Event()

    def stop(self) -> None:
        """Ends `run` soon."""
        self._stopped.set()

    def run(self) -> None:
        """Listens until it is stopped."""
        missed = False
        while not self._stopped.is_set():
            try:
                self._listen(missed=missed)
            except psycopg.Error:
                missed = True
                self._stopped.wait(RECONNECT_SECONDS)

    def _listen(self, *, missed: bool) -> None:
        with psycopg.connect(self._url, autocommit=True, connect_timeout=CONNECT_SECONDS) as connection:
            connection.execute(f"LISTEN {CHANNEL}")
            if missed:
                self._wake({EVERYTHING: None})
            while not self._stopped.is_set():
                for notice in connection.notifies(timeout=POLL_SECONDS):
                    sender, _, keys = notice.payload.partition("\n")
                    if sender != self._own and keys:
                        self._wake(dict.fromkeys(keys.split("\n")))
