"""What is sealed opens with the vault's keys, for its own row and no other."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import select

from comptoir_server.domain.cards import CONTENT_KINDS
from comptoir_server.store import snapshots
from comptoir_server.store.checks.survey import Notes, Rule, Survey
from comptoir_server.store.tables import MESSAGES, SESSIONS, USERS, WALLET_LINKS, WALLETS
from comptoir_server.vault import DataKey, Unreadable, Vault

_user, _message, _session = USERS.table, MESSAGES.table, SESSIONS.table


def _closed(survey: Survey, notes: Notes) -> None:
    if survey.vault is None:
        raise AssertionError("without a vault nothing can be opened")
    _tokens(survey, notes, survey.vault)
    _people(survey, notes, survey.vault)
    _messages(survey, notes, survey.vault)


def _tokens(survey: Survey, notes: Notes, vault: Vault) -> None:
    """Tokens of wallets and links; a wallet is found by the hash of its own."""
    wallet, link = WALLETS.table, WALLET_LINKS.table
    for table, found_by in ((wallet, wallet.c.token_hash), (link, sa.literal(""))):
        for row in survey.rows(select(table.c.id, table.c.token_sealed, found_by.label("found_by"))):
            notes.examined += 1
            try:
                token = vault.open_token(row.id, row.token_sealed) if row.token_sealed else ""
            except Unreadable:
                notes.violated(table=table.name, id=row.id, column="token_sealed")
                continue
            if token and row.found_by and not vault.matches("provider token", token, row.found_by):
                notes.violated(table=table.name, id=row.id, column="token_hash")


def _people(survey: Survey, notes: Notes, vault: Vault) -> None:
    columns = (_user.c.id, _user.c.wrapped_key, _user.c.display_name_sealed, _user.c.channel_user_sealed)
    for row in survey.rows(select(*columns).where(_user.c.wrapped_key != b"")):
        notes.examined += 1
        try:
            key = vault.key(row.id, row.wrapped_key)
        except Unreadable:
            notes.violated(table="users", id=row.id, column="wrapped_key")
            continue
        sealed = (
            ("display_name_sealed", row.id, row.display_name_sealed),
            ("channel_user_sealed", f"{row.id} channel_user_id", row.channel_user_sealed),
        )
        for column, bound_to, ciphertext in sealed:
            if not _opens(key, bound_to, ciphertext):
                notes.violated(table="users", id=row.id, column=column)


def _opens(key: DataKey, bound_to: str, ciphertext: bytes) -> bool:
    try:
        key.open(bound_to, ciphertext)
    except Unreadable:
        return False
    return True


def _messages(survey: Survey, notes: Notes, vault: Vault) -> None:
    """Messages of people who were not erased: they open, and hold a card of the kind that they say."""
    columns = (_message.c.id, _message.c.kind, _message.c.sealed, _user.c.id.label("user_id"), _user.c.wrapped_key)
    statement = (
        select(*columns)
        .join(_session, _session.c.id == _message.c.session_id)
        .join(_user, _user.c.id == _session.c.user_id)
        .where(_user.c.wrapped_key != b"")
        .order_by(_user.c.id)
    )
    key, owner = None, ""
    for row in survey.rows(statement):
        notes.examined += 1
        if row.user_id != owner:
            owner, key = row.user_id, _key(vault, row.user_id, row.wrapped_key)
        if key is None:
            continue  # told of the person already
        try:
            snapshots.load(CONTENT_KINDS[row.kind], key.open(row.id, row.sealed))
        except (Unreadable, KeyError, TypeError, ValueError):
            notes.violated(table="messages", id=row.id, column="sealed")


def _key(vault: Vault, user_id: str, wrapped: bytes) -> DataKey | None:
    try:
        return vault.key(user_id, wrapped)
    except Unreadable:
        return None


RULES: tuple[Rule, ...] = (
    Rule("A8", "What is sealed opens for its own row, and holds what that says.", _closed, needs_vault=True),
)
