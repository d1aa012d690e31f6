"""Defects in what is told: what is left out, what comes too early, what is skipped."""

from __future__ import annotations

from typing import Any

import psycopg

from comptoir_server.app import event_reading, event_streams, messages
from comptoir_server.app import events as telling
from comptoir_server.domain.events import Event
from comptoir_server.store import postgresql
from comptoir_server.store.database import Database
from comptoir_server.store.reads import events as reading
from comptoir_server.store.tx import Tx
from comptoir_server.transport.boundary import Boundary
from tests.defects.planting import rewrite, swap
from tests.defects.registry import Kind, defect

LOG = "integration/test_event_log.py::test_"
TELLING = "integration/test_telling.py::test_"


@defect(Kind.NO_FOLLOW_UP, f"{TELLING}every_commit_holds_its_events[sqlite]")
def event_is_not_written() -> None:
    """Payments change, and nobody is told."""
    rewrite(telling.tell, "    append(\n", '    noun == "payment" or append(\n')


@defect(Kind.DROPPED_WEBHOOK, f"{TELLING}every_commit_holds_its_events[sqlite]")
def event_is_written_after_the_commit() -> None:
    """Events are written in a transaction of their own: a crash between the two loses them."""
    late: dict[Any, dict[str, Event]] = {}
    write, put = Database.write, Tx.put

    def put_later(tx: Tx, record: object) -> None:
        if isinstance(record, Event):
            late.setdefault(tx._draws, {})[record.id] = record
        else:
            put(tx, record)

    async def write_twice(database: Database, work: Any) -> Any:
        draws = []

        async def first(tx: Tx) -> Any:
            draws.append(tx._draws)
            late.pop(tx._draws, None)
            return await work(tx)

        async def second(tx: Tx) -> None:
            for event in told.values():
                put(tx, event)
                for log_id in (event.partner_id, event.channel_id):
                    if log_id is not None:
                        tx.after_commit(log_id)

        answer = await write(database, first)
        told = late.pop(draws[-1], {})
        if told:
            await write(database, second)
        return answer

    swap(Tx, "put", put_later)
    swap(Database, "write", write_twice)


@defect(
    Kind.SKIPPED_EVENT,
    "integration/test_store_processes.py::test_a_reader_that_polls_by_position_never_skips_an_event",
)
def position_is_taken_before_the_commit() -> None:
    """Positions come from a counter that is free again before what they number is committed."""

    def number(session: postgresql.PostgresqlSession, counts: dict[str, int]) -> dict[str, int]:
        arrays = [postgresql._array_literal(str, [*counts]), postgresql._array_literal(int, [*counts.values()])]
        with psycopg.connect(session.raw.info.dsn, autocommit=True) as apart:
            return dict(apart.execute(postgresql.NUMBER.encode(), arrays).fetchall())

    swap(postgresql.PostgresqlSession, "number", number)


@defect(Kind.SKIPPED_EVENT, f"{LOG}pages_follow_each_other_without_gap_or_overlap[sqlite]")
def page_skips_its_first_event() -> None:
    """A page begins one event too late."""
    rewrite(
        event_reading._find,
        "            wanted.after,\n            last,",
        "            wanted.after + 1,\n            last,",
    )


@defect(Kind.OWN, f"{LOG}a_cursor_of_another_log_is_refused[sqlite]")
def cursor_of_another_log_is_taken() -> None:
    """A cursor works in every log."""
    rewrite(event_reading.position_of, "if not deps.vault.matches(", "if False and not deps.vault.matches(")


@defect(Kind.OWN, f"{LOG}the_channel_reads_what_the_bot_said_and_the_partner_does_not[sqlite]")
def bot_hears_itself() -> None:
    """What a bot says is told to its own partner too."""
    rewrite(messages.append, "session.partner_id if by_person else None", "session.partner_id")


@defect(Kind.OWN, f"{LOG}a_session_of_others_has_no_events_whoever_asks_for_it[sqlite]")
def session_is_read_by_anybody() -> None:
    """Whoever knows the id of a session reads its events, whosever log they stand in."""
    rewrite(
        reading.events_between, "side.owner == log_id", "side.owner == log_id if not session_id else side.position > 0"
    )


@defect(Kind.OWN, f"{LOG}an_acknowledgement_moves_forward_and_never_back[sqlite]")
def acknowledgement_moves_back() -> None:
    """An old acknowledgement that comes late has a consumer see everything again."""
    rewrite(event_reading.acknowledge, "if stored is not None and stored.position >= position:", "if False:")


@defect(Kind.DELIVERY_STOPS, f"{TELLING}an_event_whose_wake_up_was_lost_is_found_by_looking[sqlite]", "TimeoutError")
def lost_wake_up_is_never_made_up_for() -> None:
    """A stream that missed one wake-up says nothing more until the next."""
    rewrite(
        event_streams.stream_events,
        "(min(ping_at, max(stream.look_at, now)) if stream.room > 0 else ping_at) - now",
        "3_600.0",
    )


@defect(
    Kind.DELIVERY_STOPS,
    f"{LOG}an_acknowledgement_on_the_stream_is_stored_confirmed_and_resumed_from[sqlite]",
)
def acknowledgement_on_a_stream_is_forgotten() -> None:
    """What a client acknowledged on its stream is not kept: it resumes from the beginning, or from nowhere."""
    rewrite(
        event_streams._store,
        "await acknowledge(deps, call, stream.consumer, stream.dealt_with)",
        "stream.dealt_with",
    )


@defect(Kind.OWN, f"{LOG}no_more_events_are_on_their_way_than_the_client_takes[sqlite]")
def client_is_flooded() -> None:
    """However few events a client takes at once, it is sent them all."""
    rewrite(event_streams._due, "room = stream.room", "room = READ_MAX")


@defect(
    Kind.OWN,
    "unit/test_boundary_streams.py::test_revoking_a_key_ends_its_open_streams_within_five_seconds",
    "TimeoutError",
)
def stream_outlives_its_key() -> None:
    """A stream that is open stays open, whatever becomes of its credential."""
    rewrite(Boundary._followed, "                await self._admitted(bound, metadata)\n", "")
