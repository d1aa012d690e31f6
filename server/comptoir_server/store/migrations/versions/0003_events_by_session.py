"""Both logs' events of a session lie together in the index, so that telling both touches one page of it and not two."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    in_a_session = sa.text("session_id IS NOT NULL")
    op.drop_index("events_by_session", "events")
    op.create_index(
        "events_by_session",
        "events",
        ["session_id", "log_id", "session_sequence"],
        unique=True,
        sqlite_where=in_a_session,
        postgresql_where=in_a_session,
    )
