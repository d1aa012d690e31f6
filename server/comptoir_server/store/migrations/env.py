"""What alembic runs: the steps, on the connection that `store/migrate.py` hands over."""

from __future__ import annotations

from alembic import context

from comptoir_server.store.columns import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_item=context.config.attributes.get("render_item"),
)
with context.begin_transaction():
    context.run_migrations()
