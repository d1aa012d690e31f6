"""Migrations: a migrated database is the one that the tables describe, and keeps to its mode."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from comptoir_server.domain.events import LogEntry
from comptoir_server.runtime import Runtime
from comptoir_server.store import migrate as migrate_module
from comptoir_server.store.checks import check_connection
from comptoir_server.store.columns import metadata
from comptoir_server.store.database import open_database
from comptoir_server.store.errors import StorageUnavailable
from comptoir_server.store.migrate import WrongDatabase, migrate, require_current
from comptoir_server.store.reads.events import events_between
from comptoir_server.store.tables import EVENTS, MARKETS, RELATIONS
from tests.support.databases import database_url, postgresql_url, sqlite_url

__all__ = ["database_url", "postgresql_url", "sqlite_url"]


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


WRITTEN_DOWN = {
    "journal": "INSERT INTO journal VALUES ('txn_1', 'cap_1', 'capture', 'USD', 1, 1)",
    "postings": "INSERT INTO postings VALUES ('txn_1', 0, 'acc_1', 'USD', 1)",
    "messages": "INSERT INTO messages VALUES ('msg_1', 'ses_1', 1, 'USER', 'text', {sealed}, 1)",
}


@pytest.mark.parametrize("table", WRITTEN_DOWN)
@pytest.mark.parametrize("change", ["UPDATE {table} SET {column} = {column}", "DELETE FROM {table}"])
def test_what_was_written_down_cannot_be_changed(database_url: str, table: str, change: str) -> None:
    migrate(database_url, "test")
    engine = engine_of(database_url)
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(sa.text("SET session_replication_role = replica"))  # the row needs no others
        sealed = "x''" if connection.dialect.name == "sqlite" else "''"
        connection.execute(sa.text(WRITTEN_DOWN[table].format(sealed=sealed)))
    column = metadata.tables[table].columns[0].name
    statement = sa.text(change.format(table=table, column=column))

    with pytest.raises(sa.exc.IntegrityError, match=f"{table} is append-only"), engine.begin() as connection:
        connection.execute(statement)

    with engine.connect() as connection:
        assert connection.scalar(sa.text(f"SELECT count(*) FROM {table}")) == 1


async def test_the_store_opens_a_migrated_database(database_url: str) -> None:
    migrate(database_url, "test")
    database = open_database(database_url, RELATIONS, Runtime())
    await database.open()

    market = await database.read(lambda tx: tx.load(MARKETS.get(("US", "paypal"))))

    assert market is not None
    assert market.open is True
    await database.close()


def test_a_migration_that_dies_in_the_middle_leaves_nothing_and_can_be_done_again(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(_connection: sa.Connection) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(migrate_module, "_mode", die)
        with pytest.raises(RuntimeError, match="killed"):
            migrate(database_url, "test")
    with engine_of(database_url).connect() as connection:
        assert sa.inspect(connection).get_table_names() == []

    migrate(database_url, "test")
    require_current(database_url, "test")


def test_a_database_of_a_newer_version_is_refused_and_left_as_it_is(database_url: str) -> None:
    migrate(database_url, "test")
    with engine_of(database_url).begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))

    for use in (migrate, require_current):
        with pytest.raises(WrongDatabase, match="of a newer version"):
            use(database_url, "test")

    with engine_of(database_url).connect() as connection:
        assert connection.scalar(sa.text("SELECT version_num FROM alembic_version")) == "9999"


def test_tables_that_no_step_has_made_are_refused(database_url: str) -> None:
    with engine_of(database_url).begin() as connection:
        connection.execute(sa.text("CREATE TABLE payments (id INTEGER)"))

    with pytest.raises(WrongDatabase, match="no step of ours has made"):
        migrate(database_url, "test")

    with engine_of(database_url).connect() as connection:
        assert sa.inspect(connection).get_table_names() == ["payments"]


async def test_an_embedded_database_is_not_migrated_under_a_running_server(sqlite_url: str) -> None:
    migrate(sqlite_url, "test")
    database = open_database(sqlite_url, RELATIONS, Runtime())
    await database.open()

    with pytest.raises(StorageUnavailable, match="in use by another server process"):
        migrate(sqlite_url, "test")

    await database.close()


async def test_two_processes_that_migrate_at_once_take_each_step_once(postgresql_url: str) -> None:
    await asyncio.gather(*(asyncio.to_thread(migrate, postgresql_url, "test") for _ in range(2)))

    require_current(postgresql_url, "test")


def told(log_id: str, position: int, event_id: str, session: str | None = "ses_1", sequence: int = 0) -> dict[str, Any]:
    """An event as the third step keeps it: a row for each log that it stands in."""
    return {
        "log_id": log_id,
        "position": position,
        "id": event_id,
        "type": "session.opened",
        "noun": "session",
        "bot_id": "bot_1",
        "session_id": session,
        "session_sequence": sequence,
        "user_id": "usr_1",
        "payload": f'{{"id":"of {event_id}"}}',
        "create_time": 7,
    }


TOLD = [
    told("prt_a", 1, "evt_1", "ses_1", 1), told("chn_a", 1, "evt_1", "ses_1", 1),
    told("chn_a", 2, "evt_2", None),
    told("prt_a", 2, "evt_3", "ses_1", 2),
    told("chn_a", 3, "evt_4", "ses_1", 2),
    told("prt_b", 1, "evt_6", "ses_2", 1), told("chn_a", 4, "evt_6", "ses_2", 1),
    told("prt_a", 3, "evt_5", "ses_1", 3), told("chn_a", 5, "evt_5", "ses_1", 3),
]  # fmt: skip
"""Two partners and a channel; one event is of a person alone, two are of one side of a conversation."""

COUNTED = {
    "events.position/prt_a": 3, "events.position/prt_b": 1, "events.position/chn_a": 5,
    "events.session_sequence/prt_a/ses_1": 3, "events.session_sequence/chn_a/ses_1": 3,
    "events.session_sequence/prt_b/ses_2": 1, "events.session_sequence/chn_a/ses_2": 1,
}  # fmt: skip


def fill_third_step(url: str, rows: list[dict[str, Any]]) -> None:
    """Makes a database of the third step that holds these events."""
    with migrate_module._connected(url) as connection:
        migrate_module._begin(connection)
        command.upgrade(migrate_module._config(connection), "0003")
        events = sa.Table("events", sa.MetaData(), autoload_with=connection)
        connection.execute(events.insert(), rows)
        counters = [{"name": name, "value": value} for name, value in COUNTED.items()]
        connection.execute(metadata.tables["counters"].insert(), counters)


async def test_what_was_told_in_two_logs_becomes_one_event_with_its_place_in_each(database_url: str) -> None:
    fill_third_step(database_url, TOLD)
    migrate(database_url, "test")

    with engine_of(database_url).connect() as connection:
        rows = connection.execute(sa.select(EVENTS.table).order_by(EVENTS.table.c.id)).all()
        counters = connection.execute(sa.select(metadata.tables["counters"])).all()
        report = check_connection(connection, 0, codes={"E2", "E3", "L15", "S3", "S4"})
    assert [tuple(row)[:9] for row in rows] == [
        ("evt_1", "session.opened", "session", "prt_a", 1, 1, "chn_a", 1, 1),
        ("evt_2", "session.opened", "session", None, None, None, "chn_a", 2, 0),
        ("evt_3", "session.opened", "session", "prt_a", 2, 2, None, None, None),
        ("evt_4", "session.opened", "session", None, None, None, "chn_a", 3, 2),
        ("evt_5", "session.opened", "session", "prt_a", 3, 3, "chn_a", 5, 3),
        ("evt_6", "session.opened", "session", "prt_b", 1, 1, "chn_a", 4, 1),
    ]
    assert dict(map(tuple, counters)) == {
        "events.partner_position/prt_a": 3, "events.partner_position/prt_b": 1, "events.channel_position/chn_a": 5,
        "events.partner_session_sequence/prt_a/ses_1": 3, "events.channel_session_sequence/chn_a/ses_1": 3,
        "events.partner_session_sequence/prt_b/ses_2": 1, "events.channel_session_sequence/chn_a/ses_2": 1,
    }  # fmt: skip
    assert report.broken == ()


async def test_every_log_is_read_after_the_fourth_step_as_before_it(database_url: str) -> None:
    fill_third_step(database_url, TOLD)
    migrate(database_url, "test")
    database = open_database(database_url, RELATIONS, Runtime())
    await database.open()

    def entries(log_id: str) -> Awaitable[list[LogEntry]]:
        return database.read(
            lambda tx: events_between(tx, log_id, 0, 9, bot_id="", event_type="", session_id="", limit=9)
        )

    for log_id in ("prt_a", "prt_b", "chn_a"):
        kept = sorted((row for row in TOLD if row["log_id"] == log_id), key=lambda row: int(row["position"]))
        assert [vars(entry) | {"log_id": log_id} for entry in await entries(log_id)] == kept
    await database.close()


@pytest.mark.parametrize(
    ("row", "changes"),
    [
        (1, {"payload": "{}"}),
        (1, {"session_id": None}),
        (1, {"log_id": "prt_b", "position": 2}),
        (2, {"log_id": "log_of_nobody"}),
    ],
)
def test_what_is_not_told_alike_is_not_made_one_and_the_database_stays_as_it_is(
    database_url: str, row: int, changes: dict[str, Any]
) -> None:
    rows = [*TOLD[:row], TOLD[row] | changes, *TOLD[row + 1 :]]
    fill_third_step(database_url, rows)

    with pytest.raises(WrongDatabase, match=f"Nothing was changed: 1 events, {TOLD[row]['id']} the first, do not"):
        migrate(database_url, "test")

    with engine_of(database_url).connect() as connection:
        events = sa.Table("events", sa.MetaData(), autoload_with=connection)
        kept = [dict(one._mapping) for one in connection.execute(sa.select(events))]
        assert connection.scalar(sa.text("SELECT version_num FROM alembic_version")) == "0003"
    assert sorted(kept, key=str) == sorted(rows, key=str)
