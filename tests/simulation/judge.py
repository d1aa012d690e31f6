"""What must hold in every world: by our database, by the provider's own books, and by what people were told."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from comptoir_server.app.ports import OperationKind
from comptoir_server.domain.operations import OperationState
from comptoir_server.domain.payments import PaymentState, RefundOrigin
from comptoir_server.providers.paypal import PaypalConfig
from comptoir_server.runtime import MICROSECONDS
from comptoir_server.standins.paypal.webhooks import ATTEMPTS_MAX
from comptoir_server.store.checks import check_connection
from comptoir_server.store.tables import CHECKOUTS, EVENTS, INBOX, WALLET_LINKS, WALLETS
from comptoir_server.vault import Vault
from tests.simulation.people import Market
from tests.simulation.plan import FORGETS, PLAIN_ACCOUNTS
from tests.simulation.servers import MASTER_KEY
from tests.simulation.world import World
from tests.support.reckoning import TAKEN, Account, Row, read_from, require_equal_movements

OPEN_HOLDS = {"CREATED", "PARTIALLY_CAPTURED"}
ENDED = {"CANCELED", "EXPIRED"}
MOVING = {"orders.capture", "orders.authorize", "authorizations.capture", "authorizations.void", "captures.refund"}
"""The provider's operations that move money, or release it."""

FORGETTING = {FORGETS, "clock.month"}

SETTLE_SECONDS = PaypalConfig("", "", "", "").settle_seconds

UNREAD = {401, 429}
"""Answers to requests that the provider did not act upon."""


TOUCHED_BY_THE_DATABASE = {"writers"}
"""Tables in which SQLite itself writes down the real time."""


def account_of(world: World) -> Account:
    """What our database holds about money now."""
    return read_from(world.disk.session.connection)


def books_of(world: World) -> dict[str, Any]:
    """What the provider holds."""
    answer = world.paypal.handle("GET", "/_standin/books", {}, {}, b"", world.clock.now())
    found: dict[str, Any] = json.loads(answer.body)
    return found


def undecided(world: World) -> list[str]:
    """Whatever is still to be found out, but for what only an operator can: the provider has dropped the order."""
    account = account_of(world)
    given_up = {one.payment_id for one in account.operations if _is_left_to_an_operator(world, one)}
    world.found.facts["left to an operator"] = len(given_up)
    operations = {one.id: one.payment_id for one in account.operations}
    wanted = [found for found in account.undecided if found not in given_up and operations.get(found) not in given_up]
    waiting = world.disk.session.connection.execute(INBOX.table.select().where(INBOX.table.c.state == "STORED"))
    travelling = [
        one for one in world.paypal.state.webhooks.deliveries if not one.delivered and one.attempts < ATTEMPTS_MAX
    ]
    return [
        *wanted,
        *_linking(world),
        *(f"webhook {row.event_type}" for row in waiting.all() if not _is_gone(world, json.loads(row.notice))),
        *(f"delivery {one.event.type}" for one in travelling),
    ]


def _is_gone(world: World, notice: dict[str, Any]) -> bool:
    """Whether it speaks of an order that nobody paid and that the provider has dropped: in a week it is foreign."""
    order = world.paypal.state.books.orders.get(notice["order_reference"])
    return order is not None and order.expired(world.clock.now())


def _linking(world: World) -> list[str]:
    """Links that are neither completed nor over, and tokens that are still to be deleted."""
    wallet, link = WALLETS.table, WALLET_LINKS.table
    open_links = link.select().where(sa.or_(link.c.state.like("PENDING%"), link.c.revoke_time > 0))
    connection = world.disk.session.connection
    links = [f"link {row.state}" for row in connection.execute(open_links).all()]
    return links + [f"token {row.state}" for row in connection.execute(wallet.select().where(wallet.c.revoke_time > 0))]


def _is_left_to_an_operator(world: World, operation: Row) -> bool:
    """In doubt for good: nobody paid the order, and after its time the provider knows it no more."""
    order = world.paypal.state.books.orders.get(operation.order_reference)
    charges = operation.kind in {OperationKind.CHARGE, OperationKind.AUTHORIZE}
    undone = operation.state != OperationState.DONE
    return charges and undone and order is not None and order.expired(world.clock.now())


