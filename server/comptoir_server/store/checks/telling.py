"""What the logs tell is true: every step in its order, of objects that there are, to all whom it concerns."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any

import sqlalchemy as sa
from sqlalchemy import select

from comptoir_server.domain.events import OTHERS, STATES, TYPES
from comptoir_server.store import snapshots
from comptoir_server.store.checks.nouns import NOUNS, differences, stored
from comptoir_server.store.checks.survey import Notes, Query, Rule, Survey, by_query
from comptoir_server.store.reads.events import SIDES
from comptoir_server.store.tables import EVENTS, MESSAGES, SESSIONS

_event, _message, _session = EVENTS.table, MESSAGES.table, SESSIONS.table

_STATE_TYPES = frozenset(TYPES.values())
_PERSONAL = ("wallet", "wallet_link")
"""Nouns of which only the person's channel is told."""

_READ = (_event.c.id, _event.c.type, _event.c.noun, _event.c.payload)


def _in_order(survey: Survey) -> Iterator[Any]:
    """The events of every log, one log after the other, each in its order."""
    for side in SIDES:
        columns = (side.owner.label("log_id"), *_READ)
        yield from survey.rows(select(*columns).where(side.owner.is_not(None)).order_by(side.owner, side.position))


def _told(row: Any) -> tuple[str, str] | None:
    """Id and state of what an event tells of, without reading the rest; None where it cannot be read."""
    try:
        body = json.loads(row.payload)
        return str(body["id"]), str(body.get("state", ""))
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def _told_otherwise(survey: Survey, notes: Notes) -> None:
    """Objects whose state is not the one told last in a log that concerns them, and messages that nobody was told."""
    last: dict[tuple[str, str], str] = {}
    for row in _in_order(survey):
        told = _told(row)
        if told is not None and (row.type in _STATE_TYPES or row.noun == "message"):
            last[row.log_id, told[0]] = told[1]
    for noun in STATES:
        for row in survey.rows(_present(noun)):
            notes.examined += 1
            for log_id in row[2:]:
                if last.get((log_id, row.id)) != row.state:
                    told_last = last.get((log_id, row.id), "nothing")
                    notes.violated(**{noun: row.id, "state": row.state, "log": log_id, "told": told_last})
    for row in survey.rows(_said()):
        notes.examined += 1
        if (row.log, row.id) not in last:
            notes.violated(message=row.id, log=row.log, told="nothing")


def _present(noun: str) -> Query:
    """Id, state and logs of every object of a noun."""
    table = NOUNS[noun].relation.table
    logs = [table.c.channel_id] if noun in _PERSONAL else [table.c.partner_id, table.c.channel_id]
    return select(table.c.id, table.c.state, *logs)


def _said() -> Query:
    """Every message and the log of the side that hears it."""
    log = sa.case((_message.c.sender == "USER", _session.c.partner_id), else_=_session.c.channel_id)
    return select(_message.c.id, log.label("log")).join(_session, _session.c.id == _message.c.session_id)


def _undocumented_steps(survey: Survey, notes: Notes) -> None:
    """Histories that begin elsewhere, or take a step that no table of transitions has, or take one twice."""
    for _, log in groupby(_in_order(survey), key=attrgetter("log_id")):
        last: dict[str, str] = {}
        for row in log:
            told = _told(row) if row.type in _STATE_TYPES and row.noun in STATES else None
            if told is None:
                continue
            notes.examined += 1
            thing, state = told
            before, last[thing] = last.get(thing), state
            noun = NOUNS[row.noun]
            if state not in noun.first if before is None else (before, state) not in noun.steps:
                notes.violated(**{row.noun: thing, "event": row.id, "log": row.log_id, "from": before, "to": state})


def _untrue(survey: Survey, notes: Notes) -> None:
    """Events that cannot be read, are of another type than what they hold, or tell of nothing that there is."""
    for rows in survey.chunks(select(*_READ)):
        notes.examined += len(rows)
        told = sorted(((row, _payload(row)) for row in rows), key=lambda pair: str(pair[0].noun))
        for noun, group in groupby(told, key=lambda pair: str(pair[0].noun)):
            for row, wrong in _wrong(survey, noun, list(group)):
                notes.violated(event=row.id, type=row.type, wrong=wrong)


def _payload(row: Any) -> Any:
    """The object as the event tells it; None where it cannot be read."""
    noun = NOUNS.get(row.noun)
    try:
        return snapshots.load(noun.relation.record, row.payload) if noun else None
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def _wrong(survey: Survey, noun: str, told: Sequence[tuple[Any, Any]]) -> Iterable[tuple[Any, str]]:
    """The events of one noun that are at fault, and why."""
    key_of = NOUNS[noun].relation.key_of if noun in NOUNS else None
    keys = {key_of(thing) for _, thing in told if thing is not None} if key_of else set()
    present = stored(survey, NOUNS[noun], sorted(keys)) if keys else {}
    for row, thing in told:
        if thing is None or key_of is None:
            yield row, "its payload cannot be read"
        elif not _fits(row.type, noun, thing):
            yield row, "its type is not that of what it holds"
        elif key_of(thing) not in present:
            yield row, f"there is no {key_of(thing)}"
        elif present[key_of(thing)] is not None:
            different = differences(NOUNS[noun], thing, present[key_of(thing)])
            if different:
                yield row, f"of {key_of(thing)} it tells another {different}"


def _fits(event_type: str, noun: str, thing: Any) -> bool:
    if noun == "message":
        return event_type == ("postback.received" if thing.kind == "postback" else "message.received")
    if event_type in OTHERS:
        return event_type.partition(".")[0] == noun
    return event_type == TYPES.get((noun, str(thing.state)))


def _told_to_others() -> Query:
    """Events that stand in another log than those of whom they concern, or in too few."""
    in_both = sa.and_(_event.c.partner_id.is_not(None), _event.c.channel_id.is_not(None))
    right = sa.case(
        (_event.c.noun.in_(_PERSONAL), sa.and_(_event.c.partner_id.is_(None), _event.c.channel_id.is_not(None))),
        (_event.c.noun == "message", sa.not_(in_both)),
        else_=in_both,
    )
    columns = (_event.c.id.label("event"), _event.c.type, _event.c.partner_id, _event.c.channel_id)
    return select(*columns).where(sa.not_(right))


RULES: tuple[Rule, ...] = (
    Rule("C19", "States change by the documented transitions only, each told once and in order.", _undocumented_steps),
    Rule("E5", "An event tells of an object that there is, as it was, and is named for what it tells.", _untrue),
    by_query(
        "E6",
        "A partner and a channel are told the same; of a wallet only the channel, of a message one of the two.",
        (_event,),
        _told_to_others(),
    ),
    Rule("E7", "What was told last of an object is its state now, and every message was told.", _told_otherwise),
)
