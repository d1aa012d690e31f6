"""Nothing that opens a door, and no card number, stands anywhere in plain text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from sqlalchemy import select

from comptoir_server.domain import card_numbers
from comptoir_server.store.checks.survey import Notes, Rule, Survey
from comptoir_server.store.columns import metadata
from comptoir_server.store.tables import INBOX, WALLET_LINKS, WALLETS
from comptoir_server.vault import Unreadable, Vault

SECRET = re.compile(
    r"cmp_(?:test|live)_[0-9A-Za-z]{36}"
    r"|\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]{8,}"
    r"|\bwhsec_[\w+/=-]{16,}"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY"
)
"""The shapes of API keys, tokens, webhook secrets and private keys."""

_WORD = re.compile(r"[0-9A-Za-z_-]{8,255}")

BARE = frozenset({"token_sealed", "token_hash", "url_hash", "browser_hash", "code_hash", "approve_url", "wallet_token"})
"""What a snapshot leaves out: copies of it would outlive its deletion."""

_NO_CARDS = frozenset(
    {"ticket_number", "barcode", "booking_reference", "item_reference", "passenger_ref", "segment_ref", "key"}
)
"""What may look like a card number by chance: tickets and references of things, and what callers draw themselves."""

_PROVIDER_WORDS = frozenset({"evidence", "provider_code", "debug_id", "event_id", "fingerprint", "name", "reference"})
_BY_CHANCE = re.compile(r"id|hint|.*(_id|_ids|_hash|_key|order_reference|target_reference|parent_reference)")


def _secrets(survey: Survey, notes: Notes) -> None:
    """Looks at every text of every table, inside its JSON too."""
    tokens = _provider_tokens(survey, survey.vault) if survey.vault else frozenset()
    for table in metadata.sorted_tables:
        texts = [column for column in table.columns if isinstance(column.type, sa.Text)]
        key = list(table.primary_key.columns)
        for row in survey.rows(select(*key, *(column for column in texts if not column.primary_key))):
            notes.examined += 1
            for column in texts:
                for name, value in _parts(column.name, row._mapping[column]):
                    if what := _wrong(name, value, tokens):
                        ids = {part.name: row._mapping[part] for part in key if part.name != column.name}
                        notes.violated(table=table.name, **ids, column=column.name, field=name, holds=what)


def _parts(name: str, text: str | None) -> Iterator[tuple[str, str]]:
    """The texts in a value by the names of their fields: those of a JSON document one by one, else the text itself."""
    if text is None or text[:1] not in ("{", "["):
        yield name, text or ""
        return
    try:
        yield from _leaves(name, json.loads(text))
    except ValueError:
        yield name, text


def _leaves(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield name, value
    elif isinstance(value, dict):
        for key, part in value.items():
            yield "", key
            yield from _leaves(key, part)
    elif isinstance(value, list):
        for part in value:
            yield from _leaves(name, part)


def _wrong(name: str, text: str, tokens: frozenset[str]) -> str:
    """What a text holds that it must not, in words that do not repeat it; empty where it is fine."""
    if len(text) < 8:
        return ""
    if SECRET.search(text):
        return "a key or token"
    if tokens and any(word in tokens for word in _WORD.findall(text)):
        return "a provider's token"
    exempt = name in _NO_CARDS or name in _PROVIDER_WORDS or _BY_CHANCE.fullmatch(name)
    return "a card number" if not exempt and card_numbers.contains(text) else ""


def _provider_tokens(survey: Survey, vault: Vault) -> frozenset[str]:
    """Every token that charges a wallet, opened."""
    tokens = set()
    for table in (WALLETS.table, WALLET_LINKS.table):
        for row in survey.rows(select(table.c.id, table.c.token_sealed)):
            try:
                tokens.add(vault.open_token(row.id, row.token_sealed) if row.token_sealed else "")
            except Unreadable:
                continue  # that it does not open is another rule's to tell
    return frozenset(tokens - {""})


_COPIES: tuple[tuple[str, str, sa.ColumnElement[bool]], ...] = (
    ("events", "payload", sa.true()),
    ("requests", "answer", sa.true()),
    ("inbox", "notice", INBOX.table.c.state == "PROCESSED"),
)
"""Where copies of objects are kept."""


def _copies(survey: Survey, notes: Notes) -> None:
    """Events and answers in which a token, sealed or hashed, or the secret of a link outlives its row.

    A delivery that is still to be acted upon holds its token sealed: nothing else says which one was deleted.
    """
    for name, column, condition in _COPIES:
        table = metadata.tables[name]
        for row in survey.rows(select(*table.primary_key.columns, table.c[column]).where(condition)):
            notes.examined += 1
            kept = sorted(
                {field for field, value in _parts("", row._mapping[table.c[column]]) if field in BARE and value}
            )
            if kept:
                ids = {part.name: row._mapping[part] for part in table.primary_key.columns}
                notes.violated(table=name, **ids, keeps=", ".join(kept))


RULES: tuple[Rule, ...] = (
    Rule("A2", "No key, no token and no card number stands in plain text.", _secrets),
    Rule("A7", "No event, answer or delivery keeps a copy of a wallet's token or of a link's secrets.", _copies),
)