def log_of(world: World, log_id: str) -> list[str]:
    """The ids of a log's events, in order."""
    side = "channel" if log_id.startswith("chn_") else "partner"
    statement = f"SELECT id FROM {EVENTS.name} WHERE {side}_id = ? ORDER BY {side}_position"
    rows = world.disk.session.raw.execute(statement, (log_id,))
    return [row[0] for row in rows.fetchall()]


def invariants(world: World) -> list[str]:
    """Every invariant that the database can decide, and is broken."""
    vault = Vault(MASTER_KEY, world.processes[0].runtime)
    report = check_connection(world.disk.session.connection, world.clock.now(), vault=vault)
    found = {finding.invariant.code: finding.broken for finding in report.findings}
    return [f"invariant {code}: {found[code][0]}" for code in report.broken]


def books(world: World, market: Market) -> list[str]:
    """Everything that the provider's books say about us."""
    account, truth = account_of(world), books_of(world)
    checkouts = {row.id: row for row in _checkouts(world)}
    wrong = _unequal(account, truth)
    wrong += _unasked(account, truth, market.consents)
    wrong += _twice(truth)
    wrong += _unwanted(world, account, truth, checkouts)
    wrong += _keys(world, account)
    wrong += _undone(account, checkouts)
    wrong += _hasty(world, account)
    wrong += _tokens(world, truth)
    return wrong


def _checkouts(world: World) -> list[Row]:
    rows = world.disk.session.connection.execute(CHECKOUTS.table.select())
    return list(rows.all())


def _unequal(account: Account, truth: dict[str, Any]) -> list[str]:
    try:
        require_equal_movements(account, truth)
    except AssertionError as error:
        return [f"C4 the provider's books and ours differ: {str(error).partition(chr(10))[0]}"]
    return []


def _unasked(account: Account, truth: dict[str, Any], consents: Mapping[tuple[str, int], int]) -> list[str]:
    """Money that moved, or is held, without a yes to this version and this total."""
    wrong = []
    moved = Counter[str]()
    taken = [one for one in truth["captures"] if one["status"] != "DECLINED"]
    held = [one for one in truth["authorizations"] if not one["captured"]]
    for one in (*taken, *held):
        moved[one["custom_id"]] += one["minor_units"]
    for payment_id, amount in moved.items():
        payment = account.payments.get(payment_id)
        if payment is None:
            wrong.append("C12 the provider charged for a payment that we do not know")
        elif consents.get((payment.checkout_id, payment.checkout_version), -1) < amount:
            wrong.append(f"C12 {amount} were charged without a yes to so much")
    return wrong


def _twice(truth: dict[str, Any]) -> list[str]:
    """Captures and refunds that were made more than once."""
    taken = [one for one in truth["captures"] if one["status"] in TAKEN]
    invoices = Counter(one["invoice_id"] for one in taken)
    charges = Counter(one["custom_id"] for one in taken if not one["authorization_id"])
    refunds = Counter(one["custom_id"] for one in truth["refunds"] if one["custom_id"] and one["status"] != "FAILED")
    wrong = []
    if any(count > 1 for count in charges.values()) or any(count > 1 for count in invoices.values()):
        wrong.append("C1 a payment was taken twice")
    if any(count > 1 for count in refunds.values()):
        wrong.append("C3 a refund was given back twice")
    if any(one["given_back"] > one["minor_units"] for one in taken):
        wrong.append("C3 more was given back than was taken")
    return wrong


def _unwanted(world: World, account: Account, truth: dict[str, Any], checkouts: Mapping[str, Row]) -> list[str]:
    """Money kept for a checkout that ended otherwise, and checkouts that were paid twice."""
    kept: defaultdict[str, set[str]] = defaultdict(set)
    for one in truth["captures"]:
        if one["status"] in TAKEN and one["given_back"] < one["minor_units"] and one["custom_id"] in account.payments:
            kept[account.payments[one["custom_id"]].checkout_id].add(one["custom_id"])
    for hold in truth["authorizations"]:
        if hold["status"] in OPEN_HOLDS and hold["custom_id"] in account.payments:
            kept[account.payments[hold["custom_id"]].checkout_id].add(hold["custom_id"])
    if "failed-refund" in world.plan.accounts:
        return []
    wrong = []
    for checkout_id, payments in kept.items():
        if len(payments) > 1:
            wrong.append("C1 a checkout was paid twice")
        if checkouts[checkout_id].state in ENDED:
            wrong.append(f"C8 money is kept for a checkout that is {checkouts[checkout_id].state}")
    return wrong


