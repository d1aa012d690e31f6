"""An event is one row with a place in each log, and no longer a row for each: half of what a payment wrote were copies."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from comptoir_server.store.migrate import WrongDatabase
from comptoir_server.store.schema import Id

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

COPIED = ("type", "noun", "bot_id", "session_id", "user_id", "payload", "create_time")
"""What the rows of an event have in common."""

PLACED = {"log_id": "id", "position": "position", "session_sequence": "session_sequence"}
"""What the row of one log says of the event's place there, and how that is called behind the kind of log."""

KINDS = {"partner": "prt_", "channel": "chn_"}
"""The kinds of logs, and how the ids of those begin whose logs they are."""

told = sa.table("told", *(sa.column(name) for name in ("id", *PLACED, *COPIED)))


def upgrade() -> None:
    op.drop_index("events_by_position", "events")
    op.drop_index("events_by_session", "events")
    op.rename_table("events", "told")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER INDEX events_pkey RENAME TO told_pkey")
    op.create_index("told_by_id", "told", ["id"])
    _refuse_what_is_no_copy()
    _create()
    _carry_over()
    op.drop_table("told")
    _index()
    _rename_counters()


def _is_of(prefix: str) -> sa.ColumnElement[bool]:
    return told.c.log_id.startswith(prefix, autoescape=True)


def _refuse_what_is_no_copy() -> None:
    """Raises WrongDatabase where rows of one id are not one event: nothing of what somebody was told is dropped."""
    rows = sa.func.count()
    parts = [told.c[name] for name in COPIED]
    differ = [sa.func.min(part) != sa.func.max(part) for part in parts]
    missing = [sa.func.count(part).not_in([0, rows]) for part in parts]
    kinds = [sa.func.max(sa.case((_is_of(prefix), 1), else_=0)) for prefix in KINDS.values()]
    statement = sa.select(told.c.id).group_by(told.c.id).order_by(told.c.id)
    strange = op.get_bind().scalars(statement.having(sa.or_(*differ, *missing, kinds[0] + kinds[1] != rows))).all()
    if strange:
        raise WrongDatabase(
            f"Nothing was changed: {len(strange)} events, {strange[0]} the first, do not stand alike in the logs of one "
            "partner and one channel, so that they cannot be kept once. The check of the version before names them."
        )


def _create() -> None:
    op.create_table(
        "events",
        sa.Column("id", Id(), nullable=False),
        sa.Column("type", Id(), nullable=False),
        sa.Column("noun", Id(), nullable=False),
        sa.Column("partner_id", Id(), nullable=True),
        sa.Column("partner_position", sa.BigInteger(), nullable=True),
        sa.Column("partner_session_sequence", sa.BigInteger(), nullable=True),
        sa.Column("channel_id", Id(), nullable=True),
        sa.Column("channel_position", sa.BigInteger(), nullable=True),
        sa.Column("channel_session_sequence", sa.BigInteger(), nullable=True),
        sa.Column("bot_id", Id(), nullable=False),
        sa.Column("session_id", Id(), nullable=True),
        sa.Column("user_id", Id(), nullable=False),
        sa.Column("payload", Id(), nullable=False),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("(partner_id IS NULL) = (partner_position IS NULL)", name="events_in_partner_log"),
        sa.CheckConstraint("(channel_id IS NULL) = (channel_position IS NULL)", name="events_in_channel_log"),
        sa.CheckConstraint("partner_id IS NOT NULL OR channel_id IS NOT NULL", name="events_in_a_log"),
        sa.PrimaryKeyConstraint("id"),
        sqlite_strict=True,
    )


def _carry_over() -> None:
    columns: dict[str, sa.ColumnElement[object]] = {"id": told.c.id}
    columns |= {name: sa.func.min(told.c[name]) for name in COPIED}
    for kind, prefix in KINDS.items():
        for name, place in PLACED.items():
            columns[f"{kind}_{place}"] = sa.func.max(sa.case((_is_of(prefix), told.c[name])))
    events = sa.table("events", *(sa.column(name) for name in columns))
    rows = sa.select(*columns.values()).group_by(told.c.id).order_by(told.c.id)
    op.execute(events.insert().from_select(list(columns), rows))


def _rename_counters() -> None:
    counters = sa.table("counters", sa.column("name"))
    for kind, prefix in KINDS.items():
        for number in ("position", "session_sequence"):
            before, after = f"events.{number}/{prefix}", f"events.{kind}_{number}/{prefix}"
            renamed = counters.update().values(name=sa.func.replace(counters.c.name, before, after))
            op.execute(renamed.where(counters.c.name.startswith(before, autoescape=True)))


def _index() -> None:
    """A reader finds its log in order, or one session of it: each index costs every commit a page.

    The last costs one for each session that was written to. So it is one for both sides, and begins with the side
    that is told all but what its own people say: what a commit tells of a session then lies together in it.
    """
    for name, columns, unique, where in (
        ("events_by_partner", ["partner_id", "partner_position"], True, "partner_id IS NOT NULL"),
        ("events_by_channel", ["channel_id", "channel_position"], True, "channel_id IS NOT NULL"),
        ("events_by_session", ["session_id", "channel_position", "partner_position"], False, "session_id IS NOT NULL"),
    ):
        op.create_index(
            name, "events", columns, unique=unique, sqlite_where=sa.text(where), postgresql_where=sa.text(where)
        )
