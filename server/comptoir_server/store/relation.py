"""A relation binds a domain record (a frozen dataclass) to its table, and names the keys by which it may be loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any, Generic, TypeVar

from sqlalchemy import Table

from comptoir_server.store.codec import Codec
from comptoir_server.store.schema import Id

__all__ = ["Id", "Index", "Key", "Load", "Numbering", "Relation"]

R = TypeVar("R")
T = TypeVar("T")

Key = Any
"""A key of one column is its bare value, a key of several is the tuple of them."""


class Index:
    """A declared key of a relation: the primary key (name ""), a unique index or a parent key."""

    __slots__ = ("columns", "name", "value_of")

    def __init__(self, name: str, columns: tuple[str, ...]) -> None:
        self.name = name
        self.columns = columns
        self.value_of: Callable[[Any], Key] = attrgetter(*columns)
        """The key of a record under this index."""


class Numbering:
    """A column that is numbered at the flush, from 1, gaplessly in commit order, per scope."""

    __slots__ = ("_counter", "_scope", "column", "position")

    def __init__(self, relation: str, column: str, scope: tuple[str, ...], position: int) -> None:
        self.column = column
        self.position = position
        self._counter = f"{relation}.{column}"
        self._scope = tuple(attrgetter(name) for name in scope)

    def counter_of(self, record: object) -> str | None:
        """The name of the counter that numbers `record`, or None when a part of its scope is None."""
        parts = [self._counter]
        for part in self._scope:
            value = part(record)
            if value is None:
                return None
            text = str(value)
            parts.append(text if "/" not in text and "%" not in text else text.replace("%", "%25").replace("/", "%2F"))
        return "/".join(parts)


class Load(Generic[T]):
    """A wish to read: made by a relation, granted by `Tx.load`."""

    __slots__ = ("index", "key", "locked", "many", "relation")

    def __init__(self, relation: Relation[Any], index: Index, key: Key, *, locked: bool, many: bool = False) -> None:
        self.relation = relation
        self.index = index
        self.key = key
        self.locked = locked
        self.many = many


class Relation(Generic[R]):
    """Binds `record` to `table`: field names are column names, in any order, none missing on either side.

    - `key`: the primary key.
    - `unique`: names unique indexes of the table that one may load by.
    - `parents`: names non-unique keys that one may list by. A list is complete for a work that holds the lock of
      the parent, if all who insert under that parent hold it too.
    - `sequences`: names columns that the flush numbers, each with the columns of its scope. `put` hands over 0 in
      such a column, and a None in the scope leaves the column as it is.
    - `claim`: other processes may insert the same key at the same moment. The loser's work is run again and then
      finds the row, so it must have looked for it; in any other relation the loser gets an IntegrityError. Where
      the key is neither the primary nor a unique one by which one may load, it is given by the name of its parent key.
    """

    def __init__(
        self,
        record: type[R],
        table: Table,
        *,
        key: str | tuple[str, ...] = "id",
        unique: Mapping[str, tuple[str, ...]] | None = None,
        parents: Mapping[str, tuple[str, ...]] | None = None,
        sequences: Mapping[str, tuple[str, ...]] | None = None,
        claim: bool | str = False,
    ) -> None:
        self.record = record
        self.table = table
        self.name = table.name
        self.codec = Codec(record)
        self.columns = self.codec.names
        self.primary = Index("", (key,) if isinstance(key, str) else key)
        self.unique = {name: Index(name, columns) for name, columns in (unique or {}).items()}
        self.parents = {name: Index(name, columns) for name, columns in (parents or {}).items()}
        self.claim = bool(claim)
        self.key_of = self.primary.value_of
        self._check()
        self.sequences = tuple(
            Numbering(self.name, column, scope, self.columns.index(column))
            for column, scope in (sequences or {}).items()
        )
        self.numbered_key = any(sequence.column in self.primary.columns for sequence in self.sequences)
        """The key itself is only known after the flush: such records are added, never put twice in a batch."""
        self.race_columns = self._race_columns(claim)
        self.position = 0
        """The place in the order of locking and writing; given when the database is opened."""

    def get(self, key: Key) -> Load[R | None]:
        """The row as it is, unlocked: no work may decide on it, unless its table never changes."""
        return Load(self, self.primary, key, locked=False)

    def lock(self, key: Key) -> Load[R | None]:
        """The row, locked until the commit. A key without a row is owned too: nobody else gets it before."""
        return Load(self, self.primary, key, locked=True)

    def get_by(self, index: str, *values: Any) -> Load[R | None]:
        """As `get`, through a declared unique index."""
        return Load(self, self.unique[index], _key(self.unique[index], values), locked=False)

    def lock_by(self, index: str, *values: Any) -> Load[R | None]:
        """As `lock`, through a declared unique index."""
        return Load(self, self.unique[index], _key(self.unique[index], values), locked=True)

    def list_by(self, index: str, *values: Any) -> Load[tuple[R, ...]]:
        """All rows under a declared parent key, unlocked, in the order of their primary keys."""
        return Load(self, self.parents[index], _key(self.parents[index], values), locked=False, many=True)

    def kind_of(self, column: str) -> type:
        """str, int, bool or bytes."""
        return self.codec.kinds[self.columns.index(column)]

    def _race_columns(self, claim: bool | str) -> tuple[int, ...]:
        """The columns in whose order rows are inserted, so that two processes claim the same keys in the same order."""
        raced = self.parents[claim] if isinstance(claim, str) else next(iter(self.unique.values()), self.primary)
        return tuple(self.columns.index(name) for name in (*raced.columns, *self.primary.columns))

    def _check(self) -> None:
        """Refuses a binding that does not fit its table, when it is made and not at the first payment."""
        columns = {column.name: column for column in self.table.columns}
        if set(columns) != set(self.columns):
            difference = ", ".join(sorted(set(columns) ^ set(self.columns)))
            raise TypeError(f"{self.record.__name__} and table {self.name} differ in: {difference}")
        if self.primary.columns != tuple(column.name for column in self.table.primary_key.columns):
            raise TypeError(f"{self.name}: the primary key of the table is not {self.primary.columns}")
        for name in self.columns:
            if bool(columns[name].nullable) != (name in self.codec.nullable):
                raise TypeError(f"{self.name}.{name}: nullable in the table, or None in the record, but not in both")
        for index in (self.primary, *self.unique.values(), *self.parents.values()):
            for name in index.columns:
                if self.kind_of(name) is bytes:
                    raise TypeError(f"{self.name}.{name}: bytes cannot be a key, store them as text")

    def __repr__(self) -> str:
        return f"Relation({self.name})"


def _key(index: Index, values: Sequence[Any]) -> Key:
    if len(values) != len(index.columns):
        raise TypeError(f"{index.name} is a key of {', '.join(index.columns)}: {len(values)} values given")
    return values[0] if len(values) == 1 else tuple(values)
