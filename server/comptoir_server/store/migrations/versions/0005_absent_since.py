"""When an operation was first found absent by the clock: a clock that was wrong then is not believed alone."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("operations", sa.Column("absent_since", sa.BigInteger(), nullable=False, server_default="0"))
