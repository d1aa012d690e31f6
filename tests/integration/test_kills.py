"""Killed with -9 a hundred times under load, on one database: what was answered stands, what was not is decided.

In a quarter of the kills the provider's answer was lost as well, and it has forgotten our keys when the server comes
back. Minutes pass while the server is down: within sixty of them everything is decided. Each fault point by itself is
struck in `test_crash.py`; a longer run is `tests.proof.kills`.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.killing import DECIDED_MINUTES_MAX, kill_again_and_again
from tests.support.reckoning import require_equal_books

SEED = 20_261_128
KILLS = 100

pytestmark = pytest.mark.timeout(600)


async def test_a_server_that_takes_silence_for_a_no_is_found_out(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="differ"):
        await kill_again_and_again(tmp_path, 4, "silence", {"silence_for_no": True})


async def test_after_a_hundred_kills_every_answer_stands_and_everything_was_decided_within_sixty_minutes(
    tmp_path: Path,
) -> None:
    outcome = await kill_again_and_again(tmp_path, KILLS, f"{SEED}")
    print(f"seed {SEED}: {outcome.figures}; {dict(outcome.killing.kills)}; evidence {dict(outcome.account.evidence)}")
    figures, customers, account = outcome.figures, outcome.killing.customers, outcome.account
    assert outcome.killing.violations == []
    assert figures["kills"] == KILLS
    assert outcome.killing.lost == KILLS // 4
    assert customers.unanswered == 0
    assert figures["longest minutes until decided"] <= DECIDED_MINUTES_MAX
    assert account.evidence["look-up"] >= 1

    lost = customers.said[0].answer.payment.payment_id
    without = replace(account, payments={name: row for name, row in account.payments.items() if name != lost})
    assert customers.contradictions(without) == [f"{lost} is lost"]
    spoiled = copy.deepcopy(outcome.books)
    spoiled["captures"].pop()
    with pytest.raises(AssertionError):
        require_equal_books(account, spoiled)
