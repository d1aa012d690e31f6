"""What a caller was answered once stays true, and is what they are answered again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import select

from comptoir_server.store import snapshots
from comptoir_server.store.checks.consent import LIVE_STATES
from comptoir_server.store.checks.nouns import NOUNS, differences, stored
from comptoir_server.store.checks.survey import Notes, Query, Rule, Survey, by_query, rows_where
from comptoir_server.store.tables import CAPTURES, PAYMENTS, REFUNDS, REQUESTS

UNFINISHED = ("PROCESSING", "IN_DOUBT")
"""States of a capture or refund that its provider has not decided."""

_request, _payment, _capture, _refund = REQUESTS.table, PAYMENTS.table, CAPTURES.table, REFUNDS.table


def _contradicted(survey: Survey, notes: Notes) -> None:
    """Answers that cannot be read, or that what they told of contradicts now."""
    for rows in survey.chunks(select(_request.c.key, _request.c.answer).where(_request.c.answer != "")):
        notes.examined += len(rows)
        told: dict[str, list[tuple[str, Any]]] = {}
        for row in rows:
            objects = _objects(row.answer)
            if objects is None:
                notes.violated(request=row.key, wrong="its answer cannot be read")
            for noun, thing in (objects or {}).items():
                told.setdefault(noun, []).append((row.key, thing))
        for noun, things in told.items():
            for key, wrong in _wrong(survey, noun, things):
                notes.violated(request=key, noun=noun, wrong=wrong)


def _objects(answer: str) -> dict[str, Any] | None:
    try:
        nouns = json.loads(answer).keys() - {"schema"}
        return snapshots.load_named({noun: NOUNS[noun].relation.record for noun in nouns}, answer)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def _wrong(survey: Survey, noun: str, told: Sequence[tuple[str, Any]]) -> list[tuple[str, str]]:
    kind = NOUNS[noun]
    key_of = kind.relation.key_of
    present = stored(survey, kind, sorted({key_of(thing) for _, thing in told}))
    wrong = []
    for request, thing in told:
        now = present.get(key_of(thing))
        if key_of(thing) not in present:
            wrong.append((request, f"there is no {key_of(thing)}"))
        elif now is not None and (different := differences(kind, thing, now)):
            wrong.append((request, f"{key_of(thing)} has another {different}"))
        elif now is not None and kind.transitions and (str(thing.state), str(now.state)) not in kind.ways:
            wrong.append((request, f"{key_of(thing)} was {thing.state} and is {now.state}"))
    return wrong


def _unanswered() -> tuple[Query, ...]:
    """Requests that name nothing they made, and those of what has ended that have no answer."""
    settled = (
        sa.exists().where(
            _payment.c.id == _request.c.object_id,
            _payment.c.state.not_in(LIVE_STATES),
            _payment.c.pending_operation_id == "",
        ),
        sa.exists().where(_capture.c.id == _request.c.object_id, _capture.c.state.not_in(UNFINISHED)),
        sa.exists().where(_refund.c.id == _request.c.object_id, _refund.c.state.not_in(UNFINISHED)),
    )
    made_nothing = _request.c.object_id == ""
    columns = (_request.c.key.label("request"), _request.c.object_id.label("object"))
    return (select(*columns).where(_request.c.answer == "", sa.or_(made_nothing, *settled)),)


RULES: tuple[Rule, ...] = (
    Rule("C20", "A stored answer can be read, and what it told of does not contradict it now.", _contradicted),
    by_query(
        "C21",
        "A request has its answer as soon as what it asked for has ended, so that it is answered the same again.",
        (rows_where(_request),),
        *_unanswered(),
    ),
)
