"""`check`: clean after real traffic, and each invariant named when one row breaks it."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa

from comptoir_server.app import payments, wallets
from comptoir_server.app.ports import OutcomeKind
from comptoir_server.domain.checkouts import CaptureMode
from comptoir_server.domain.money import Money
from comptoir_server.store.checks import INVARIANTS, Moved, check_database, compare_books
from tests.support.databases import database_url, new_postgresql, new_sqlite
from tests.support.providers import LOST_REQUEST, answering, declined
from tests.support.world import World, open_world

__all__ = ["database_url"]

REFUND = "(SELECT id FROM refunds WHERE state = 'SUCCEEDED' ORDER BY id LIMIT 1)"
CAPTURE = "(SELECT id FROM captures WHERE state = 'SUCCEEDED' ORDER BY id LIMIT 1)"
CAPTURED = "(SELECT id FROM payments WHERE state = 'CAPTURED' AND refunded = 0 ORDER BY id LIMIT 1)"
COMPLETED = "(SELECT id FROM checkouts WHERE state = 'COMPLETED' ORDER BY id LIMIT 1)"
WAITING = "(SELECT id FROM payments WHERE state = 'PROCESSING' LIMIT 1)"

CORRUPTIONS: dict[str, str] = {
    "L1": "UPDATE postings SET minor_units = minor_units + 1 WHERE rowid = (SELECT min(p.rowid) FROM postings p "
    "JOIN accounts a ON a.id = p.account_id WHERE a.kind = 'PARTNER_PAYABLE')",
    "L2": "UPDATE journal SET position = position + 100 WHERE position = 1",
    "L2b": "UPDATE postings SET line = 7 WHERE rowid = (SELECT min(rowid) FROM postings WHERE line = 1)",
    "L4": "UPDATE postings SET currency_code = 'EUR' WHERE rowid = (SELECT min(rowid) FROM postings)",
    "L5": "UPDATE postings SET account_id = 'acc_gone' WHERE rowid = (SELECT min(p.rowid) FROM postings p "
    "JOIN accounts a ON a.id = p.account_id WHERE a.kind = 'PLATFORM_FEES')",
    "L6": "INSERT INTO journal SELECT 'txn_again', object_id, effect, currency_code, "
    "(SELECT max(position) + 1 FROM journal), create_time FROM journal LIMIT 1",
    "L7": f"UPDATE captures SET amount = amount + 1 WHERE id = {CAPTURE}",
    "L8": f"UPDATE refunds SET amount = amount + 1 WHERE id = {REFUND}",
    "L10": "UPDATE journal SET object_id = 'cap_gone' WHERE rowid = (SELECT min(rowid) FROM journal)",
    "L11": "UPDATE accounts SET key = 'PLATFORM_FEES::EUR' WHERE kind = 'PLATFORM_FEES'",
    "C1": f"INSERT INTO payments SELECT * FROM payments WHERE id = {CAPTURED}",
    "C1b": f"INSERT INTO payments SELECT * FROM payments WHERE id = {WAITING}",
    "C2": f"UPDATE payments SET authorized = captured - 1 WHERE id = {CAPTURED}",
    "C3": f"UPDATE payments SET refunded = captured + 1 WHERE id = {CAPTURED}",
    "C3b": f"UPDATE captures SET refunded = amount + 1 WHERE id = {CAPTURE}",
    "C4": f"UPDATE payments SET captured = captured + 1, authorized = authorized + 1 WHERE id = {CAPTURED}",
    "C4b": "UPDATE payments SET capturing = 1 WHERE state = 'PARTIALLY_CAPTURED'",
    "C4c": "UPDATE payments SET refunded = refunded - 1 WHERE refunded > 0 AND captured > refunded",
    "C4d": f"UPDATE payments SET refunding = 1 WHERE id = {CAPTURED}",
    "C4e": f"UPDATE captures SET refunding = 1 WHERE id = {CAPTURE}",
    "C5": f"UPDATE payments SET state = 'DECLINED' WHERE id = {CAPTURED}",
    "C6": f"UPDATE payments SET pending_operation_id = '' WHERE id = {WAITING}",
    "C7": "UPDATE operations SET evidence = '' WHERE rowid = (SELECT min(rowid) FROM operations WHERE state = 'DONE')",
    "C8": "UPDATE payments SET captured = captured + 1 WHERE reversal_reason <> '' AND captured > 0",
    "C9": f"UPDATE operations SET state = 'DONE', evidence = 'nothing', outcome = 'CAPTURED' WHERE "
    f"object_id = {WAITING}",
    "C10": "UPDATE operations SET state = 'IN_DOUBT', evidence = '' WHERE state = 'DONE' AND kind = 'REFUND'",
    "C11": f"UPDATE payments SET request_key = (SELECT request_key FROM payments WHERE id = "
    f"{CAPTURED}) WHERE id = {WAITING}",
    "C12": "UPDATE operations SET sends = 0 WHERE state = 'IN_DOUBT'",
    "K1": f"UPDATE checkouts SET order_id = 'ord_gone' WHERE id = {COMPLETED}",
    "K2": f"UPDATE checkouts SET state = 'PROCESSING' WHERE id = {COMPLETED}",
    "K3": f"UPDATE payments SET amount = amount + 1 WHERE id = {CAPTURED}",
    "K4": f"UPDATE checkouts SET attempt_version = 9 WHERE id = {COMPLETED}",
    "K5": "UPDATE orders SET total = total + 1 WHERE refunded = 0",
    "K6": "UPDATE orders SET state = 'CANCELED' WHERE refunded = 0",
    "K7": f"UPDATE checkouts SET payment_ids = '[]' WHERE id = {COMPLETED}",
    "K8": "UPDATE checkouts SET partner_reference = 'same', partner_id = 'prt', state = 'OPEN' "
    "WHERE state IN ('CANCELED', 'OPEN')",
    "E1a": f"UPDATE payments SET state = 'EXPIRED' WHERE id = {CAPTURED}",
    "E1b": "UPDATE captures SET state = 'FAILED' WHERE rowid = (SELECT min(rowid) FROM captures)",
    "E1c": f"DELETE FROM events WHERE type = 'refund.succeeded' AND log_id LIKE 'prt%' AND payload "
    f"LIKE '%' || {REFUND} || '%'",
    "E1d": f"DELETE FROM events WHERE type = 'checkout.completed' AND log_id LIKE 'chn%' AND payload "
    f"LIKE '%' || {COMPLETED} || '%'",
    "E1e": "DELETE FROM events WHERE rowid = (SELECT min(rowid) FROM events WHERE type = 'order.opened')",
    "E1f": "DELETE FROM events WHERE rowid = (SELECT min(rowid) FROM events WHERE type = 'session.opened')",
    "E1g": "DELETE FROM events WHERE type = 'wallet_link.started'",
    "E1h": "DELETE FROM events WHERE type = 'wallet.linked'",
    "E2": "UPDATE events SET position = position + 1000 WHERE position = 2 AND log_id LIKE 'prt%'",
    "E3": "UPDATE events SET session_sequence = session_sequence + 1000 WHERE session_sequence = 2 "
    "AND log_id LIKE 'prt%'",
    "E4": "INSERT INTO consumers VALUES ('prt_x', 'bot', 5, 1)",
    "M1": "UPDATE messages SET sequence = sequence + 1000 WHERE sequence = 2",
    "M2": "UPDATE sessions SET message_count = message_count + 1",
    "M3": "INSERT INTO sessions SELECT * FROM sessions",
    "W1": "UPDATE users SET default_wallet_id = 'wal_gone'",
    "W2": "UPDATE wallet_links SET wallet_id = 'wal_gone' WHERE rowid = (SELECT min(rowid) FROM wallet_links)",
    "W3": "UPDATE wallet_links SET state = 'FAILED', token_sealed = x'01' WHERE rowid = (SELECT "
    "min(rowid) FROM wallet_links)",
    "W4": "UPDATE wallets SET token_sealed = x''",
    "W5": f"UPDATE payments SET wallet_id = 'wal_gone' WHERE id = {CAPTURED}",
    "A1": f"UPDATE payments SET partner_id = 'prt_other' WHERE id = {CAPTURED}",
    "A2": "UPDATE events SET payload = payload || 'cmp_test_x' WHERE rowid = (SELECT max(rowid) FROM events "
    "WHERE noun = 'message')",
    "A3": f"UPDATE requests SET answer = 'x' WHERE object_id = {WAITING}",
    "A4": f"UPDATE requests SET object_id = 'pay_gone' WHERE object_id = {WAITING}",
}
"""By the code of the invariant: what one row would have to be for it to be broken."""

NOT_IN_THE_TRAFFIC = {"E4"}
"""Invariants about rows that the traffic below does not make."""


async def traffic(world: World) -> None:
    """A purchase of every kind: paid, declined, given back, held, taken in part, cancelled, in doubt."""
    first = await world.checkout(partner_reference="booking-1")
    await world.confirm(first)
    second = await world.checkout()
    world.provider.replies.append(declined())
    await world.confirm(second)
    paid = (await world.confirm(await world.now_checkout(second.id)))["payment"]
    await world.refund(paid.id, 8_000)
    whole = (await world.confirm(await world.checkout()))["payment"]
    await world.refund(whole.id)
    held = (await world.confirm(await world.checkout(capture_mode=CaptureMode.MANUAL)))["payment"]
    part = Money(5_000, "USD")
    await payments.create_capture(
        world.deps, world.by_partner("CreateCapture"), payment_id=held.id, amount=part, final=False
    )
    released = (await world.confirm(await world.checkout(capture_mode=CaptureMode.MANUAL)))["payment"]
    await payments.void_payment(world.deps, world.by_partner("VoidPayment"), payment_id=released.id)
    await world.cancel(await world.checkout())
    await _called_off_while_being_paid(world)
    call = world.by_user("StartWalletLink")
    await wallets.start_wallet_link(world.deps, call, provider="paypal", session_id="")
    world.provider.replies.append(LOST_REQUEST)
    await world.confirm(await world.checkout(), seconds=0.2)


async def _called_off_while_being_paid(world: World) -> None:
    checkout = await world.checkout()
    world.provider.replies.append(answering(OutcomeKind.PENDING))
    await world.confirm(checkout, seconds=0.2)
    await world.cancel(checkout)
    await world.work(6)


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database file after the traffic, with nobody in it."""
    url = new_sqlite(tmp_path_factory.mktemp("check"))

    async def make() -> None:
        async with open_world(url) as world:
            await traffic(world)

    asyncio.run(make())
    return Path(url.removeprefix("sqlite:///"))


