"""One round of SELECTs: everything that the works of a batch wait for, a statement a table."""

from __future__ import annotations

from typing import Any

from comptoir_server.store.image import Images
from comptoir_server.store.relation import Index, Key, Load, Relation
from comptoir_server.store.session import Lock, Session
from comptoir_server.store.tx import Place
from comptoir_server.store.work import Work

Under = tuple[Relation[Any], str, Key]
"""A key under a unique index or a parent key of a relation."""


class Snapshot:
    """Rows read without a lock. They are as old as the round that read them."""

    __slots__ = ("found", "lists", "rows")

    def __init__(self) -> None:
        self.rows: dict[Place, Any] = {}
        self.found: dict[Under, Key | None] = {}
        """The primary key under a unique key, or None."""
        self.lists: dict[Under, list[Any]] = {}


class Round:
    """Collects keys, then selects them: locks first, what is read unlocked after them.

    Where the database is exclusive, what was read once stays true and `snapshot` is shared by all rounds of the
    batch; else each round reads into its own.
    """

    def __init__(self, session: Session, images: Images, snapshot: Snapshot) -> None:
        self.members: list[Work] = []
        self.snapshot = snapshot
        self._session = session
        self._images = images
        self._locks: dict[Relation[Any], set[Key]] = {}
        self._reads: dict[Relation[Any], set[Key]] = {}
        self._lookups: dict[tuple[Relation[Any], str], set[Key]] = {}
        self._lookups_to_lock: list[Under] = []
        self._lists: dict[tuple[Relation[Any], str], set[Key]] = {}

    @property
    def locks_rows(self) -> bool:
        """Whether this round locks anything."""
        return bool(self._locks)

    def want(self, load: Load[Any]) -> bool:
        """Notes what must be selected for a load; False when it is known already."""
        if load.many:
            return self._want_list(load)
        if load.index is load.relation.primary:
            return self._want_row(load.relation, load.key, locked=load.locked)
        return self._want_lookup(load)

    def _want_row(self, relation: Relation[Any], key: Key, *, locked: bool) -> bool:
        image = self._images[relation]
        if key in image.locked or key in image.staged:
            return False
        if self._session.exclusive and (relation, key) in self.snapshot.rows:
            if locked:
                image.locked[key] = self.snapshot.rows[relation, key]
            return False
        (self._locks if locked else self._reads).setdefault(relation, set()).add(key)
        return True

    def _want_lookup(self, load: Load[Any]) -> bool:
        under = (load.relation, load.index.name, load.key)
        image = self._images[load.relation]
        key = image.staged_under(load.index, load.key)
        if key is not None and load.index.value_of(image.staged[key]) == load.key:
            return False
        if self._session.exclusive and under in self.snapshot.found:
            key = self.snapshot.found[under]
            return key is not None and self._want_row(load.relation, key, locked=load.locked)
        self._lookups.setdefault((load.relation, load.index.name), set()).add(load.key)
        if load.locked:
            self._lookups_to_lock.append(under)
        return True

    def _want_list(self, load: Load[Any]) -> bool:
        under = (load.relation, load.index.name, load.key)
        if self._session.exclusive and under in self.snapshot.lists:
            return False
        self._lists.setdefault((load.relation, load.index.name), set()).add(load.key)
        return True

    def run(self, lock: Lock) -> set[Place]:
        """Selects everything wanted; answers the rows that somebody else holds (with Lock.SKIP only)."""
        held_elsewhere: set[Place] = set()
        self._look_up()
        if self._session.exclusive:
            for relation, keys in self._locks.items():
                self._reads.setdefault(relation, set()).update(keys)
        else:
            for relation in sorted(self._locks, key=_position):
                held_elsewhere |= self._lock_rows(relation, sorted(self._locks[relation]), lock)
        for relation, keys in self._reads.items():
            self._read_rows(relation, sorted(keys))
        for (relation, name), keys in self._lists.items():
            self._read_lists(relation, relation.parents[name], sorted(keys))
        if self._session.exclusive:
            for relation, keys in self._locks.items():
                locked = self._images[relation].locked
                for key in sorted(keys):
                    locked[key] = self.snapshot.rows[relation, key]
        return held_elsewhere

    def _look_up(self) -> None:
        """Resolves unique keys to primary keys, so that every lock is taken in the order of primary keys."""
        snapshot = self.snapshot
        for (relation, name), keys in self._lookups.items():
            index = relation.unique[name]
            for key in keys:
                snapshot.found[relation, name, key] = None
            for record in self._session.select(relation, index, sorted(keys), Lock.NONE):
                key = relation.key_of(record)
                snapshot.rows[relation, key] = record
                snapshot.found[relation, name, index.value_of(record)] = key
        for under in self._lookups_to_lock:
            key = snapshot.found[under]
            if key is not None:
                self._want_row(under[0], key, locked=True)

    def _lock_rows(self, relation: Relation[Any], keys: list[Key], lock: Lock) -> set[Place]:
        locked = self._images[relation].locked
        key_of = relation.key_of
        for record in self._session.select(relation, relation.primary, keys, lock):
            locked[key_of(record)] = record
        missing = [key for key in keys if key not in locked]
        held_elsewhere = set()
        if missing and lock is Lock.SKIP:
            present = self._session.select(relation, relation.primary, missing, Lock.NONE)
            held_elsewhere = {(relation, key_of(record)) for record in present}
        for key in missing:
            if (relation, key) not in held_elsewhere:
                locked[key] = None
        return held_elsewhere

    def _read_rows(self, relation: Relation[Any], keys: list[Key]) -> None:
        rows = self.snapshot.rows
        for key in keys:
            rows[relation, key] = None
        for record in self._session.select(relation, relation.primary, keys, Lock.NONE):
            rows[relation, relation.key_of(record)] = record

    def _read_lists(self, relation: Relation[Any], index: Index, keys: list[Key]) -> None:
        lists = self.snapshot.lists
        for key in keys:
            lists[relation, index.name, key] = []
        for record in self._session.select(relation, index, keys, Lock.NONE):
            lists[relation, index.name, index.value_of(record)].append(record)


def _position(relation: Relation[Any]) -> int:
    return relation.position
