"""What one batch knows of one relation: rows as the database has them, and rows as its works leave them."""

from __future__ import annotations

from typing import Any

from comptoir_server.store.relation import Index, Key, Relation


class Image:
    """One relation as a batch sees it. Only works that have ended successfully have staged anything here."""

    __slots__ = ("_by_parent", "_by_unique", "inserted", "locked", "relation", "staged", "updated")

    def __init__(self, relation: Relation[Any]) -> None:
        self.relation = relation
        self.locked: dict[Key, Any] = {}
        """Rows locked by this transaction, as the database has them; None for a key without a row."""
        self.staged: dict[Key, Any] = {}
        """Rows as they will be written, the newest of each."""
        self.inserted: dict[Key, None] = {}
        """Keys of new rows, in the order in which they were staged."""
        self.updated: dict[Key, None] = {}
        """Keys of changed rows, in the order in which they were first changed."""
        self._by_unique: dict[tuple[str, Key], Key] = {}
        self._by_parent: dict[tuple[str, Key], dict[Key, None]] = {}

    def stage(self, rows: dict[Key, Any]) -> None:
        """Takes rows that a work has put."""
        if self.locked:
            for key in rows:
                if key not in self.staged:
                    kind = self.inserted if self.locked.get(key) is None else self.updated
                    kind[key] = None
        else:
            self.inserted.update(dict.fromkeys(rows))
        self.staged.update(rows)
        for index in self.relation.unique.values():
            for key, record in rows.items():
                self._by_unique[index.name, index.value_of(record)] = key
        for index in self.relation.parents.values():
            for key, record in rows.items():
                self._by_parent.setdefault((index.name, index.value_of(record)), {})[key] = None

    def staged_under(self, index: Index, value: Key) -> Key | None:
        """The primary key of the row staged last under a unique key; the row may have left that key since."""
        return self._by_unique.get((index.name, value))

    def staged_among(self, index: Index, value: Key) -> dict[Key, None]:
        """The primary keys of all rows that were ever staged under a parent key."""
        return self._by_parent.get((index.name, value), {})


class Images(dict[Relation[Any], Image]):
    """The image of each relation that a batch has to do with, made when it is first asked for."""

    def __missing__(self, relation: Relation[Any]) -> Image:
        image = self[relation] = Image(relation)
        return image
