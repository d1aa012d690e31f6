"""Since when an operation is watched on a clock that nobody sets, in place of when a wall clock found it absent."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from comptoir_server.store.schema import Id

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("operations", sa.Column("watch_clock", Id(), nullable=False, server_default=""))
    op.add_column("operations", sa.Column("watch_start", sa.BigInteger(), nullable=False, server_default="0"))
    op.drop_column("operations", "absent_since")
