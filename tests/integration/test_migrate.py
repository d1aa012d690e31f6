"""Migrations: a migrated database is the one that the tables describe, and keeps to its mode."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from comptoir_server.runtime import Runtime
from comptoir_server.store.columns import metadata
from comptoir_server.store.database import open_database
from comptoir_server.store.migrate import WrongDatabase, migrate, require_current
from comptoir_server.store.tables import MARKETS, RELATIONS
from tests.support.databases import database_url

__all__ = ["database_url"]


def engine_of(url: str) -> sa.Engine:
    return sa.create_engine(url.replace("postgresql://", "postgresql+psycopg://", 1), poolclass=sa.NullPool)


def test_a_database_of_another_mode_is_refused_and_left_as_it_is(database_url: str) -> None:
    migrate(database_url, "test")

    with pytest.raises(WrongDatabase, match="of test mode, not live: start with --mode test"):
        migrate(database_url, "live")
    with pytest.raises(WrongDatabase, match="of test mode, not live"):
        require_current(database_url, "live")

    require_current(database_url, "test")


def test_a_database_that_was_not_migrated_is_refused(database_url: str) -> None:
    with pytest.raises(WrongDatabase, match="run comptoir-server migrate"):
        require_current(database_url, "test")


def test_a_migrated_database_has_the_shape_of_the_tables(database_url: str) -> None:
    migrate(database_url, "test")

    with engine_of(database_url).connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_a_migrated_database_has_the_checks_of_the_tables(database_url: str) -> None:
    migrate(database_url, "test")

    with engine_of(database_url).connect() as connection:
        inspector = sa.inspect(connection)
        for table in metadata.sorted_tables:
            wanted = {check.name for check in table.constraints if isinstance(check, sa.CheckConstraint)}
            assert {check["name"] for check in inspector.get_check_constraints(table.name)} == wanted, table.name


def test_migrating_again_changes_nothing(database_url: str) -> None:
    migrate(database_url, "test")
    migrate(database_url, "test")

    with engine_of(database_url).connect() as connection:
        rows = connection.execute(sa.select(MARKETS.table.c.market, MARKETS.table.c.provider)).all()
    assert [tuple(row) for row in rows] == [("US", "paypal")]


@pytest.mark.parametrize("change", ["UPDATE journal SET position = 2", "DELETE FROM journal"])
def test_what_was_written_down_cannot_be_changed(database_url: str, change: str) -> None:
    migrate(database_url, "test")
    engine = engine_of(database_url)
    with engine.begin() as connection:
        connection.execute(sa.text("INSERT INTO journal VALUES ('txn_1', 'cap_1', 'capture', 'USD', 1, 1)"))

    with pytest.raises(sa.exc.IntegrityError, match="journal is append-only"), engine.begin() as connection:
        connection.execute(sa.text(change))

    with engine.connect() as connection:
        assert connection.execute(sa.text("SELECT id, position FROM journal")).all() == [("txn_1", 1)]


async def test_the_store_opens_a_migrated_database(database_url: str) -> None:
    migrate(database_url, "test")
    database = open_database(database_url, RELATIONS, Runtime())
    await database.open()

    market = await database.read(lambda tx: tx.load(MARKETS.get(("US", "paypal"))))

    assert market is not None
    assert market.open is True
    await database.close()
