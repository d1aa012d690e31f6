"""Works that want the same key run one after the other, in the order in which they came, and never wait in a circle."""

from __future__ import annotations

from typing import Any, cast

from comptoir_server.store.ownership import Ownership, Slot
from comptoir_server.store.work import Work
from tests.support.till import ACCOUNTS, CHECKOUTS, PAYMENTS

A: Slot = (ACCOUNTS, "", ("a",))
B: Slot = (CHECKOUTS, "", ("b",))
C: Slot = (PAYMENTS, "by_checkout", ("c",))


def wanting(*slots: Slot) -> Work:
    """A work that has yet to own these, the last one first."""
    work = Work(cast(Any, None), cast(Any, None))
    work.missing = list(slots)
    return work


def test_what_nobody_owns_is_owned_from_the_last_to_the_first() -> None:
    ownership, work = Ownership(), wanting(A, B)

    assert ownership.acquire(work) is True
    assert (list(work.owned), work.missing, work.blocked) == ([B, A], [], None)
    assert ownership.relations == {ACCOUNTS, CHECKOUTS}


def test_a_slot_is_foreign_to_everybody_but_its_owner() -> None:
    ownership, owner, other = Ownership(), wanting(A), wanting()
    ownership.acquire(owner)

    assert ownership.is_foreign(A, other) is True
    assert ownership.is_foreign(A, owner) is False
    assert ownership.is_foreign(B, other) is False


def test_a_work_waits_for_the_one_slot_that_another_owns_and_keeps_what_it_has() -> None:
    ownership, owner, waiting = Ownership(), wanting(B), wanting(A, B, C)
    ownership.acquire(owner)

    assert ownership.acquire(waiting) is True
    assert (list(waiting.owned), waiting.missing, waiting.blocked) == ([C], [A, B], B)
    assert ownership.is_foreign(A, owner) is False


def test_who_came_first_inherits_and_goes_on() -> None:
    ownership, owner, first, second = Ownership(), wanting(A), wanting(B, A), wanting(A)
    for work in (owner, first, second):
        ownership.acquire(work)

    assert ownership.release(owner) == [first]
    assert (owner.owned, first.blocked, second.blocked) == ({}, None, A)
    assert ownership.is_foreign(A, owner) is True
    assert ownership.acquire(first) is True
    assert list(first.owned) == [A, B]
    assert ownership.release(first) == [second]
    assert second.blocked is None
    assert ownership.acquire(second) is True
    assert ownership.release(second) == []
    assert ownership.is_foreign(A, owner) is ownership.is_foreign(B, owner) is False


def test_everything_is_given_away_at_once() -> None:
    ownership, owner, first, second = Ownership(), wanting(A, B, C), wanting(A), wanting(C)
    for work in (owner, first, second):
        ownership.acquire(work)

    assert ownership.release(owner) == [second, first]
    assert ownership.is_foreign(B, first) is False


def test_who_ends_while_it_waits_waits_no_more() -> None:
    ownership, owner, gone, patient = Ownership(), wanting(A), wanting(A), wanting(A)
    for work in (owner, gone, patient):
        ownership.acquire(work)

    assert ownership.release(gone) == []
    assert gone.blocked is None
    assert ownership.release(owner) == [patient]


def test_two_works_that_would_wait_for_each_other_are_told_so() -> None:
    ownership, one, other = Ownership(), wanting(A), wanting(B)
    for work in (one, other):
        ownership.acquire(work)
    one.missing, other.missing = [B], [A]

    assert ownership.acquire(one) is True
    assert ownership.acquire(other) is False
    assert (list(other.owned), other.missing, other.blocked) == ([B], [A], None)
    assert ownership.release(other) == [one]


def test_a_circle_of_three_is_found_and_a_row_of_three_is_none() -> None:
    ownership, works = Ownership(), [wanting(A), wanting(B), wanting(C)]
    for work in works:
        ownership.acquire(work)
    works[0].missing, works[1].missing, works[2].missing = [B], [C], [A]

    assert [ownership.acquire(work) for work in works] == [True, True, False]
