"""The primary of a PostgreSQL is killed under load and its synchronous standby takes its place: no answer is lost.

Two servers follow by an address that names both; the old primary is fenced. A longer run is `tests.proof.failovers`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.cut_line import Cut
from tests.support.failing_over import WAYS, fail_over_again_and_again

SEED = 20_261_130
FAILOVERS = len(WAYS)

pytestmark = pytest.mark.timeout(600)


async def test_a_commit_that_does_not_wait_for_the_standby_is_found_out(tmp_path: Path) -> None:
    outcome = await fail_over_again_and_again(tmp_path, FAILOVERS, "alone", synchronous=False)

    assert outcome.account is None
    assert any("is lost" in words for words in outcome.failing.violations)


async def test_after_three_failovers_everything_that_was_answered_is_there_lost_commits_included(
    tmp_path: Path,
) -> None:
    outcome = await fail_over_again_and_again(tmp_path, FAILOVERS, f"{SEED}")

    print(f"seed {SEED}: {outcome.figures}; {dict(outcome.failing.ways)}")
    assert outcome.failing.violations == []
    assert outcome.figures["failovers"] == FAILOVERS
    assert outcome.failing.ways[Cut.AFTER.value] == 1
    assert outcome.failing.ways[Cut.BEFORE.value] == 1
    assert [customers.unanswered for customers in outcome.failing.customers] == [0, 0]