def corrupted(clean: Path, folder: Path, statement: str) -> str:
    """The address of a copy without any constraint, on which `statement` changed something."""
    copy = folder / "copy.db"
    with sqlite3.connect(copy) as connection:
        connection.execute("ATTACH ? AS clean", (str(clean),))
        names = connection.execute("SELECT name FROM clean.sqlite_master WHERE type = 'table'").fetchall()
        for (name,) in names:
            connection.execute(f"CREATE TABLE {name} AS SELECT * FROM clean.{name}")
        connection.commit()
        assert connection.execute(statement).rowcount > 0, "the corruption changed nothing"
    connection.close()
    return f"sqlite:///{copy}"


@pytest.mark.parametrize("code", CORRUPTIONS)
def test_a_corrupted_row_is_named_by_its_invariant(clean: Path, tmp_path: Path, code: str) -> None:
    report = check_database(corrupted(clean, tmp_path, CORRUPTIONS[code]))

    assert code in report.broken
    assert report.exit_code == 1


def test_every_invariant_has_a_corruption_that_breaks_it() -> None:
    assert [invariant.code for invariant in INVARIANTS] == list(CORRUPTIONS)


def test_a_copy_that_nobody_corrupted_is_clean(clean: Path, tmp_path: Path) -> None:
    report = check_database(corrupted(clean, tmp_path, "UPDATE sessions SET locale = 'en-US'"))

    assert report.broken == ()


