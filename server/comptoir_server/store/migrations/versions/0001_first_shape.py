"""The first shape: everything of the first purchase."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from comptoir_server.store.schema import Id

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "accounts",
        sa.Column("id", Id(), nullable=False),
        sa.Column("key", Id(), nullable=False),
        sa.Column("kind", Id(), nullable=False),
        sa.Column("partner_id", Id(), nullable=False),
        sa.Column("provider", Id(), nullable=False),
        sa.Column("currency_code", Id(), nullable=False),
        sa.CheckConstraint(
            "kind IN ('PROVIDER_CLEARING', 'PARTNER_PAYABLE', 'PLATFORM_FEES')", name="accounts_kind_known"
        ),
        sa.PrimaryKeyConstraint("id"),
        sqlite_strict=True,
    )
    op.create_index("accounts_by_key", "accounts", ["key"], unique=True)
    op.create_index("accounts_by_partner", "accounts", ["partner_id", "id"])
    op.create_table(
        "api_keys",
        sa.Column("id", Id(), nullable=False),
        sa.Column("owner_id", Id(), nullable=False),
        sa.Column("bot_id", Id(), nullable=False),
        sa.Column("secret_hash", Id(), nullable=False),
        sa.Column("hint", Id(), nullable=False),
        sa.Column("scopes", Id(), nullable=False),
        sa.Column("state", Id(), nullable=False),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.Column("expire_time", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("state IN ('ACTIVE', 'REVOKED')", name="api_keys_state_known"),
        sa.PrimaryKeyConstraint("id"),
        sqlite_strict=True,
    )
    op.create_index("api_keys_by_owner", "api_keys", ["owner_id", "id"])
    op.create_index("api_keys_by_secret", "api_keys", ["secret_hash"], unique=True)
    op.create_table(
        "channels",
        sa.Column("id", Id(), nullable=False),
        sa.Column("display_name", Id(), nullable=False),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sqlite_strict=True,
    )
    op.create_table(
        "consumers",
        sa.Column("log_id", Id(), nullable=False),
        sa.Column("name", Id(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("update_time", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("log_id", "name"),
        sqlite_strict=True,
    )
    op.create_table(
        "counters",
        sa.Column("name", Id(), nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
        postgresql_with={"fillfactor": 50},
        sqlite_strict=True,
    )
    op.create_table(
        "events",
        sa.Column("log_id", Id(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("id", Id(), nullable=False),
        sa.Column("type", Id(), nullable=False),
        sa.Column("noun", Id(), nullable=False),
        sa.Column("bot_id", Id(), nullable=False),
        sa.Column("session_id", Id(), nullable=True),
        sa.Column("session_sequence", sa.BigInteger(), nullable=False),
        sa.Column("user_id", Id(), nullable=False),
        sa.Column("payload", Id(), nullable=False),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("log_id", "id"),
        sqlite_strict=True,
    )
    op.create_index("events_by_position", "events", ["log_id", "position"], unique=True)
    op.create_index(
        "events_by_session",
        "events",
        ["log_id", "session_id", "session_sequence"],
        unique=True,
        sqlite_where=sa.text("session_id IS NOT NULL"),
        postgresql_where=sa.text("session_id IS NOT NULL"),
    )
    op.create_table(
        "inbox",
        sa.Column("provider", Id(), nullable=False),
        sa.Column("event_id", Id(), nullable=False),
        sa.Column("event_type", Id(), nullable=False),
        sa.Column("state", Id(), nullable=False),
        sa.Column("notice", Id(), nullable=False),
        sa.Column("tries", sa.BigInteger(), nullable=False),
        sa.Column("next_time", sa.BigInteger(), nullable=False),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("state IN ('STORED', 'PROCESSED', 'FOREIGN')", name="inbox_state_known"),
        sa.PrimaryKeyConstraint("provider", "event_id"),
        sqlite_strict=True,
    )
    op.create_index(
        "inbox_due",
        "inbox",
        ["next_time"],
        sqlite_where=sa.text("state = 'STORED'"),
        postgresql_where=sa.text("state = 'STORED'"),
    )
    op.create_table(
        "journal",
        sa.Column("id", Id(), nullable=False),
        sa.Column("object_id", Id(), nullable=False),
        sa.Column("effect", Id(), nullable=False),
        sa.Column("currency_code", Id(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("effect IN ('capture', 'refund')", name="journal_effect_known"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("object_id", "effect", name="journal_one_effect"),
        sa.UniqueConstraint("position", name="journal_one_position"),
        sqlite_strict=True,
    )
    op.create_table(
        "markets",
        sa.Column("market", Id(), nullable=False),
        sa.Column("provider", Id(), nullable=False),
        sa.Column("open", sa.Boolean(), nullable=False),
        sa.Column("open_time", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("market", "provider"),
        sqlite_strict=True,
    )
    op.create_table(
        "partners",
        sa.Column("id", Id(), nullable=False),
        sa.Column("display_name", Id(), nullable=False),
        sa.Column("support_contact", Id(), nullable=False),
        sa.Column("fee_basis_points", sa.BigInteger(), nullable=False),
        sa.Column("state", Id(), nullable=False),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("state IN ('ACTIVE', 'SUSPENDED')", name="partners_state_known"),
        sa.CheckConstraint("fee_basis_points BETWEEN 0 AND 3000", name="partners_fee"),
        sa.PrimaryKeyConstraint("id"),
        sqlite_strict=True,
    )
    op.create_table(
        "requests",
        sa.Column("key", Id(), nullable=False),
        sa.Column("fingerprint", Id(), nullable=False),
        sa.Column("object_id", Id(), nullable=False),
        sa.Column("answer", Id(), nullable=False),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("key"),
        sqlite_strict=True,
    )
    op.create_index("requests_by_age", "requests", ["create_time"])
    op.create_index("requests_by_object", "requests", ["object_id"])
    op.create_table(
        "settings",
        sa.Column("name", Id(), nullable=False),
        sa.Column("value", Id(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
        sqlite_strict=True,
    )
    op.create_table(
        "writers",
        sa.Column("id", Id(), nullable=False),
        sa.Column("batch", sa.BigInteger(), nullable=False),
        sa.Column("touched", sa.BigInteger(), nullable=False, comment="seconds since the epoch, the database's clock"),
        sa.PrimaryKeyConstraint("id"),
        postgresql_with={"fillfactor": 50},
        sqlite_strict=True,
    )
    op.create_table(
        "bots",
        sa.Column("id", Id(), nullable=False),
        sa.Column("partner_id", Id(), nullable=False),
        sa.Column("display_name", Id(), nullable=False),
        sa.Column("greeting", Id(), nullable=False),
        sa.Column("state", Id(), nullable=False),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("state IN ('DRAFT', 'IN_REVIEW', 'LIVE', 'SUSPENDED')", name="bots_state_known"),
        sa.ForeignKeyConstraint(
            ["partner_id"],
            ["partners.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sqlite_strict=True,
    )
    op.create_index("bots_by_partner", "bots", ["partner_id"])
    op.create_table(
        "postings",
        sa.Column("transaction_id", Id(), nullable=False),
        sa.Column("line", sa.BigInteger(), nullable=False),
        sa.Column("account_id", Id(), nullable=False),
        sa.Column("currency_code", Id(), nullable=False),
        sa.Column("minor_units", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("minor_units <> 0", name="postings_amount"),
        sa.ForeignKeyConstraint(
            ["account_id"],
            ["accounts.id"],
        ),
        sa.ForeignKeyConstraint(
            ["transaction_id"],
            ["journal.id"],
        ),
        sa.PrimaryKeyConstraint("transaction_id", "line"),
        sqlite_strict=True,
    )
    op.create_index("postings_by_account", "postings", ["account_id", "transaction_id"])
    op.create_table(
        "users",
        sa.Column("id", Id(), nullable=False),
        sa.Column("channel_id", Id(), nullable=False),
        sa.Column("channel_user_hash", Id(), nullable=False),
        sa.Column("channel_user_sealed", sa.LargeBinary(), nullable=False),
        sa.Column("display_name_sealed", sa.LargeBinary(), nullable=False),
        sa.Column("wrapped_key", sa.LargeBinary(), nullable=False),
        sa.Column("market", Id(), nullable=False),
        sa.Column("locale", Id(), nullable=False),
        sa.Column("time_zone", Id(), nullable=False),
        sa.Column("state", Id(), nullable=False),
        sa.Column("default_wallet_id", Id(), nullable=False),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("state IN ('ACTIVE', 'SUSPENDED')", name="users_state_known"),
        sa.ForeignKeyConstraint(
            ["channel_id"],
            ["channels.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sqlite_strict=True,
    )
    op.create_index("users_by_channel_user", "users", ["channel_id", "channel_user_hash"], unique=True)
    op.create_table(
        "bot_users",
        sa.Column("id", Id(), nullable=False),
        sa.Column("bot_id", Id(), nullable=False),
        sa.Column("user_id", Id(), nullable=False),
        sa.Column("session_id", Id(), nullable=False),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["bot_id"],
            ["bots.id"],
        ),
        sa.ForeignKeyConstraint(
            ["user_id"],
            ["users.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sqlite_strict=True,
    )
    op.create_index("bot_users_by_bot_and_user", "bot_users", ["bot_id", "user_id"], unique=True)
    op.create_table(
        "sessions",
        sa.Column("id", Id(), nullable=False),
        sa.Column("bot_id", Id(), nullable=False),
        sa.Column("partner_id", Id(), nullable=False),
        sa.Column("user_id", Id(), nullable=False),
        sa.Column("bot_user_id", Id(), nullable=False),
        sa.Column("channel_id", Id(), nullable=False),
        sa.Column("state", Id(), nullable=False),
        sa.Column("referral", Id(), nullable=False),
        sa.Column("previous_session_id", Id(), nullable=False),
        sa.Column("message_count", sa.BigInteger(), nullable=False),
        sa.Column("locale", Id(), nullable=False),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("state IN ('OPEN', 'CLOSED')", name="sessions_state_known"),
        sa.CheckConstraint("message_count >= 0", name="sessions_count"),
        sa.ForeignKeyConstraint(
            ["user_id"],
            ["users.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sqlite_strict=True,
    )
    op.create_index("sessions_by_bot", "sessions", ["bot_id", "id"])
    op.create_index("sessions_by_channel", "sessions", ["channel_id", "id"])
    op.create_index("sessions_by_partner", "sessions", ["partner_id", "id"])
    op.create_index("sessions_by_user", "sessions", ["user_id", "id"])
    op.create_index(
        "sessions_one_open",
        "sessions",
        ["bot_id", "user_id"],
        unique=True,
        sqlite_where=sa.text("state = 'OPEN'"),
        postgresql_where=sa.text("state = 'OPEN'"),
    )
    op.create_table(
        "wallet_links",
        sa.Column("id", Id(), nullable=False),
        sa.Column("user_id", Id(), nullable=False),
        sa.Column("channel_id", Id(), nullable=False),
        sa.Column("session_id", Id(), nullable=False),
        sa.Column("provider", Id(), nullable=False),
        sa.Column("state", Id(), nullable=False),
        sa.Column("url_hash", Id(), nullable=False),
        sa.Column("browser_hash", Id(), nullable=False),
        sa.Column("provider_reference", Id(), nullable=False),
        sa.Column("approve_url", Id(), nullable=False),
        sa.Column("code_hash", Id(), nullable=False),
        sa.Column("tries", sa.BigInteger(), nullable=False),
        sa.Column("token_sealed", sa.LargeBinary(), nullable=False),
        sa.Column("label", Id(), nullable=False),
        sa.Column("exchange_time", sa.BigInteger(), nullable=False),
        sa.Column("revoke_time", sa.BigInteger(), nullable=False),
        sa.Column("revoke_tries", sa.BigInteger(), nullable=False),
        sa.Column("wallet_id", Id(), nullable=False),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.Column("expire_time", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("(state = 'COMPLETED') = (wallet_id <> '')", name="wallet_links_completed"),
        sa.CheckConstraint(
            "state IN ('PENDING_APPROVAL', 'PENDING_CONFIRMATION', 'COMPLETED', 'CANCELED', 'EXPIRED', 'FAILED')",
            name="wallet_links_state_known",
        ),
        sa.CheckConstraint("tries BETWEEN 0 AND 5", name="wallet_links_tries"),
        sa.ForeignKeyConstraint(
            ["user_id"],
            ["users.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sqlite_strict=True,
    )
    op.create_index("wallet_links_by_url", "wallet_links", ["url_hash"], unique=True)
    op.create_index("wallet_links_by_user", "wallet_links", ["user_id", "state"])
    op.create_index(
        "wallet_links_to_expire",
        "wallet_links",
        ["expire_time"],
        sqlite_where=sa.text("state IN ('PENDING_APPROVAL', 'PENDING_CONFIRMATION')"),
        postgresql_where=sa.text("state IN ('PENDING_APPROVAL', 'PENDING_CONFIRMATION')"),
    )
    op.create_index(
        "wallet_links_to_revoke",
        "wallet_links",
        ["revoke_time"],
        sqlite_where=sa.text("revoke_time > 0"),
        postgresql_where=sa.text("revoke_time > 0"),
    )
    op.create_table(
        "wallets",
        sa.Column("id", Id(), nullable=False),
        sa.Column("user_id", Id(), nullable=False),
        sa.Column("channel_id", Id(), nullable=False),
        sa.Column("provider", Id(), nullable=False),
        sa.Column("label", Id(), nullable=False),
        sa.Column("state", Id(), nullable=False),
        sa.Column("token_sealed", sa.LargeBinary(), nullable=False),
        sa.Column("token_hash", Id(), nullable=False),
        sa.Column("revoke_time", sa.BigInteger(), nullable=False),
        sa.Column("revoke_tries", sa.BigInteger(), nullable=False),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("state IN ('ACTIVE', 'NEEDS_RELINK', 'UNLINKED')", name="wallets_state_known"),
        sa.ForeignKeyConstraint(
            ["user_id"],
            ["users.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sqlite_strict=True,
    )
    op.create_index("wallets_by_token", "wallets", ["token_hash"])
    op.create_index("wallets_by_user", "wallets", ["user_id", "id"])
    op.create_index(
        "wallets_to_revoke",
        "wallets",
        ["revoke_time"],
        sqlite_where=sa.text("revoke_time > 0"),
        postgresql_where=sa.text("revoke_time > 0"),
    )
    op.create_table(
        "checkouts",
        sa.Column("id", Id(), nullable=False),
        sa.Column("partner_id", Id(), nullable=False),
        sa.Column("bot_id", Id(), nullable=False),
        sa.Column("session_id", Id(), nullable=False),
        sa.Column("user_id", Id(), nullable=False),
        sa.Column("bot_user_id", Id(), nullable=False),
        sa.Column("channel_id", Id(), nullable=False),
        sa.Column("state", Id(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("attempt_version", sa.BigInteger(), nullable=False),
        sa.Column("partner_reference", Id(), nullable=False),
        sa.Column("statement_descriptor", Id(), nullable=False),
        sa.Column("metadata", Id(), nullable=False),
        sa.Column("currency_code", Id(), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column("items", Id(), nullable=False),
        sa.Column("adjustments", Id(), nullable=False),
        sa.Column("capture_mode", Id(), nullable=False),
        sa.Column("payment_ids", Id(), nullable=False),
        sa.Column("order_id", Id(), nullable=False),
        sa.Column("replaces_checkout_id", Id(), nullable=False),
        sa.Column("cancel_requested", sa.Boolean(), nullable=False),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.Column("update_time", sa.BigInteger(), nullable=False),
        sa.Column("expire_time", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("(state = 'COMPLETED') = (order_id <> '')", name="checkouts_order"),
        sa.CheckConstraint("capture_mode IN ('AUTOMATIC', 'MANUAL')", name="checkouts_capture_mode_known"),
        sa.CheckConstraint(
            "state IN ('OPEN', 'PROCESSING', 'REQUIRES_ACTION', 'COMPLETED', 'CANCELED', 'EXPIRED')",
            name="checkouts_state_known",
        ),
        sa.CheckConstraint("total > 0", name="checkouts_total"),
        sa.CheckConstraint("version >= 1 AND attempt_version BETWEEN 0 AND version", name="checkouts_version"),
        sa.ForeignKeyConstraint(
            ["session_id"],
            ["sessions.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sqlite_strict=True,
    )
    op.create_index("checkouts_by_channel", "checkouts", ["channel_id", "id"])
    op.create_index("checkouts_by_partner", "checkouts", ["partner_id", "id"])
    op.create_index("checkouts_by_reference", "checkouts", ["partner_id", "partner_reference", "id"])
    op.create_index("checkouts_by_session", "checkouts", ["session_id", "id"])
    op.create_index("checkouts_by_user", "checkouts", ["user_id", "id"])
    op.create_index(
        "checkouts_one_reference",
        "checkouts",
        ["partner_id", "partner_reference"],
        unique=True,
        sqlite_where=sa.text("partner_reference <> '' AND state NOT IN ('CANCELED', 'EXPIRED')"),
        postgresql_where=sa.text("partner_reference <> '' AND state NOT IN ('CANCELED', 'EXPIRED')"),
    )
    op.create_index(
        "checkouts_to_expire",
        "checkouts",
        ["expire_time"],
        sqlite_where=sa.text("state IN ('OPEN', 'REQUIRES_ACTION')"),
        postgresql_where=sa.text("state IN ('OPEN', 'REQUIRES_ACTION')"),
    )
    op.create_table(
        "messages",
        sa.Column("id", Id(), nullable=False),
        sa.Column("session_id", Id(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("sender", Id(), nullable=False),
        sa.Column("kind", Id(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("sender IN ('USER', 'BOT', 'PLATFORM')", name="messages_sender_known"),
        sa.ForeignKeyConstraint(
            ["session_id"],
            ["sessions.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sqlite_strict=True,
    )
    op.create_index("messages_by_session", "messages", ["session_id", "sequence"], unique=True)
    op.create_table(
        "orders",
        sa.Column("id", Id(), nullable=False),
        sa.Column("checkout_id", Id(), nullable=False),
        sa.Column("payment_id", Id(), nullable=False),
        sa.Column("partner_id", Id(), nullable=False),
        sa.Column("bot_id", Id(), nullable=False),
        sa.Column("session_id", Id(), nullable=False),
        sa.Column("user_id", Id(), nullable=False),
        sa.Column("channel_id", Id(), nullable=False),
        sa.Column("state", Id(), nullable=False),
        sa.Column("partner_reference", Id(), nullable=False),
        sa.Column("currency_code", Id(), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column("refunded", sa.BigInteger(), nullable=False),
        sa.Column("items", Id(), nullable=False),
        sa.Column("adjustments", Id(), nullable=False),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("state IN ('OPEN', 'CANCELED')", name="orders_state_known"),
        sa.CheckConstraint("refunded BETWEEN 0 AND total", name="orders_refunded"),
        sa.ForeignKeyConstraint(
            ["checkout_id"],
            ["checkouts.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("checkout_id", name="orders_one_checkout"),
        sqlite_strict=True,
    )
    op.create_index("orders_by_channel", "orders", ["channel_id", "id"])
    op.create_index("orders_by_partner", "orders", ["partner_id", "id"])
    op.create_index("orders_by_reference", "orders", ["partner_id", "partner_reference", "id"])
    op.create_index("orders_by_user", "orders", ["user_id", "id"])
    op.create_table(
        "payments",
        sa.Column("id", Id(), nullable=False),
        sa.Column("checkout_id", Id(), nullable=False),
        sa.Column("checkout_version", sa.BigInteger(), nullable=False),
        sa.Column("partner_id", Id(), nullable=False),
        sa.Column("bot_id", Id(), nullable=False),
        sa.Column("session_id", Id(), nullable=False),
        sa.Column("user_id", Id(), nullable=False),
        sa.Column("bot_user_id", Id(), nullable=False),
        sa.Column("channel_id", Id(), nullable=False),
        sa.Column("wallet_id", Id(), nullable=False),
        sa.Column("wallet_label", Id(), nullable=False),
        sa.Column("provider", Id(), nullable=False),
        sa.Column("request_key", Id(), nullable=False),
        sa.Column("state", Id(), nullable=False),
        sa.Column("capture_mode", Id(), nullable=False),
        sa.Column("currency_code", Id(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("authorized", sa.BigInteger(), nullable=False),
        sa.Column("captured", sa.BigInteger(), nullable=False),
        sa.Column("capturing", sa.BigInteger(), nullable=False),
        sa.Column("refunded", sa.BigInteger(), nullable=False),
        sa.Column("refunding", sa.BigInteger(), nullable=False),
        sa.Column("decline_code", Id(), nullable=False),
        sa.Column("action_url", Id(), nullable=False),
        sa.Column("order_reference", Id(), nullable=False),
        sa.Column("reference", Id(), nullable=False),
        sa.Column("pending_operation_id", Id(), nullable=False),
        sa.Column("pending_kind", Id(), nullable=False),
        sa.Column("pending_state", Id(), nullable=False),
        sa.Column("pending_since", sa.BigInteger(), nullable=False),
        sa.Column("reversal_reason", Id(), nullable=False),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.Column("update_time", sa.BigInteger(), nullable=False),
        sa.Column("authorization_expire_time", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "(pending_operation_id = '') = (pending_kind = '') AND (pending_kind = '') = (pending_state = '')",
            name="payments_pending",
        ),
        sa.CheckConstraint("capture_mode IN ('AUTOMATIC', 'MANUAL')", name="payments_capture_mode_known"),
        sa.CheckConstraint("pending_kind IN ('', 'AUTHORIZE', 'CAPTURE', 'VOID')", name="payments_pending_kind_known"),
        sa.CheckConstraint("pending_state IN ('', 'PROCESSING', 'IN_DOUBT')", name="payments_pending_state_known"),
        sa.CheckConstraint(
            "state IN ('PROCESSING', 'REQUIRES_ACTION', 'AUTHORIZED', 'PARTIALLY_CAPTURED', 'CAPTURED', 'VOIDED', 'DECLINED', 'FAILED', 'EXPIRED')",
            name="payments_state_known",
        ),
        sa.CheckConstraint("amount > 0", name="payments_amount"),
        sa.CheckConstraint("captured + capturing <= authorized", name="payments_within_authorization"),
        sa.CheckConstraint("captured >= 0 AND capturing >= 0 AND authorized >= 0", name="payments_captured"),
        sa.CheckConstraint("refunded + refunding <= captured", name="payments_refund_within_capture"),
        sa.CheckConstraint("refunded >= 0 AND refunding >= 0", name="payments_refunded"),
        sa.ForeignKeyConstraint(
            ["checkout_id"],
            ["checkouts.id"],
        ),
        sa.ForeignKeyConstraint(
            ["wallet_id"],
            ["wallets.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("checkout_id", "checkout_version", name="payments_one_version"),
        sa.UniqueConstraint("request_key", name="payments_one_request"),
        sqlite_strict=True,
    )
    op.create_index("payments_by_channel", "payments", ["channel_id", "id"])
    op.create_index("payments_by_checkout", "payments", ["checkout_id", "id"])
    op.create_index(
        "payments_by_order",
        "payments",
        ["provider", "order_reference"],
        sqlite_where=sa.text("order_reference <> ''"),
        postgresql_where=sa.text("order_reference <> ''"),
    )
    op.create_index("payments_by_partner", "payments", ["partner_id", "id"])
    op.create_index("payments_by_user", "payments", ["user_id", "id"])
    op.create_index(
        "payments_in_doubt",
        "payments",
        ["id"],
        sqlite_where=sa.text("pending_state = 'IN_DOUBT'"),
        postgresql_where=sa.text("pending_state = 'IN_DOUBT'"),
    )
    op.create_index(
        "payments_one_live",
        "payments",
        ["checkout_id"],
        unique=True,
        sqlite_where=sa.text("state IN ('PROCESSING', 'REQUIRES_ACTION')"),
        postgresql_where=sa.text("state IN ('PROCESSING', 'REQUIRES_ACTION')"),
    )
    op.create_index(
        "payments_one_successful",
        "payments",
        ["checkout_id"],
        unique=True,
        sqlite_where=sa.text("state IN ('AUTHORIZED', 'PARTIALLY_CAPTURED', 'CAPTURED', 'VOIDED', 'EXPIRED')"),
        postgresql_where=sa.text("state IN ('AUTHORIZED', 'PARTIALLY_CAPTURED', 'CAPTURED', 'VOIDED', 'EXPIRED')"),
    )
    op.create_table(
        "captures",
        sa.Column("id", Id(), nullable=False),
        sa.Column("payment_id", Id(), nullable=False),
        sa.Column("partner_id", Id(), nullable=False),
        sa.Column("bot_id", Id(), nullable=False),
        sa.Column("session_id", Id(), nullable=False),
        sa.Column("user_id", Id(), nullable=False),
        sa.Column("channel_id", Id(), nullable=False),
        sa.Column("request_key", Id(), nullable=False),
        sa.Column("state", Id(), nullable=False),
        sa.Column("currency_code", Id(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("refunded", sa.BigInteger(), nullable=False),
        sa.Column("refunding", sa.BigInteger(), nullable=False),
        sa.Column("final", sa.Boolean(), nullable=False),
        sa.Column("decline_code", Id(), nullable=False),
        sa.Column("reference", Id(), nullable=False),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.Column("update_time", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "state IN ('PROCESSING', 'IN_DOUBT', 'SUCCEEDED', 'DECLINED', 'FAILED')", name="captures_state_known"
        ),
        sa.CheckConstraint("amount > 0", name="captures_amount"),
        sa.CheckConstraint("refunded + refunding <= amount", name="captures_refund_within_capture"),
        sa.CheckConstraint("refunded >= 0 AND refunding >= 0", name="captures_refunded"),
        sa.ForeignKeyConstraint(
            ["payment_id"],
            ["payments.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("request_key", name="captures_one_request"),
        sqlite_strict=True,
    )
    op.create_index("captures_by_payment", "captures", ["payment_id", "id"])
    op.create_index(
        "captures_one_reference",
        "captures",
        ["payment_id", "reference"],
        unique=True,
        sqlite_where=sa.text("reference <> ''"),
        postgresql_where=sa.text("reference <> ''"),
    )
    op.create_table(
        "operations",
        sa.Column("id", Id(), nullable=False),
        sa.Column("kind", Id(), nullable=False),
        sa.Column("state", Id(), nullable=False),
        sa.Column("payment_id", Id(), nullable=False),
        sa.Column("object_id", Id(), nullable=False),
        sa.Column("provider", Id(), nullable=False),
        sa.Column("wallet_id", Id(), nullable=False),
        sa.Column("currency_code", Id(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("final", sa.Boolean(), nullable=False),
        sa.Column("order_reference", Id(), nullable=False),
        sa.Column("target_reference", Id(), nullable=False),
        sa.Column("statement_descriptor", Id(), nullable=False),
        sa.Column("send_before", sa.BigInteger(), nullable=False),
        sa.Column("sends", sa.BigInteger(), nullable=False),
        sa.Column("last_send_time", sa.BigInteger(), nullable=False),
        sa.Column("lease_owner", Id(), nullable=False),
        sa.Column("lease_until", sa.BigInteger(), nullable=False),
        sa.Column("next_time", sa.BigInteger(), nullable=False),
        sa.Column("tries", sa.BigInteger(), nullable=False),
        sa.Column("evidence", Id(), nullable=False),
        sa.Column("outcome", Id(), nullable=False),
        sa.Column("provider_code", Id(), nullable=False),
        sa.Column("debug_id", Id(), nullable=False),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.Column("update_time", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("(state = 'DONE') = (evidence <> '')", name="operations_evidence"),
        sa.CheckConstraint("state IN ('PROCESSING', 'IN_DOUBT', 'WAITING', 'DONE')", name="operations_state_known"),
        sa.CheckConstraint("amount >= 0", name="operations_amount"),
        sa.ForeignKeyConstraint(
            ["payment_id"],
            ["payments.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sqlite_strict=True,
    )
    op.create_index("operations_by_object", "operations", ["object_id"])
    op.create_index(
        "operations_due",
        "operations",
        ["next_time"],
        sqlite_where=sa.text("state <> 'DONE'"),
        postgresql_where=sa.text("state <> 'DONE'"),
    )
    op.create_table(
        "refunds",
        sa.Column("id", Id(), nullable=False),
        sa.Column("payment_id", Id(), nullable=False),
        sa.Column("capture_id", Id(), nullable=False),
        sa.Column("partner_id", Id(), nullable=False),
        sa.Column("bot_id", Id(), nullable=False),
        sa.Column("session_id", Id(), nullable=False),
        sa.Column("user_id", Id(), nullable=False),
        sa.Column("channel_id", Id(), nullable=False),
        sa.Column("request_key", Id(), nullable=False),
        sa.Column("state", Id(), nullable=False),
        sa.Column("origin", Id(), nullable=False),
        sa.Column("currency_code", Id(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("reason", Id(), nullable=False),
        sa.Column("decline_code", Id(), nullable=False),
        sa.Column("reference", Id(), nullable=False),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.Column("update_time", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("origin IN ('PARTNER', 'PLATFORM', 'PROVIDER')", name="refunds_origin_known"),
        sa.CheckConstraint("state IN ('PROCESSING', 'IN_DOUBT', 'SUCCEEDED', 'FAILED')", name="refunds_state_known"),
        sa.CheckConstraint("amount > 0", name="refunds_amount"),
        sa.ForeignKeyConstraint(
            ["capture_id"],
            ["captures.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("request_key", name="refunds_one_request"),
        sqlite_strict=True,
    )
    op.create_index("refunds_by_payment", "refunds", ["payment_id", "id"])
