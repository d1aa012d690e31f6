"""Bringing a database to this version, and holding it to its mode."""

from __future__ import annotations

import sqlalchemy as sa

from comptoir_server.domain.wallets import OPEN_AT_FIRST
from comptoir_server.store.columns import metadata
from comptoir_server.store.tables import MARKETS, settings_table


def _engine(url: str) -> sa.Engine:
    return sa.create_engine(url.replace("postgresql://", "postgresql+psycopg://", 1))


def migrate(url: str, mode: str) -> None:
    """Interim."""
    engine = _engine(url)
    with engine.begin() as connection:
        metadata.create_all(connection)
        found = connection.execute(sa.select(settings_table.c.value).where(settings_table.c.name == "mode")).scalar()
        if found is None:
            connection.execute(settings_table.insert().values(name="mode", value=mode))
            for market, provider in OPEN_AT_FIRST:
                row = {"market": market, "provider": provider, "open": True, "open_time": 0}
                connection.execute(MARKETS.table.insert().values(**row))
    engine.dispose()


def require_current(url: str, mode: str) -> None:
    """Interim."""
