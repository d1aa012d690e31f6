"""No HTTP request, however wrong, gets a failure of the server's, a page without its headers, or anything moved."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from comptoir_server import log
from tests.hostile.pages import SECURITY, Answer, Pages, Request, attempt, complaints, run
from tests.hostile.place import SEED, Place, open_place

VISITS = 40
"""How many links are followed; each makes some sixty hostile requests."""

FINE = dict.fromkeys(SECURITY, "x")
HOOK = Request("POST", "/webhooks/paypal", [])

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    log.set_up(level="critical", stream=sys.stderr)  # without a cache: others in this process log anew
    async with open_place(tmp_path, SEED) as opened:
        yield opened


@pytest.mark.parametrize(
    ("answer", "moved", "complaint"),
    [
        (Answer(500, FINE, b""), False, "the status is 500"),
        (Answer(0, FINE, b""), False, "the status is 0"),
        (Answer(404, {}, b""), False, "the answer lacks"),
        (Answer(400, FINE, b"Traceback (most recent call last)"), False, "the answer shows a traceback"),
        (Answer(400, FINE, b""), True, "the status is 400, and yet something was committed"),
    ],
)
def test_whatever_is_wrong_with_an_answer_is_noticed(answer: Answer, moved: bool, complaint: str) -> None:
    [found] = complaints(HOOK, answer, moved=moved)

    assert complaint in found


async def test_an_application_that_raises_is_noticed(place: Place) -> None:
    pages = Pages(place)

    async def raising(_scope: Any, _receive: Any, _send: Any) -> None:
        raise RuntimeError("secret-dsn")

    place.world.app = raising

    assert await attempt(place, pages, Request("GET", "/healthz", [])) == (None, ["RuntimeError came out: secret-dsn"])


async def test_hostile_requests_are_answered_and_never_by_a_failure_of_the_server(place: Place) -> None:
    statuses, found = await run(place, VISITS, SEED)

    assert found == []
    assert place.problems() == []
    assert {status for _, status in statuses} >= {200, 204, 303, 400, 403, 404, 405, 410, 413}