async def test_real_traffic_breaks_nothing_and_every_invariant_has_rows(database_url: str) -> None:
    async with open_world(database_url) as world:
        await traffic(world)
        report = check_database(database_url)

    assert report.broken == ()
    assert report.exit_code == 0
    empty = {finding.invariant.code for finding in report.findings if not finding.examined}
    assert empty == NOT_IN_THE_TRAFFIC


async def test_on_postgresql_a_corrupted_row_is_named_too() -> None:
    url = new_postgresql()
    async with open_world(url) as world:
        await traffic(world)
    engine = sa.create_engine(url.replace("postgresql://", "postgresql+psycopg://", 1), poolclass=sa.NullPool)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE postings SET minor_units = minor_units + 1 WHERE line = 0"))

    report = check_database(url)

    assert {"L1", "L7"} <= set(report.broken)
    assert report.exit_code == 1


def test_a_database_that_is_not_there_cannot_be_checked(tmp_path: Path) -> None:
    report = check_database(f"sqlite:///{tmp_path}/no/such.db")

    assert report.exit_code == 2
    assert "cannot be opened" in report.failure


async def test_the_books_of_the_provider_are_compared_both_ways(database_url: str) -> None:
    async with open_world(database_url) as world:
        payment = (await world.confirm(await world.checkout()))["payment"]
        ours = Moved("capture", payment.reference, 24_000, "USD")
        theirs = Moved("capture", "elsewhere", 1, "USD")

        assert compare_books(database_url, [ours]) == []
        assert compare_books(database_url, [theirs]) == [
            "the provider has a capture elsewhere of 1 USD, we have not",
            f"we have a capture {payment.reference} of 24000 USD, the provider has not",
        ]
