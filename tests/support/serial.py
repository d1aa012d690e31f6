"""The store that the batching transaction must look like: plain dicts, one work at a time.

`SerialTx` offers what a work uses of `Tx`, so that the very same work runs on both. It shares no code with the store.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from comptoir_server.store.relation import Load, Relation

Tables = dict[Relation[Any], dict[Any, Any]]


class SerialTx:
    """One work's view of a `SerialStore`."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self.puts: list[Any] = []

    async def load(self, *loads: Load[Any]) -> Any:
        values = [self._read(load) for load in loads]
        return values[0] if len(values) == 1 else tuple(values)

    def put(self, record: Any) -> None:
        self.puts.append(record)

    def _read(self, load: Load[Any]) -> Any:
        rows = dict(self._tables[load.relation])
        for record in self.puts:
            if type(record) is load.relation.record:
                rows[load.relation.key_of(record)] = record
        found = tuple(rows[key] for key in sorted(rows) if load.index.value_of(rows[key]) == load.key)
        if load.many:
            return found
        assert len(found) <= 1
        return found[0] if found else None


class SerialStore:
    """Runs works one after the other."""

    def __init__(self, relations: tuple[Relation[Any], ...]) -> None:
        self.tables: Tables = {relation: {} for relation in relations}
        self._relation_of = {relation.record: relation for relation in relations}
        self._numbers: dict[tuple[Any, ...], int] = {}

    def run(self, work: Callable[[Any], Awaitable[Any]]) -> Any:
        """What the work returned, or the exception that it raised."""
        tx = SerialTx(self.tables)
        steps = work(tx).__await__()
        try:
            next(steps)
        except StopIteration as stop:
            for record in tx.puts:
                self._write(record)
            return stop.value
        except Exception as error:  # noqa: BLE001 - it is the result
            return error
        raise AssertionError("a serial work never waits")

    def number(self, *scope: Any) -> int:
        """The next number of a scope."""
        self._numbers[scope] = self._numbers.get(scope, 0) + 1
        return self._numbers[scope]

    def _write(self, record: Any) -> None:
        relation = self._relation_of[type(record)]
        self.tables[relation][relation.key_of(record)] = record
