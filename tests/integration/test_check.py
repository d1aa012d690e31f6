"""`check`: clean after real traffic, and each invariant named when one row breaks it."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa

from comptoir_server.app import event_log, payments, wallets
from comptoir_server.app.ports import OutcomeKind
from comptoir_server.app.provisioning import provision_channel
from comptoir_server.domain.checkouts import CaptureMode
from comptoir_server.domain.money import Money
from comptoir_server.runtime import Runtime
from comptoir_server.store.checks import INVARIANTS, Moved, check_connection, check_database, compare_books
from comptoir_server.store.checks.storage import FOREIGN_IDS, REFERENCES
from comptoir_server.store.columns import metadata
from comptoir_server.vault import Vault
from tests.support.databases import database_url, new_postgresql, new_sqlite
from tests.support.providers import LOST_REQUEST, answering, declined
from tests.support.world import MASTER_KEY, World, open_world

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
    "L12": "UPDATE checkouts SET items = replace(items, '\"quantity\":1', '\"quantity\":2') "
    "WHERE id = (SELECT min(id) FROM checkouts WHERE state = 'CANCELED')",
    "L13": "UPDATE operations SET amount = 9007199254740993 WHERE kind = 'VOID'",
    "L14": "UPDATE postings SET account_id = (SELECT id FROM accounts WHERE kind = 'PLATFORM_FEES') WHERE rowid = "
    "(SELECT min(p.rowid) FROM postings p JOIN accounts a ON a.id = p.account_id JOIN journal j "
    "ON j.id = p.transaction_id WHERE a.kind = 'PARTNER_PAYABLE' AND j.effect = 'refund')",
    "L15": "UPDATE counters SET value = value + 1 WHERE name = 'journal.position'",
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
    "C13": "UPDATE operations SET create_time = 1 WHERE state = 'IN_DOUBT'",
    "C16": "UPDATE operations SET evidence = 'webhook:WH-never-kept' WHERE rowid = (SELECT min(rowid) FROM operations "
    "WHERE state = 'DONE')",
    "C17": "UPDATE operations SET amount = amount + 1 WHERE rowid = (SELECT min(rowid) FROM operations "
    "WHERE kind = 'CHARGE')",
    "C18": f"UPDATE payments SET pending_kind = 'VOID' WHERE id = {WAITING}",
    "C14": f"UPDATE checkouts SET expire_time = create_time WHERE id = {COMPLETED}",
    "C15": "UPDATE payments SET authorized = amount WHERE state = 'DECLINED'",
    "K7": f"UPDATE checkouts SET payment_ids = '[]' WHERE id = {COMPLETED}",
    "K1": f"UPDATE checkouts SET order_id = 'ord_gone' WHERE id = {COMPLETED}",
    "K2": f"UPDATE checkouts SET state = 'PROCESSING' WHERE id = {COMPLETED}",
    "K3": f"UPDATE payments SET amount = amount + 1 WHERE id = {CAPTURED}",
    "K4": f"UPDATE checkouts SET attempt_version = 9 WHERE id = {COMPLETED}",
    "K5": "UPDATE orders SET total = total + 1 WHERE refunded = 0",
    "K6": "UPDATE orders SET state = 'CANCELED' WHERE refunded = 0",
    "K8": "UPDATE checkouts SET partner_reference = 'same', partner_id = 'prt', state = 'OPEN' "
    "WHERE state IN ('CANCELED', 'OPEN')",
    "C20": 'UPDATE requests SET answer = replace(answer, \'"wallet_label":"\', \'"wallet_label":"x\') WHERE object_id '
    f"= {CAPTURED}",
    "C21": f"UPDATE requests SET answer = '' WHERE object_id = {CAPTURED}",
    "E1a": f"UPDATE payments SET state = 'EXPIRED' WHERE id = {CAPTURED}",
    "E1b": "UPDATE captures SET state = 'FAILED' WHERE rowid = (SELECT min(rowid) FROM captures)",
    "E1c": f"DELETE FROM events WHERE type = 'refund.succeeded' AND payload LIKE '%' || {REFUND} || '%'",
    "E1d": f"DELETE FROM events WHERE type = 'checkout.completed' AND payload LIKE '%' || {COMPLETED} || '%'",
    "E1e": "DELETE FROM events WHERE rowid = (SELECT min(rowid) FROM events WHERE type = 'order.opened')",
    "E1f": "DELETE FROM events WHERE rowid = (SELECT min(rowid) FROM events WHERE type = 'session.opened')",
    "E1g": "DELETE FROM events WHERE type = 'wallet_link.started'",
    "E1h": "DELETE FROM events WHERE type = 'wallet.linked'",
    "E2": "UPDATE events SET partner_position = partner_position + 1000 WHERE partner_position = 2",
    "E3": "UPDATE events SET channel_session_sequence = channel_session_sequence + 1000 "
    "WHERE channel_session_sequence = 2",
    "E4": "INSERT INTO consumers VALUES ('prt_x', 'bot', 5, 1)",
    "M1": "UPDATE messages SET sequence = sequence + 1000 WHERE sequence = 2",
    "M2": "UPDATE sessions SET message_count = message_count + 1",
    "M3": "INSERT INTO sessions SELECT * FROM sessions",
    "C19": "UPDATE events SET type = 'checkout.canceled', payload = replace(payload, '\"PROCESSING\"', '\"CANCELED\"') "
    "WHERE id = (SELECT min(id) FROM events WHERE type = 'checkout.processing')",
    "E5": 'UPDATE events SET payload = replace(payload, \'"statement_descriptor":"\', \'"statement_descriptor":"x\') '
    "WHERE id = (SELECT min(id) FROM events WHERE noun = 'checkout')",
    "E6": "UPDATE events SET (partner_id, partner_position, partner_session_sequence) = (SELECT partner_id, "
    "partner_position, partner_session_sequence FROM events AS other WHERE other.type = 'order.refunded' AND "
    "events.type <> other.type) WHERE type = 'order.refunded' "
    "OR id = (SELECT min(id) FROM events WHERE type = 'message.received')",
    "E7": "UPDATE events SET payload = (SELECT payload FROM events WHERE noun = 'message' ORDER BY id LIMIT 1) "
    "WHERE rowid = (SELECT max(rowid) FROM events WHERE noun = 'message')",
    "W1": "UPDATE users SET default_wallet_id = 'wal_gone'",
    "W2": "UPDATE wallet_links SET wallet_id = 'wal_gone' WHERE rowid = (SELECT min(rowid) FROM wallet_links)",
    "W5": f"UPDATE payments SET wallet_id = 'wal_gone' WHERE id = {CAPTURED}",
    "A3": f"UPDATE requests SET answer = 'x' WHERE object_id = {WAITING}",
    "A4": f"UPDATE requests SET object_id = 'pay_gone' WHERE object_id = {WAITING}",
    "W3": "UPDATE wallet_links SET code_hash = 'x'",
    "W4": "UPDATE wallets SET token_sealed = x''",
    "W6": "UPDATE wallets SET state = 'UNLINKED', revoke_time = 1",
    "A1": "UPDATE operations SET currency_code = 'EUR' WHERE rowid = (SELECT min(rowid) FROM operations)",
    "A5": "UPDATE events SET bot_id = '' WHERE rowid = (SELECT min(rowid) FROM events WHERE noun = 'payment')",
    "A6": "UPDATE api_keys SET bot_id = (SELECT id FROM bots) WHERE owner_id LIKE 'chn%'",
    "A2": "UPDATE partners SET support_contact = '4111 1111 1111 1111'",
    "A7": 'UPDATE events SET payload = replace(payload, \'"token_hash":"\', \'"token_hash":"x\') '
    "WHERE noun = 'wallet'",
    "S1": "UPDATE operations SET wallet_id = 'wal_gone' WHERE kind = 'VOID'",
    "S2": "UPDATE orders SET adjustments = '[{' WHERE rowid = (SELECT min(rowid) FROM orders)",
    "S3": "UPDATE partners SET fee_basis_points = 5000",
    "S4": "INSERT INTO api_keys SELECT 'key_again', owner_id, bot_id, secret_hash, hint, scopes, state, create_time, "
    "expire_time FROM api_keys LIMIT 1",
    "A8": "UPDATE users SET display_name_sealed = channel_user_sealed",
}
"""By the code of the invariant: what one row would have to be for it to be broken."""

WARNINGS = {"C13"}
"""Invariants that say what an operator should look at, and break nothing."""

NAMED_ALONE = frozenset(
    "L12 L13 L14 L15 C13 C15 C16 C17 C18 C19 C20 C21 K7 E5 E6 E7 W3 W4 A1 A2 A5 A6 A7 A8 S1 S2 S3 S4".split()
)
"""Invariants whose corruption above breaks no other; most rows are kept in several places, and then several notice."""


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
    await provision_channel(world.deps, "Messenger")
    listed = await event_log.list_events(
        world.deps, world.by_partner("ListEvents"), cursor="", type="", session_id="", page_size=10
    )
    await event_log.ack_events(
        world.deps, world.by_partner("AckEvents"), consumer="bookings", cursor=listed["next_cursor"]
    )
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


def driver_url(url: str) -> str:
    """The address of a database in PostgreSQL as SQLAlchemy wants it."""
    return url.replace("postgresql://", "postgresql+psycopg://", 1)


def test_every_invariant_has_a_corruption_that_breaks_it() -> None:
    assert [invariant.code for invariant in INVARIANTS] == list(CORRUPTIONS)


def test_a_payment_that_failed_may_have_money_that_the_provider_failed_to_give_back(
    clean: Path, tmp_path: Path
) -> None:
    in_part = "SELECT payment_id FROM refunds WHERE payment_id IN (SELECT id FROM payments WHERE captured <> refunded)"
    url = corrupted(clean, tmp_path, f"UPDATE payments SET state = 'FAILED' WHERE id IN ({in_part})")
    assert "C5" in check_database(url).broken

    with sqlite3.connect(tmp_path / "copy.db") as connection:
        connection.execute(f"UPDATE refunds SET state = 'FAILED' WHERE payment_id IN ({in_part})")
    connection.close()

    assert "C5" not in check_database(url).broken


def test_a_copy_that_nobody_corrupted_is_clean(clean: Path, tmp_path: Path) -> None:
    copy = corrupted(clean, tmp_path, "UPDATE sessions SET locale = 'en-US'")
    report = check_database(copy, vault=Vault(MASTER_KEY, Runtime()))

    assert (report.broken, report.warnings) == ((), ())


async def test_real_traffic_breaks_nothing_and_every_invariant_has_rows(database_url: str) -> None:
    async with open_world(database_url) as world:
        await traffic(world)
        report = check_database(database_url, vault=world.deps.vault)

    assert (report.broken, report.warnings, report.failure) == ((), (), "")
    assert report.exit_code == 0
    assert [finding.invariant for finding in report.findings] == list(INVARIANTS)
    assert {finding.invariant.code for finding in report.findings if not finding.examined} == set()


@pytest.fixture(scope="module")
def unconstrained() -> sa.Engine:
    """A database in PostgreSQL with every table and no constraint."""
    engine = sa.create_engine(driver_url(new_postgresql()), poolclass=sa.NullPool)
    bare = sa.MetaData()
    for table in metadata.sorted_tables:
        sa.Table(table.name, bare, *(sa.Column(column.name, column.type) for column in table.columns))
    bare.create_all(engine)
    return engine


def move(copy: str, engine: sa.Engine) -> None:
    """Puts all rows of a file of SQLite in the place of what the other database holds."""
    with sa.create_engine(copy, poolclass=sa.NullPool).connect() as source, engine.begin() as target:
        for table in metadata.sorted_tables:
            target.execute(table.delete())
            rows = [dict(row._mapping) for row in source.execute(sa.select(*table.columns))]
            if rows:
                target.execute(table.insert(), rows)


@pytest.mark.parametrize("code", CORRUPTIONS)
def test_a_corrupted_row_is_named_by_its_invariant_on_both_databases(
    clean: Path, tmp_path: Path, unconstrained: sa.Engine, code: str
) -> None:
    copy, vault = corrupted(clean, tmp_path, CORRUPTIONS[code]), Vault(MASTER_KEY, Runtime())
    move(copy, unconstrained)

    report = check_database(copy, vault=vault)
    with unconstrained.connect() as connection:
        there = check_connection(connection, Runtime().now(), vault=vault)

    assert code in (*report.broken, *report.warnings)
    if code in NAMED_ALONE:
        assert (*report.broken, *report.warnings) == (code,)
    assert report.exit_code == (0 if code in WARNINGS else 1)
    found = [(finding.invariant.code, finding.examined, sorted(finding.broken)) for finding in report.findings]
    assert found == [(finding.invariant.code, finding.examined, sorted(finding.broken)) for finding in there.findings]


async def test_on_postgresql_a_corrupted_row_is_named_too() -> None:
    url = new_postgresql()
    async with open_world(url) as world:
        await traffic(world)
    with sa.create_engine(driver_url(url), poolclass=sa.NullPool).begin() as connection:
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


@pytest.mark.parametrize(
    "secret",
    [
        "cmp_test_0123456789abcdefghijklmnopqrstuvwxyz",
        "see cmp_live_0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ!",
        "Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ1c3IifQ.c2lnbmF0dXJlLW9mLWl0",
        "card 4111-1111-1111-1111",
        "8kk8451t-a-token",
    ],
)
@pytest.mark.parametrize("column", ["partners.support_contact", "checkouts.metadata", "events.payload"])
def test_a_secret_in_plain_text_is_noticed_wherever_it_stands(
    clean: Path, tmp_path: Path, column: str, secret: str
) -> None:
    copy = corrupted(clean, tmp_path, "UPDATE sessions SET locale = 'en-US'")
    table, name = column.split(".")
    vault = Vault(MASTER_KEY, Runtime())
    text = secret if name == "support_contact" else json.dumps({"note": ["some", secret]})
    with sqlite3.connect(copy.removeprefix("sqlite:///")) as connection:
        [(wallet_id,)] = connection.execute("SELECT id FROM wallets").fetchall()
        sealed = vault.seal_token(wallet_id, "8kk8451t-a-token")
        connection.execute("UPDATE wallets SET token_sealed = ?", (sealed,))
        connection.execute(f"UPDATE {table} SET {name} = ? WHERE rowid = 1", (text,))
    connection.close()

    report = check_database(copy, vault=vault)

    found = next(finding for finding in report.findings if finding.invariant.code == "A2")
    assert len(found.broken) == 1
    assert secret not in found.broken[0]


@pytest.mark.parametrize("name", ["ticket_number", "barcode", "item_reference", "booking_reference"])
def test_what_may_look_like_a_card_number_is_none(clean: Path, tmp_path: Path, name: str) -> None:
    document = json.dumps({name: "4111111111111111"})
    copy = corrupted(clean, tmp_path, f"UPDATE checkouts SET metadata = '{document}' WHERE rowid = 1")

    assert "A2" not in check_database(copy).broken


def test_an_event_that_cannot_be_read_is_named_and_the_rest_is_checked_all_the_same(
    clean: Path, tmp_path: Path
) -> None:
    report = check_database(corrupted(clean, tmp_path, "UPDATE events SET payload = '{' WHERE noun = 'wallet'"))

    assert set(report.broken) == {"E1h", "E5", "E7"}
    assert report.exit_code == 1


def test_every_reference_of_every_table_is_known_to_lead_somewhere() -> None:
    names = {column.name for table in metadata.sorted_tables for column in table.columns if column.name.endswith("_id")}

    assert names - FOREIGN_IDS == set(REFERENCES)
