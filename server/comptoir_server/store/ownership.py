"""Who owns which key inside one batch: works that want the same key run one after the other."""

from __future__ import annotations

from collections import deque
from typing import Any

from comptoir_server.store.relation import Key, Relation
from comptoir_server.store.work import Work

Slot = tuple[Relation[Any], str, Key]
"""A key under an index ("" is the primary one) of a relation, whether a row has it or not."""


class Ownership:
    """Owners of slots, and the works that wait for them.

    A work waits for one slot at a time, so a cycle of waits is found by walking from owner to owner.
    """

    def __init__(self) -> None:
        self._owners: dict[Slot, Work] = {}
        self._queues: dict[Slot, deque[Work]] = {}
        self.relations: set[Relation[Any]] = set()
        """Relations of which a key was ever owned."""

    def is_foreign(self, slot: Slot, work: Work) -> bool:
        """True when another work owns the slot."""
        return self._owners.get(slot, work) is not work

    def acquire(self, work: Work) -> bool:
        """Takes `work.missing` from the end until one is owned by another work, for which it then waits.

        False when waiting would close a cycle: the work owns what it has, and must be moved.
        """
        while work.missing:
            slot = work.missing[-1]
            owner = self._owners.setdefault(slot, work)
            if owner is not work:
                if self._waits_for(owner, work):
                    return False
                work.blocked = slot
                self._queues.setdefault(slot, deque()).append(work)
                return True
            work.owned[slot] = None
            self.relations.add(slot[0])
            work.missing.pop()
        return True

    def release(self, work: Work) -> list[Work]:
        """Takes everything from a work that has ended, and answers those that now own what they waited for."""
        if work.blocked is not None:
            self._queues[work.blocked].remove(work)
            work.blocked = None
        woken = []
        for slot in work.owned:
            queue = self._queues.get(slot)
            if queue:
                heir = queue.popleft()
                heir.blocked = None
                self._owners[slot] = heir
                woken.append(heir)
            else:
                self._owners.pop(slot, None)
        work.owned.clear()
        return woken

    def _waits_for(self, owner: Work, work: Work) -> bool:
        """Whether `owner` waits, through any number of others, for `work`."""
        while owner.blocked is not None:
            owner = self._owners[owner.blocked]
            if owner is work:
                return True
        return False
