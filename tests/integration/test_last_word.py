"""What the database refuses by itself, whatever the server would have it write."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from comptoir_server.domain.checkouts import CaptureMode
from tests.support.databases import database_url
from tests.support.providers import LOST_REQUEST
from tests.support.world import World, open_world

__all__ = ["database_url"]

AGAIN = {
    "journal_one_effect": ("journal", {"id": "'txn_again'", "position": "999999"}),
    "captures_one_reference": ("captures", {"id": "'cap_again'", "request_key": "'again'"}),
    "captures_one_request": ("captures", {"id": "'cap_again'", "reference": "''"}),
    "refunds_one_request": ("refunds", {"id": "'rfd_again'"}),
    "payments_one_request": (
        "payments",
        {"id": "'pay_again'", "checkout_version": "9", "state": "'FAILED'", "captured": "0", "refunded": "0"},
    ),
    "payments_one_version": (
        "payments",
        {"id": "'pay_again'", "request_key": "'again'", "state": "'FAILED'", "captured": "0", "refunded": "0"},
    ),
    "payments_one_successful": (
        "payments",
        {"id": "'pay_again'", "request_key": "'again'", "checkout_version": "9"},
    ),
    "orders_one_checkout": ("orders", {"id": "'ord_again'"}),
    "checkouts_one_reference": ("checkouts", {"id": "'chk_again'"}),
    "events_by_partner": ("events", {"id": "'evt_again'", "channel_position": "999999"}),
    "events_by_channel": ("events", {"id": "'evt_again'", "partner_position": "999999"}),
}
"""For each unique key a row that is another one of the same key: its table, and what is changed in a copy."""

BEYOND = {
    "payments_refund_within_capture": "UPDATE payments SET refunding = captured - refunded + 1 WHERE captured > 0",
    "payments_within_authorization": "UPDATE payments SET capturing = authorized - captured + 1 WHERE authorized > 0",
    "payments_refunded": "UPDATE payments SET refunded = -1",
    "payments_captured": "UPDATE payments SET capturing = -1",
    "payments_amount": "UPDATE payments SET amount = 0",
    "captures_refund_within_capture": "UPDATE captures SET refunding = amount - refunded + 1",
    "captures_amount": "UPDATE captures SET amount = 0",
    "refunds_amount": "UPDATE refunds SET amount = -1",
    "checkouts_total": "UPDATE checkouts SET total = 0",
    "orders_refunded": "UPDATE orders SET refunded = total + 1",
    "operations_evidence": "UPDATE operations SET evidence = '' WHERE state = 'DONE'",
    "postings_amount": "UPDATE postings SET minor_units = 0",
    "events_in_partner_log": "UPDATE events SET partner_position = NULL WHERE partner_id IS NOT NULL",
    "events_in_channel_log": "UPDATE events SET channel_id = NULL WHERE partner_id IS NOT NULL",
    "events_in_a_log": "UPDATE events SET channel_id = NULL, channel_position = NULL WHERE partner_id IS NULL",
}
"""For each check a statement that breaks it."""


async def traffic(world: World) -> None:
    """A purchase with a reference, given back in part; a hold; and one in doubt."""
    paid = (await world.confirm(await world.checkout(partner_reference="trip-1")))["payment"]
    await world.refund(paid.id, 8_000)
    await world.confirm(await world.checkout(capture_mode=CaptureMode.MANUAL))
    world.provider.replies.append(LOST_REQUEST)
    await world.confirm(await world.checkout(), seconds=0.2)


@contextmanager
def opened(url: str) -> Iterator[sa.Connection]:
    """A connection as the server has one, in a transaction that is not kept."""
    engine = sa.create_engine(url.replace("postgresql://", "postgresql+psycopg://", 1), poolclass=sa.NullPool)
    with engine.connect() as connection:
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("PRAGMA foreign_keys = ON")
        yield connection
        connection.rollback()


def copied(connection: sa.Connection, table: str, changed: dict[str, str]) -> str:
    """A statement that adds a copy of the oldest row that has every key, with some columns changed."""
    found = sa.inspect(connection).get_columns(table)
    columns = [column["name"] for column in found]
    values = ", ".join(changed.get(name, name) for name in columns)
    order = ", ".join([*(f"{column['name']} IS NULL" for column in found if column["nullable"]), columns[0]])
    return f"INSERT INTO {table} ({', '.join(columns)}) SELECT {values} FROM {table} ORDER BY {order} LIMIT 1"


def refusal(url: str, statement: Callable[[sa.Connection], str]) -> str:
    """What the database says to a statement; empty where it does it."""
    with opened(url) as connection:
        try:
            connection.exec_driver_sql(statement(connection).replace("%", "%%"))
        except sa.exc.IntegrityError as error:
            return str(error.orig)
    return ""


async def test_the_database_itself_refuses_what_must_never_be(database_url: str) -> None:
    async with open_world(database_url) as world:
        await traffic(world)

    fine = refusal(database_url, lambda _: "UPDATE payments SET update_time = update_time + 1")
    doubled = {
        name: refusal(database_url, lambda connection, copy=copy: copied(connection, *copy))  # type: ignore[misc]
        for name, copy in AGAIN.items()
    }
    beyond = {name: refusal(database_url, lambda _, wrong=wrong: wrong) for name, wrong in BEYOND.items()}  # type: ignore[misc]

    assert fine == ""
    assert [name for name, said in doubled.items() if "unique" not in said.lower()] == []
    assert [name for name, said in beyond.items() if name not in said] == []
