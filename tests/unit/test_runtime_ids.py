"""Ids are made of randomness that is used once, whoever asks for it."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ThreadPoolExecutor

from comptoir_server.domain import ids
from comptoir_server.runtime import IDS_AT_ONCE, Runtime

COUNT = 4 * IDS_AT_ONCE


class Repeating(Runtime):
    """Draws the same every time."""

    def random_bytes(self, count: int) -> bytes:
        return bytes(number % 251 for number in range(count))


def tails(runtime: Runtime, count: int = COUNT) -> list[str]:
    """The random ends of new ids."""
    return [runtime.new_id("pay")[-16:] for _ in range(count)]


def test_where_the_source_repeats_itself_so_do_ids() -> None:
    runtime = Repeating()

    assert tails(runtime, IDS_AT_ONCE) == tails(runtime, IDS_AT_ONCE)


def test_an_id_is_valid_and_no_two_are_alike() -> None:
    runtime = Runtime()

    found = [runtime.new_id("pay") for _ in range(COUNT)]

    assert all(ids.is_valid("pay", each) for each in found)
    assert len({each[-16:] for each in found}) == COUNT


def test_threads_are_given_different_randomness() -> None:
    runtime = Runtime()

    with ThreadPoolExecutor(4) as pool:
        drawn = [tail for part in pool.map(lambda _: tails(runtime), range(8)) for tail in part]

    assert len(set(drawn)) == 8 * COUNT


def test_a_process_that_was_forked_off_is_given_other_randomness() -> None:
    runtime = Runtime()
    tails(runtime, 1)

    with multiprocessing.get_context("fork").Pool(1) as pool:
        theirs = pool.apply(tails, (runtime, IDS_AT_ONCE))
    ours = tails(runtime, IDS_AT_ONCE)

    assert not set(theirs) & set(ours)
