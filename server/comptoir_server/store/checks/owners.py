"""Every row has the owners of what it belongs to."""

from __future__ import annotations

import functools

import sqlalchemy as sa
from sqlalchemy import func, select

from comptoir_server.store.checks.survey import Notes, Query, Rule, Survey, by_query
from comptoir_server.store.columns import metadata
from comptoir_server.store.tables import BOTS, CHANNELS, EVENTS, KEYS, PARTNERS, SESSIONS

_key, _bot, _partner, _channel = KEYS.table, BOTS.table, PARTNERS.table, CHANNELS.table
_event, _session = EVENTS.table, SESSIONS.table

_OWNERS = "partner_id bot_id user_id channel_id"

BELONGS: tuple[tuple[str, str, str, str], ...] = (
    ("bot_users", "session_id", "sessions", "bot_id user_id"),
    ("sessions", "bot_user_id", "bot_users", "bot_id user_id"),
    ("sessions", "bot_id", "bots", "partner_id"),
    ("sessions", "user_id", "users", "channel_id"),
    ("wallet_links", "user_id", "users", "channel_id"),
    ("wallet_links", "session_id", "sessions", "user_id channel_id"),
    ("wallets", "user_id", "users", "channel_id"),
    ("checkouts", "session_id", "sessions", f"{_OWNERS} bot_user_id"),
    ("checkouts", "replaces_checkout_id", "checkouts", f"{_OWNERS} session_id"),
    ("payments", "checkout_id", "checkouts", f"{_OWNERS} bot_user_id session_id currency_code capture_mode"),
    ("captures", "payment_id", "payments", f"{_OWNERS} session_id currency_code"),
    ("refunds", "payment_id", "payments", f"{_OWNERS} session_id currency_code"),
    ("refunds", "capture_id", "captures", f"{_OWNERS} session_id payment_id"),
    ("operations", "payment_id", "payments", "provider currency_code"),
    ("orders", "checkout_id", "checkouts", f"{_OWNERS} session_id currency_code partner_reference"),
    ("events", "session_id", "sessions", "user_id"),
)
"""Table, its reference, what that refers to, and the columns that both have and that must agree."""


@functools.cache
def _belonging() -> tuple[tuple[sa.Table, Query], ...]:
    """Each table of `BELONGS`, and its rows that differ from what they belong to."""
    found = []
    for name, reference, parent_name, shared in BELONGS:
        table, parent = metadata.tables[name], metadata.tables[parent_name].alias("parent")
        columns = [table.c[column] for column in shared.split()]
        agree = sa.and_(*(column == parent.c[column.name] for column in columns))
        apart = (
            select(*table.primary_key.columns, parent.c.id.label("of"), *columns)
            .join(parent, parent.c.id == table.c[reference])
            .where(sa.not_(agree))
        )
        found.append((table, apart))
    return tuple(found)


def _foreign(survey: Survey, notes: Notes) -> None:
    """Rows that belong to one owner and stand under another."""
    for table, apart in _belonging():
        notes.examined += survey.count(table)
        for row in survey.rows(apart):
            notes.violated(table=table.name, **row._mapping)


def _in_foreign_logs() -> Query:
    """Events in the log of a partner or a channel that is not their session's, or of another bot."""
    own = sa.and_(
        func.coalesce(_event.c.partner_id, _session.c.partner_id) == _session.c.partner_id,
        func.coalesce(_event.c.channel_id, _session.c.channel_id) == _session.c.channel_id,
        _event.c.bot_id == sa.case((_event.c.noun == "wallet_link", ""), else_=_session.c.bot_id),
    )
    return (
        select(_event.c.id.label("event"), _session.c.id.label("session"))
        .join(_session, _session.c.id == _event.c.session_id)
        .where(sa.not_(own))
    )


def _keys_of_nobody() -> Query:
    """Keys that speak for nobody that there is, or for a bot of somebody else's."""
    party = sa.or_(
        _key.c.owner_id == "",
        sa.exists().where(_partner.c.id == _key.c.owner_id),
        sa.exists().where(_channel.c.id == _key.c.owner_id),
    )
    bot = sa.or_(
        _key.c.bot_id == "", sa.exists().where(_bot.c.id == _key.c.bot_id, _bot.c.partner_id == _key.c.owner_id)
    )
    columns = (_key.c.id.label("api_key"), _key.c.owner_id.label("owner"), _key.c.bot_id.label("bot"))
    return select(*columns).where(sa.not_(sa.and_(party, bot)))


RULES: tuple[Rule, ...] = (
    Rule("A1", "A row has the owners, the session and the currency of what it belongs to.", _foreign),
    by_query(
        "A5",
        "An event stands in a log of its own session's partner or channel, and shows its own bot.",
        (_event,),
        _in_foreign_logs(),
    ),
    by_query("A6", "A key speaks for a party that there is, and for that one's bot.", (_key,), _keys_of_nobody()),
)
