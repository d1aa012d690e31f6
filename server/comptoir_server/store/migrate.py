"""Bringing a database to this version, and holding it to its mode."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from comptoir_server.domain.wallets import OPEN_AT_FIRST
from comptoir_server.store.backend import SQLITE, new_engine
from comptoir_server.store.columns import metadata
from comptoir_server.store.errors import StorageUnavailable
from comptoir_server.store.schema import Id
from comptoir_server.store.sqlite import PAGE_SIZE, FileLock
from comptoir_server.store.tables import MARKETS, settings_table

_STEPS = Path(__file__).with_name("migrations")
_MODE = "mode"


class WrongDatabase(Exception):
    """The database is of another version or mode; the message says what to do."""


def migrate(url: str, mode: str) -> None:
    """Takes every step that is missing, writes down the mode of a new database and opens its first markets.

    All of it or nothing, and one process at a time. Raises WrongDatabase for a database of the other mode, of a newer
    version, or not of ours; StorageUnavailable.
    """
    with _alone(url), _connected(url) as connection:
        _begin(connection)
        _require_ours(connection)
        command.upgrade(_config(connection), "head")
        found = _mode(connection)
        if found is None:
            connection.execute(settings_table.insert().values(name=_MODE, value=mode))
            for market, provider in OPEN_AT_FIRST:
                row = {"market": market, "provider": provider, "open": True, "open_time": 0}
                connection.execute(MARKETS.table.insert().values(**row))
        elif found != mode:
            raise _other_mode(found, mode)


def require_current(url: str, mode: str) -> None:
    """Raises WrongDatabase unless every step was taken and the mode is `mode`; StorageUnavailable."""
    with _connected(url) as connection:
        _require_ours(connection)
        head = ScriptDirectory(str(_STEPS)).get_current_head()
        if MigrationContext.configure(connection).get_current_revision() != head:
            raise WrongDatabase(
                "The database is not of this version: run comptoir-server migrate --database …, then start again."
            )
        found = _mode(connection)
        if found != mode:
            raise _other_mode(found or "no", mode)


def write_revision(url: str, message: str, revision: str, folder: Path) -> None:
    """Writes the step from the database at `url` to the present tables into `folder`, to be read before it is kept."""
    with _connected(url) as connection:
        config = _config(connection)
        config.set_main_option("version_locations", str(folder))
        config.attributes["render_item"] = _render
        command.revision(config, message, autogenerate=True, rev_id=revision)


def _render(kind: str, item: Any, _context: Any) -> str | bool:
    return "Id()" if kind == "type" and isinstance(item, Id) else False


def _mode(connection: sa.Connection) -> str | None:
    mode: str | None = connection.scalar(sa.select(settings_table.c.value).where(settings_table.c.name == _MODE))
    return mode


def _other_mode(found: str, wanted: str) -> WrongDatabase:
    return WrongDatabase(
        f"The database is of {found} mode, not {wanted}: start with --mode {found}, or use another database."
    )


def _config(connection: sa.Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_STEPS))
    config.attributes["connection"] = connection
    return config


def _require_ours(connection: sa.Connection) -> None:
    """WrongDatabase where a newer version, or nobody that we know, made the tables."""
    revision = MigrationContext.configure(connection).get_current_revision()
    if revision is None and set(metadata.tables) & set(sa.inspect(connection).get_table_names()):
        raise WrongDatabase("The database holds tables that no step of ours has made: use a new database.")
    known = {step.revision for step in ScriptDirectory(str(_STEPS)).walk_revisions()}
    if revision is not None and revision not in known:
        raise WrongDatabase(
            f"The database is of a newer version (step {revision}): start that version, or restore an earlier copy."
        )


@contextmanager
def _alone(url: str) -> Iterator[None]:
    """Keeps every server off an embedded database meanwhile. Raises StorageUnavailable where one is at work."""
    if not url.startswith(SQLITE):
        yield
        return
    try:
        lock = FileLock(Path(url.removeprefix(SQLITE)))
    except OSError as error:
        raise StorageUnavailable(f"The database cannot be opened: {error.strerror}.") from error
    try:
        yield
    finally:
        lock.release()


_LOCK = 0x636F6D70
"""The advisory lock under which a PostgreSQL database is migrated."""


def _begin(connection: sa.Connection) -> None:
    """Makes all that follows one transaction, tables included, that no other process runs at the same time."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(PAGE_SIZE)
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    else:
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))


@contextmanager
def _connected(url: str) -> Iterator[sa.Connection]:
    """A connection, on PostgreSQL in a transaction. Raises StorageUnavailable.

    SQLite's driver begins none before a statement that makes a table: `_begin` does it by hand.
    """
    by_hand = {"isolation_level": "AUTOCOMMIT"} if url.startswith(SQLITE) else {}
    engine = new_engine(url, **by_hand)
    try:
        with engine.connect() as connection, connection.begin():
            yield connection
    except sa.exc.OperationalError as error:
        raise StorageUnavailable(f"The database cannot be opened: {_reason(error)}") from error
    finally:
        engine.dispose()


def _reason(error: sa.exc.OperationalError) -> str:
    return str(error.orig).splitlines()[0] if error.orig else "no reason was given."