def _undone(account: Account, checkouts: Mapping[str, Row]) -> list[str]:
    """Payments that were undone though nobody had called their checkout off, and nothing had ended before."""
    for payment in account.payments.values():
        checkout = checkouts[payment.checkout_id]
        called_off = checkout.cancel_requested or checkout.state in ENDED
        ended = payment.state in {PaymentState.DECLINED, PaymentState.FAILED, PaymentState.EXPIRED}
        late = payment.reversal_reason.startswith("A capture")
        if payment.reversal_reason and not (called_off or ended or late):
            return [f"C8 a payment that was wanted was undone: {payment.state}, {checkout.state}"]
    return []


def _keys(world: World, account: Account) -> list[str]:
    """Each operation is sent under its own key, no more often than was counted before."""
    counted = {f"{one.id}:execute": one.sends for one in account.operations}
    sent = Counter(
        one["request_id"]
        for one in world.paypal.state.requests
        if one["operation"] in MOVING and one["status"] not in UNREAD
    )
    wrong = []
    if sent.keys() - counted.keys():
        wrong.append("C9 the provider was asked under a key that was not stored")
    if any(count > counted.get(key, count) for key, count in sent.items()):
        wrong.append("C9 an operation was sent more often than was counted")
    return wrong


def _hasty(world: World, account: Account) -> list[str]:
    """Absence is proof only once nothing can be on its way any more."""
    if any(kind.startswith("clock") for kind in world.plan.rates):
        return []
    absent = [one for one in account.operations if one.evidence == "look-up: absent"]
    hasty = any(one.update_time < one.last_send_time + SETTLE_SECONDS * MICROSECONDS for one in absent)
    return ["C7 absence was taken for proof while something could be on its way"] if hasty else []


def _tokens(world: World, truth: dict[str, Any]) -> list[str]:
    """Every permission that the provider keeps belongs to a wallet that can use it, unless it forgot what we asked."""
    if FORGETTING & world.plan.rates.keys():
        return []
    wallets = world.disk.session.connection.execute(WALLETS.table.select()).all()
    vault = Vault(MASTER_KEY, world.processes[0].runtime)
    ours = {vault.open_token(row.id, row.token_sealed) for row in wallets if row.token_sealed}
    theirs = {token["id"] for token in truth["payment_tokens"] if not token["deleted"]}
    if theirs - ours:
        return ["W4 the provider keeps a permission that no wallet of ours has"]
    active = {vault.open_token(row.id, row.token_sealed) for row in wallets if row.state == "ACTIVE"}
    return ["W4 an active wallet has a permission that the provider has not"] if active - theirs else []


def calm(world: World) -> list[str]:
    """What a world without faults must not need: look-ups, doubt, second sends, reversals.

    What somebody gave back by hand of what is owed has our own refund of it refused, and asked for anew.
    """
    if not world.plan.quiet or not set(PLAIN_ACCOUNTS).issuperset(world.plan.accounts):
        return []
    account = account_of(world)
    wrong = []
    by_hand = {one.payment_id for one in account.refunds.values() if one.origin == RefundOrigin.PROVIDER}
    alone = [one for one in account.operations if one.kind != OperationKind.REFUND or one.payment_id not in by_hand]
    if any(one.tries or one.sends > 1 for one in alone):
        wrong.append("calm: an operation was looked up or sent again")
    if any(one.evidence.startswith(("look-up", "lease")) for one in account.operations):
        wrong.append("calm: evidence was sought though nothing was lost")
    rows = world.disk.session.raw.execute(f"SELECT count(*) FROM {EVENTS.name} WHERE type LIKE '%doubt%'")
    if rows.fetchone()[0]:
        wrong.append("calm: somebody was told of doubt")
    return wrong


def content(world: World) -> str:
    """Everything in the database, for the trace."""
    raw = world.disk.session.raw
    tables = [row[0] for row in raw.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
    kept = [table for table in tables if table not in TOUCHED_BY_THE_DATABASE]
    return repr([raw.execute(f'SELECT * FROM "{table}"').fetchall() for table in kept])
