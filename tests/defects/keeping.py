"""Defects in the store: what is locked, what is durable, what is answered when."""

from __future__ import annotations

from comptoir_server.store import sqlite
from comptoir_server.store.batch import Batch
from comptoir_server.store.direct import DirectReader
from comptoir_server.store.ownership import Ownership
from comptoir_server.store.postgresql import PostgresqlSession
from comptoir_server.store.round import Round
from comptoir_server.store.sqlite import SqliteSession
from comptoir_server.store.writer import Writer
from tests.defects.planting import rewrite, swap
from tests.defects.registry import Kind, defect
from tests.support.altered import take_locks_away

BATCH = "integration/test_store_batch.py::test_"
COMMIT = "integration/test_store_commit.py::test_"
PROCESSES = "integration/test_store_processes.py::test_"
SQLITE = "integration/test_store_sqlite.py::test_"


@defect(Kind.REFUNDED_TOO_MUCH, f"{PROCESSES}two_writers_are_as_if_all_ran_one_by_one_and_meet_no_deadlock")
def row_locks_are_removed() -> None:
    """Rows are read where they should be locked."""
    take_locks_away()


@defect(Kind.OWN, f"{COMMIT}a_connection_may_be_closed_twice[postgresql]", "ResourceClosedError")
def lost_connection_is_never_opened_again() -> None:
    """A connection that a failed rollback has closed cannot be closed once more, and every later read fails."""
    rewrite(PostgresqlSession.close, "if self.connection.closed:", "if False:")


@defect(Kind.OWN, f"{BATCH}an_absent_key_is_owned_so_the_same_new_request_runs_once[sqlite]")
def absent_key_is_not_owned() -> None:
    """Two works of one batch that want the same key run side by side."""
    rewrite(Ownership.acquire, "owner = self._owners.setdefault(slot, work)", "owner = work")


@defect(Kind.DEADLOCK, f"{PROCESSES}processes_that_lock_in_opposite_orders_meet_no_deadlock")
def later_rounds_wait() -> None:
    """A work that holds rows waits for others in whatever order."""
    rewrite(Writer._try, "later = Lock.WAIT if alone else Lock.SKIP", "later = Lock.WAIT")


@defect(Kind.BUSY, f"{SQLITE}a_write_takes_the_file_before_it_reads", "StorageUnavailable")
def transaction_is_deferred() -> None:
    """A transaction that begins by reading asks to write too late, and is refused at once."""
    for begin in (SqliteSession.begin, SqliteSession.begin_at_once):
        rewrite(begin, "BEGIN IMMEDIATE", "BEGIN")


@defect(Kind.BUSY, f"{SQLITE}a_second_opening_is_refused_in_words_that_help")
def two_servers_share_a_file() -> None:
    """Nothing keeps a second server off a database file."""
    rewrite(sqlite.FileLock.__init__, "fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)", "pass")


@defect(Kind.OWN, f"{SQLITE}every_connection_syncs_every_commit_and_checks_foreign_keys")
def synchronous_is_normal() -> None:
    """A commit is answered before it is on the disk."""
    assert "PRAGMA synchronous = FULL" in sqlite.PRAGMAS
    swap(sqlite, "PRAGMAS", tuple(pragma.replace("= FULL", "= NORMAL") for pragma in sqlite.PRAGMAS))


@defect(Kind.OWN, f"{SQLITE}tables_are_strict_and_foreign_keys_hold")
def foreign_keys_are_off() -> None:
    """Rows may name what is not there."""
    assert "PRAGMA foreign_keys = ON" in sqlite.PRAGMAS
    swap(sqlite, "PRAGMAS", tuple(pragma for pragma in sqlite.PRAGMAS if "foreign_keys" not in pragma))


@defect(Kind.OWN, f"{BATCH}a_constraint_that_one_work_breaks_is_its_own_caller_s_error[sqlite]")
def answered_before_the_commit() -> None:
    """Callers have their answers before anything is committed."""
    rewrite(
        Writer._attempt,
        "            batch.run(jobs)\n",
        "            batch.run(jobs)\n            self._deliver(batch.answers, batch.wakes)\n",
    )


@defect(
    Kind.NO_KEY,
    f"{COMMIT}an_unreadable_answer_of_the_disk_to_a_commit_is_decided_on_a_new_connection",
    "IntegrityError",
)
def lost_commit_is_run_again() -> None:
    """A commit whose answer was lost is taken not to have happened."""
    rewrite(Writer._commit, "if not (yield from self._is_committed()):", "if True:")


@defect(Kind.OWN, f"{PROCESSES}all_that_a_reading_work_sees_is_of_one_state")
def reads_are_of_several_states() -> None:
    """What one reading work sees may be of two states."""
    rewrite(PostgresqlSession.begin_reading, "REPEATABLE READ", "READ COMMITTED")


@defect(Kind.OWN, f"{PROCESSES}a_row_read_unlocked_is_read_again_when_it_is_locked")
def locked_row_is_as_it_was_read_before() -> None:
    """A row that was read before is locked without being read again."""
    rewrite(
        Round._want_row,
        "if self._session.exclusive and (relation, key) in self.snapshot.rows:",
        "if (relation, key) in self.snapshot.rows:",
    )
    rewrite(Batch._run_round, "current.snapshot if self._session.exclusive else Snapshot()", "current.snapshot")


@defect(Kind.OWN, f"{SQLITE}the_log_begins_anew_although_there_is_a_read_between_any_two_commits[beside reads]")
def log_grows_for_ever() -> None:
    """Reads that always overlap commits keep the write-ahead log from ever beginning anew."""
    rewrite(DirectReader._held, "if self._crowded:", "if False:")
