"""The tables: a column for each field of a record, and CHECKs and unique keys for what must never happen.

Relations bind a table to its record and name the keys by which works may load it. Their order is the order
in which rows are inserted, so that a parent is there before its children.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from comptoir_server.domain import checkouts as c
from comptoir_server.domain import events as e
from comptoir_server.domain import (
    inbox,
    ledger,
    operations,
    orders,
    partners,
    payments,
    requests,
    sessions,
    users,
    wallets,
)
from comptoir_server.store.columns import check, index, metadata, table
from comptoir_server.store.relation import Id, Relation

_live = "state IN ('PROCESSING', 'REQUIRES_ACTION')"
_successful = "state IN ('AUTHORIZED', 'PARTIALLY_CAPTURED', 'CAPTURED', 'VOIDED', 'EXPIRED')"

settings_table = sa.Table(
    "settings",
    metadata,
    sa.Column("name", Id(), primary_key=True),
    sa.Column("value", Id(), nullable=False),
    sqlite_strict=True,
)
"""What the database itself is: its mode (test or live), written by `migrate`."""

PARTNERS: Relation[partners.Partner] = Relation(
    partners.Partner,
    table("partners", partners.Partner, ("id",), check("partners_fee", "fee_basis_points BETWEEN 0 AND 3000")),
    key="id",
)
CHANNELS: Relation[partners.Channel] = Relation(
    partners.Channel, table("channels", partners.Channel, ("id",)), key="id"
)
BOTS: Relation[partners.Bot] = Relation(
    partners.Bot,
    table(
        "bots",
        partners.Bot,
        ("id",),
        sa.ForeignKeyConstraint(["partner_id"], ["partners.id"]),
        index("bots_by_partner", "partner_id"),
    ),
    key="id",
    parents={"by_partner": ("partner_id",)},
)
KEYS: Relation[partners.ApiKey] = Relation(
    partners.ApiKey,
    table(
        "api_keys",
        partners.ApiKey,
        ("id",),
        index("api_keys_by_secret", "secret_hash", unique=True),
        index("api_keys_by_owner", "owner_id", "id"),
    ),
    key="id",
    unique={"by_secret": ("secret_hash",)},
)
USERS: Relation[users.User] = Relation(
    users.User,
    table(
        "users",
        users.User,
        ("id",),
        sa.ForeignKeyConstraint(["channel_id"], ["channels.id"]),
        index("users_by_channel_user", "channel_id", "channel_user_hash", unique=True),
    ),
    key="id",
    unique={"by_channel_user": ("channel_id", "channel_user_hash")},
    claim=True,
)
BOT_USERS: Relation[users.BotUser] = Relation(
    users.BotUser,
    table(
        "bot_users",
        users.BotUser,
        ("id",),
        sa.ForeignKeyConstraint(["bot_id"], ["bots.id"]),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"]),
        index("bot_users_by_bot_and_user", "bot_id", "user_id", unique=True),
    ),
    key="id",
    unique={"by_bot_and_user": ("bot_id", "user_id")},
    claim=True,
)
SESSIONS: Relation[sessions.Session] = Relation(
    sessions.Session,
    table(
        "sessions",
        sessions.Session,
        ("id",),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"]),
        index("sessions_one_open", "bot_id", "user_id", unique=True, where="state = 'OPEN'"),
        index("sessions_by_user", "user_id", "id"),
        index("sessions_by_partner", "partner_id", "id"),
        index("sessions_by_bot", "bot_id", "id"),
        index("sessions_by_channel", "channel_id", "id"),
        check("sessions_count", "message_count >= 0"),
    ),
    key="id",
)
MESSAGES: Relation[sessions.Message] = Relation(
    sessions.Message,
    table(
        "messages",
        sessions.Message,
        ("id",),
        sa.ForeignKeyConstraint(["session_id"], ["sessions.id"]),
        index("messages_by_session", "session_id", "sequence", unique=True),
    ),
    key="id",
)
MARKETS: Relation[wallets.Market] = Relation(
    wallets.Market, table("markets", wallets.Market, ("market", "provider")), key=("market", "provider"), claim=True
)
WALLET_LINKS: Relation[wallets.WalletLink] = Relation(
    wallets.WalletLink,
    table(
        "wallet_links",
        wallets.WalletLink,
        ("id",),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"]),
        index("wallet_links_by_url", "url_hash", unique=True),
        index("wallet_links_by_user", "user_id", "state"),
        index("wallet_links_to_expire", "expire_time", where="state IN ('PENDING_APPROVAL', 'PENDING_CONFIRMATION')"),
        index("wallet_links_to_revoke", "revoke_time", where="revoke_time > 0"),
        check("wallet_links_tries", f"tries BETWEEN 0 AND {wallets.LINK_TRIES}"),
        check("wallet_links_completed", "(state = 'COMPLETED') = (wallet_id <> '')"),
    ),
    key="id",
    unique={"by_url": ("url_hash",)},
    parents={"by_user": ("user_id", "state")},
)
WALLETS: Relation[wallets.Wallet] = Relation(
    wallets.Wallet,
    table(
        "wallets",
        wallets.Wallet,
        ("id",),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"]),
        index("wallets_by_user", "user_id", "id"),
        index("wallets_by_token", "token_hash"),
        index("wallets_to_revoke", "revoke_time", where="revoke_time > 0"),
    ),
    key="id",
    parents={"by_user": ("user_id",), "by_token": ("token_hash",)},
)
CHECKOUTS: Relation[c.Checkout] = Relation(
    c.Checkout,
    table(
        "checkouts",
        c.Checkout,
        ("id",),
        sa.ForeignKeyConstraint(["session_id"], ["sessions.id"]),
        index(
            "checkouts_one_reference",
            "partner_id",
            "partner_reference",
            unique=True,
            where="partner_reference <> '' AND state NOT IN ('CANCELED', 'EXPIRED')",
        ),
        index("checkouts_by_reference", "partner_id", "partner_reference", "id"),
        index("checkouts_by_partner", "partner_id", "id"),
        index("checkouts_by_session", "session_id", "id"),
        index("checkouts_by_user", "user_id", "id"),
        index("checkouts_by_channel", "channel_id", "id"),
        index("checkouts_to_expire", "expire_time", where="state IN ('OPEN', 'REQUIRES_ACTION')"),
        check("checkouts_total", "total > 0"),
        check("checkouts_version", "version >= 1 AND attempt_version BETWEEN 0 AND version"),
        check("checkouts_order", "(state = 'COMPLETED') = (order_id <> '')"),
    ),
    key="id",
    parents={"by_reference": ("partner_id", "partner_reference")},
    claim="by_reference",
)
PAYMENTS: Relation[payments.Payment] = Relation(
    payments.Payment,
    table(
        "payments",
        payments.Payment,
        ("id",),
        sa.ForeignKeyConstraint(["checkout_id"], ["checkouts.id"]),
        sa.ForeignKeyConstraint(["wallet_id"], ["wallets.id"]),
        sa.UniqueConstraint("request_key", name="payments_one_request"),
        sa.UniqueConstraint("checkout_id", "checkout_version", name="payments_one_version"),
        index("payments_one_live", "checkout_id", unique=True, where=_live),
        index("payments_one_successful", "checkout_id", unique=True, where=_successful),
        index("payments_by_checkout", "checkout_id", "id"),
        index("payments_by_user", "user_id", "id"),
        index("payments_by_partner", "partner_id", "id"),
        index("payments_by_channel", "channel_id", "id"),
        index("payments_by_order", "provider", "order_reference", where="order_reference <> ''"),
        index("payments_in_doubt", "id", where="pending_state = 'IN_DOUBT'"),
        check("payments_amount", "amount > 0"),
        check("payments_captured", "captured >= 0 AND capturing >= 0 AND authorized >= 0"),
        check("payments_within_authorization", "captured + capturing <= authorized"),
        check("payments_refunded", "refunded >= 0 AND refunding >= 0"),
        check("payments_refund_within_capture", "refunded + refunding <= captured"),
        check(
            "payments_pending",
            "(pending_operation_id = '') = (pending_kind = '') AND (pending_kind = '') = (pending_state = '')",
        ),
    ),
    key="id",
    parents={"by_checkout": ("checkout_id",), "by_order": ("provider", "order_reference")},
)
CAPTURES: Relation[payments.Capture] = Relation(
    payments.Capture,
    table(
        "captures",
        payments.Capture,
        ("id",),
        sa.ForeignKeyConstraint(["payment_id"], ["payments.id"]),
        sa.UniqueConstraint("request_key", name="captures_one_request"),
        index("captures_by_payment", "payment_id", "id"),
        index("captures_one_reference", "payment_id", "reference", unique=True, where="reference <> ''"),
        check("captures_amount", "amount > 0"),
        check("captures_refunded", "refunded >= 0 AND refunding >= 0"),
        check("captures_refund_within_capture", "refunded + refunding <= amount"),
    ),
    key="id",
    parents={"by_payment": ("payment_id",)},
)
REFUNDS: Relation[payments.Refund] = Relation(
    payments.Refund,
    table(
        "refunds",
        payments.Refund,
        ("id",),
        sa.ForeignKeyConstraint(["capture_id"], ["captures.id"]),
        sa.UniqueConstraint("request_key", name="refunds_one_request"),
        index("refunds_by_payment", "payment_id", "id"),
        check("refunds_amount", "amount > 0"),
    ),
    key="id",
    parents={"by_payment": ("payment_id",)},
)
OPERATIONS: Relation[operations.Operation] = Relation(
    operations.Operation,
    table(
        "operations",
        operations.Operation,
        ("id",),
        sa.ForeignKeyConstraint(["payment_id"], ["payments.id"]),
        index("operations_due", "next_time", where="state <> 'DONE'"),
        index("operations_by_object", "object_id"),
        check("operations_amount", "amount >= 0"),
        check("operations_evidence", "(state = 'DONE') = (evidence <> '')"),
    ),
    key="id",
    parents={"by_object": ("object_id",)},
)
ORDERS: Relation[orders.Order] = Relation(
    orders.Order,
    table(
        "orders",
        orders.Order,
        ("id",),
        sa.UniqueConstraint("checkout_id", name="orders_one_checkout"),
        sa.ForeignKeyConstraint(["checkout_id"], ["checkouts.id"]),
        index("orders_by_user", "user_id", "id"),
        index("orders_by_partner", "partner_id", "id"),
        index("orders_by_reference", "partner_id", "partner_reference", "id"),
        index("orders_by_channel", "channel_id", "id"),
        check("orders_refunded", "refunded BETWEEN 0 AND total"),
    ),
    key="id",
    unique={"by_checkout": ("checkout_id",)},
)
ACCOUNTS: Relation[ledger.Account] = Relation(
    ledger.Account,
    table(
        "accounts",
        ledger.Account,
        ("id",),
        index("accounts_by_key", "key", unique=True),
        index("accounts_by_partner", "partner_id", "id"),
    ),
    key="id",
    unique={"by_key": ("key",)},
    claim=True,
)
JOURNAL: Relation[ledger.JournalTransaction] = Relation(
    ledger.JournalTransaction,
    table(
        "journal",
        ledger.JournalTransaction,
        ("id",),
        sa.UniqueConstraint("object_id", "effect", name="journal_one_effect"),
        sa.UniqueConstraint("position", name="journal_one_position"),
    ),
    key="id",
    sequences={"position": ()},
)
POSTINGS: Relation[ledger.Posting] = Relation(
    ledger.Posting,
    table(
        "postings",
        ledger.Posting,
        ("transaction_id", "line"),
        sa.ForeignKeyConstraint(["transaction_id"], ["journal.id"]),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"]),
        index("postings_by_account", "account_id", "transaction_id"),
        check("postings_amount", "minor_units <> 0"),
    ),
    key=("transaction_id", "line"),
)
REQUESTS: Relation[requests.Request] = Relation(
    requests.Request,
    table(
        "requests",
        requests.Request,
        ("key",),
        index("requests_by_object", "object_id"),
        index("requests_by_age", "create_time"),
    ),
    key="key",
    parents={"by_object": ("object_id",)},
    claim=True,
)
INBOX: Relation[inbox.Delivery] = Relation(
    inbox.Delivery,
    table(
        "inbox",
        inbox.Delivery,
        ("provider", "event_id"),
        index("inbox_due", "next_time", where="state = 'STORED'"),
    ),
    key=("provider", "event_id"),
    claim=True,
)
CONSUMERS: Relation[e.Consumer] = Relation(
    e.Consumer, table("consumers", e.Consumer, ("log_id", "name")), key=("log_id", "name"), claim=True
)
EVENTS: Relation[e.Event] = Relation(
    e.Event,
    table(
        "events",
        e.Event,
        ("id",),
        index("events_by_partner", "partner_id", "partner_position", unique=True, where="partner_id IS NOT NULL"),
        index("events_by_channel", "channel_id", "channel_position", unique=True, where="channel_id IS NOT NULL"),
        index(
            "events_by_session", "session_id", "channel_position", "partner_position", where="session_id IS NOT NULL"
        ),
        check("events_in_partner_log", "(partner_id IS NULL) = (partner_position IS NULL)"),
        check("events_in_channel_log", "(channel_id IS NULL) = (channel_position IS NULL)"),
        check("events_in_a_log", "partner_id IS NOT NULL OR channel_id IS NOT NULL"),
    ),
    key="id",
    sequences={
        "partner_position": ("partner_id",),
        "partner_session_sequence": ("partner_id", "session_id"),
        "channel_position": ("channel_id",),
        "channel_session_sequence": ("channel_id", "session_id"),
    },
)

RELATIONS: tuple[Relation[Any], ...] = (
    PARTNERS,
    CHANNELS,
    BOTS,
    KEYS,
    USERS,
    BOT_USERS,
    SESSIONS,
    MESSAGES,
    MARKETS,
    WALLET_LINKS,
    WALLETS,
    CHECKOUTS,
    PAYMENTS,
    CAPTURES,
    REFUNDS,
    OPERATIONS,
    ORDERS,
    ACCOUNTS,
    REQUESTS,
    INBOX,
    CONSUMERS,
    JOURNAL,
    POSTINGS,
    EVENTS,
)
"""All relations, parents before children, and what is numbered last: its counters are held through the commit."""
