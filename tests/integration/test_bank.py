"""Three servers on one PostgreSQL, one killed every five seconds: the books balance, and everybody hears everything.

How soon an event is heard at another server is printed, and judged where the machine is quiet: `tests.proof.bank`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from comptoir.v1 import Event
from tests.support.bank import Reader, bad_lines, out_of_sequence, run_bank
from tests.support.overheard import Call, driven_by_two

SEED = 20_261_201
KILLS = 5

pytestmark = pytest.mark.timeout(600)


def test_two_processes_that_send_one_instruction_at_once_are_found_out() -> None:
    first, later, other = Call(1, "key", 1.0, 2.0), Call(2, "key", 2.5, 3.0), Call(2, "another", 1.0, 2.0)

    assert driven_by_two([first, later, other]) == []
    assert driven_by_two([first, Call(2, "key", 1.9, 2.2)]) == ["key was sent by processes 1 and 2 at once"]


def test_a_line_about_a_deadlock_or_about_what_nobody_foresaw_is_found() -> None:
    fine = '{"event": "call", "reason": "OK"}'
    bad = ['{"event": "call", "reason": "INTERNAL"}', '{"event": "unforeseen"}', "psycopg.errors.DeadlockDetected: no"]

    assert bad_lines("\n".join([fine, *bad, "Serving gRPC"])) == bad


async def test_with_one_of_three_servers_killed_every_five_seconds_nothing_is_skipped_doubled_or_out_of_balance(
    tmp_path: Path,
) -> None:
    bank, figures = await run_bank(tmp_path, KILLS, f"{SEED}")

    print(f"seed {SEED}: {figures}")
    assert bank.violations == []
    assert figures["kills"] == KILLS
    assert figures["events heard at another server"] > 0
    assert [one.unanswered for one in bank.customers] == [0, 0, 0]
    require_found_out(bank.readers[1], bank.log)


def require_found_out(reader: Reader, log: list[Event]) -> None:
    """An event that is missing, one that comes too early, and a gap in a session are each noticed."""
    heard = reader.heard
    for spoiled in (heard[:3] + heard[4:], [heard[1], heard[0], *heard[2:]]):
        assert Reader(1, reader.client, spoiled).faults(log) != []
    place = next(i for i, event in enumerate(log) if event.session_sequence == 2)
    assert out_of_sequence(log[:place] + log[place + 1 :]) != []
