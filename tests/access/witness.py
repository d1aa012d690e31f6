"""Whether anything moved in a database, seen from outside, and how often it was asked."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import sqlalchemy as sa

from comptoir_server.app.deps import Deps
from comptoir_server.store.tables import RELATIONS
from comptoir_server.store.tx import Tx


class Witness:
    """Looks at a database: at once by SQLite's own count of commits, and at every row by a digest.

    `asked` counts the works that the server has handed to its store: what takes more of them takes longer. Nothing is
    kept from one call to the next meanwhile, or who came second would seem to be quicker.
    """

    def __init__(self, deps: Deps, database_url: str) -> None:
        path = database_url.removeprefix("sqlite:///")
        self._deps = deps
        self._connection = None if path == database_url else sqlite3.connect(path)
        self._version = 0
        self.asked = 0
        for name in ("get", "read", "write"):
            setattr(deps.store, name, self._counted(getattr(deps.store, name)))
        deps.store.conclusions = dict  # type: ignore[method-assign]
        self.look()

    def _counted(self, call: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def counted(work: Any) -> Any:
            self.asked += 1
            return call(work)

        return counted

    def look(self) -> bool:
        """Whether anybody has written since the last look; on PostgreSQL only the digest tells."""
        if self._connection is None:
            return False
        [version] = self._connection.execute("PRAGMA data_version").fetchone()
        changed, self._version = version != self._version, version
        return bool(changed)

    async def digest(self) -> str:
        """One value of all rows of all tables."""

        async def work(tx: Tx) -> str:
            hashed = sha256()
            for relation in RELATIONS:
                columns = [relation.table.c[name] for name in relation.columns]
                rows = sorted(repr(tuple(row)) for row in await tx.query(sa.select(*columns)))
                hashed.update("\n".join([relation.table.name, *rows, ""]).encode())
            return hashed.hexdigest()

        return await self._deps.store.read(work)

    def close(self) -> None:
        """Lets the database go."""
        if self._connection is not None:
            self._connection.close()
