"""Telling what happened: every event is written by the work that causes it."""

from __future__ import annotations

from typing import Any

from comptoir_server.domain.events import TYPES, Event
from comptoir_server.store import snapshots
from comptoir_server.store.tx import Tx

PERSONAL_NOUNS = frozenset({"wallet", "wallet_link"})
"""Nouns that are nobody's business but the person's and their channel's."""


def tell(tx: Tx, noun: str, record: Any, event_type: str = "", *, logs: tuple[str, ...] | None = None) -> None:
    """Appends the event of `record`'s state (or `event_type`) to the partner's and the channel's log.

    `logs` names other logs where not both are to be told.
    """
    if logs is None:
        logs = (record.channel_id,) if noun in PERSONAL_NOUNS else (record.partner_id, record.channel_id)
    event_id = tx.new_id("evt")
    event_type = event_type or TYPES[noun, record.state]
    session_id = record.id if noun == "session" else record.session_id if noun != "wallet" else ""
    payload = snapshots.dump(record)
    for log_id in logs:
        tx.put(
            Event(
                log_id=log_id,
                position=0,
                id=event_id,
                type=event_type,
                noun=noun,
                bot_id="" if noun in PERSONAL_NOUNS else record.bot_id,
                session_id=session_id or None,
                session_sequence=0,
                user_id=record.user_id,
                payload=payload,
                create_time=tx.now,
            )
        )
        tx.after_commit(log_id)
