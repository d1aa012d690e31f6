"""Writes what a batch has staged: one UPDATE and one INSERT a table, numbers given last and held to the commit."""

from __future__ import annotations

from collections.abc import Iterable
from operator import itemgetter
from typing import Any

from comptoir_server.runtime import fault
from comptoir_server.store.image import Image
from comptoir_server.store.relation import Relation
from comptoir_server.store.session import Session

Row = list[Any]


def flush(session: Session, relations: Iterable[Relation[Any]], images: dict[Relation[Any], Image]) -> None:
    """Writes all staged rows. Raises what the database raises, and ClaimLost.

    Tables are written in the order of `relations`, updates before inserts. The counters are raised when the first
    relation that has sequences is reached, whether it has rows or not: so all processes wait for locks in one order
    (rows, then new keys, then counters, then new keys of what is numbered) and none waits for another in a circle.
    What is numbered reaches a fault point when it is written and not yet committed, such as events.flushed.
    """
    numbered: dict[Relation[Any], list[Row]] | None = None
    for relation in relations:
        if relation.sequences and numbered is None:
            numbered = _number(session, images)
        image = images.get(relation)
        if image is None or not image.staged:
            continue
        _update(session, image)
        if image.inserted:
            rows = numbered[relation] if numbered and relation in numbered else _encode(image)
            rows.sort(key=itemgetter(*relation.race_columns))
            session.insert(relation, rows)
            if relation.sequences:
                fault(f"{relation.name}.flushed")


def _encode(image: Image) -> list[Row]:
    encode, staged = image.relation.codec.encode, image.staged
    return [encode(staged[key]) for key in image.inserted]


def _update(session: Session, image: Image) -> None:
    """Updates the columns that changed in at least one row; encodes no other."""
    relation = image.relation
    fields, encoders = relation.codec.fields, relation.codec.encoders
    changed: set[int] = set()
    rows = []
    for key in image.updated:
        old, new = fields(image.locked[key]), fields(image.staged[key])
        differing = {i for i, (was, now) in enumerate(zip(old, new, strict=True)) if was is not now and was != now}
        if differing:
            changed |= differing
            rows.append((key, new))
    if not rows:
        return
    columns = tuple(sorted(changed))
    converts = [(i, encoders[i]) for i in columns]
    single = len(relation.primary.columns) == 1
    rows.sort(key=itemgetter(0))
    session.update(
        relation,
        columns,
        [
            [new[i] if encode is None else encode(new[i]) for i, encode in converts] + ([key] if single else [*key])
            for key, new in rows
        ],
    )


def _number(session: Session, images: dict[Relation[Any], Image]) -> dict[Relation[Any], list[Row]]:
    """Gives the next numbers of every scope to the new rows of relations with sequences, in the order of staging."""
    numbered: dict[Relation[Any], list[Row]] = {}
    takers: dict[str, list[tuple[Row, int]]] = {}
    for relation, image in images.items():
        if not relation.sequences or not image.inserted:
            continue
        rows = numbered[relation] = _encode(image)
        for row, key in zip(rows, image.inserted, strict=True):
            for sequence in relation.sequences:
                counter = sequence.counter_of(image.staged[key])
                if counter is not None:
                    takers.setdefault(counter, []).append((row, sequence.position))
    if takers:
        last = session.number({counter: len(takers[counter]) for counter in sorted(takers)})
        for counter, places in takers.items():
            first = last[counter] - len(places) + 1
            for number, (row, position) in enumerate(places, first):
                row[position] = number
    return numbered
