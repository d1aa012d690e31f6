"""Telling what happened: every event is written by the work that causes it, once for all whom it concerns."""

from __future__ import annotations

from typing import Any

from comptoir_server.domain.events import TYPES, Event
from comptoir_server.store import snapshots
from comptoir_server.store.tx import Tx

PERSONAL_NOUNS = frozenset({"wallet", "wallet_link"})
"""Nouns that are nobody's business but the person's and their channel's."""


def tell(tx: Tx, noun: str, record: Any, event_type: str = "") -> None:
    """Appends the event of `record`'s state (or `event_type`) to the partner's and the channel's log."""
    personal = noun in PERSONAL_NOUNS
    append(
        tx,
        noun,
        record,
        event_type or TYPES[noun, record.state],
        partner_id=None if personal else record.partner_id,
        channel_id=record.channel_id,
        bot_id="" if personal else record.bot_id,
        session_id=record.id if noun == "session" else record.session_id if noun != "wallet" else "",
        user_id=record.user_id,
    )


def append(
    tx: Tx,
    noun: str,
    record: Any,
    event_type: str,
    *,
    partner_id: str | None,
    channel_id: str | None,
    bot_id: str,
    session_id: str,
    user_id: str,
) -> None:
    """Appends an event to the logs of this partner and this channel, of which one may be None, and wakes their readers.

    `bot_id` and `session_id` are empty for none.
    """
    tx.put(
        Event(
            id=tx.new_id("evt"),
            type=event_type,
            noun=noun,
            partner_id=partner_id,
            partner_position=None if partner_id is None else 0,
            partner_session_sequence=None if partner_id is None else 0,
            channel_id=channel_id,
            channel_position=None if channel_id is None else 0,
            channel_session_sequence=None if channel_id is None else 0,
            bot_id=bot_id,
            session_id=session_id or None,
            user_id=user_id,
            payload=snapshots.dump(record),
            create_time=tx.now,
        )
    )
    for log_id in (partner_id, channel_id):
        if log_id is not None:
            tx.after_commit(log_id)
