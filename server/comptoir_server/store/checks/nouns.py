"""The objects that events and stored answers tell of: what of them never changes, and the ways that their states go."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select, tuple_

from comptoir_server.domain.checkouts import CHECKOUT_TRANSITIONS
from comptoir_server.domain.orders import ORDER_TRANSITIONS
from comptoir_server.domain.partners import BOT_TRANSITIONS, KEY_TRANSITIONS
from comptoir_server.domain.payments import CAPTURE_TRANSITIONS, PAYMENT_TRANSITIONS, REFUND_TRANSITIONS
from comptoir_server.domain.sessions import SESSION_TRANSITIONS
from comptoir_server.domain.wallets import LINK_TRANSITIONS, WALLET_TRANSITIONS
from comptoir_server.store.checks.survey import CHUNK, Survey
from comptoir_server.store.relation import Relation
from comptoir_server.store.tables import (
    BOTS,
    CAPTURES,
    CHANNELS,
    CHECKOUTS,
    KEYS,
    MARKETS,
    MESSAGES,
    ORDERS,
    PARTNERS,
    PAYMENTS,
    REFUNDS,
    SESSIONS,
    WALLET_LINKS,
    WALLETS,
)

Transitions = Mapping[tuple[Any, Any], Any]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


@dataclass(frozen=True)
class Noun:
    """A kind of object. `changing` are the fields that may differ between two tellings of the same object, or that
    tellings leave out; `first` the states in which it may begin."""

    relation: Relation[Any]
    changing: frozenset[str]
    transitions: Transitions = field(default_factory=dict)
    first: frozenset[str] = frozenset()

    @functools.cached_property
    def steps(self) -> frozenset[tuple[str, str]]:
        """From which state to which it may go at once."""
        return frozenset((str(state), str(target)) for (state, _), target in self.transitions.items())

    @functools.cached_property
    def ways(self) -> frozenset[tuple[str, str]]:
        """From which state to which it may come in the end."""
        ways = set(self.steps) | {(state, state) for step in self.steps for state in step}
        while longer := {(a, d) for a, b in ways for c, d in self.steps if b == c} - ways:
            ways |= longer
        return frozenset(ways)


_TOKENS = "token_sealed token_hash revoke_time revoke_tries"
_MONEY = "state authorized captured capturing refunded refunding decline_code action_url order_reference reference"
_PENDING = "pending_operation_id pending_kind pending_state pending_since"

NOUNS: dict[str, Noun] = {
    "partner": Noun(PARTNERS, _words("display_name support_contact fee_basis_points state")),
    "channel": Noun(CHANNELS, _words("display_name")),
    "bot": Noun(BOTS, _words("display_name greeting state"), BOT_TRANSITIONS),
    "api_key": Noun(KEYS, _words("state"), KEY_TRANSITIONS),
    "market": Noun(MARKETS, _words("open open_time")),
    "message": Noun(MESSAGES, frozenset()),
    "session": Noun(SESSIONS, _words("state referral message_count"), SESSION_TRANSITIONS, _words("OPEN")),
    "wallet_link": Noun(
        WALLET_LINKS,
        _words(
            f"{_TOKENS} state url_hash browser_hash provider_reference approve_url code_hash tries label exchange_time "
            "wallet_id"
        ),
        LINK_TRANSITIONS,
        _words("PENDING_APPROVAL"),
    ),
    "wallet": Noun(WALLETS, _words(f"{_TOKENS} state"), WALLET_TRANSITIONS, _words("ACTIVE")),
    "checkout": Noun(
        CHECKOUTS,
        _words(
            "state version attempt_version total items adjustments payment_ids order_id cancel_requested update_time"
        ),
        CHECKOUT_TRANSITIONS,
        _words("OPEN"),
    ),
    "order": Noun(ORDERS, _words("state refunded"), ORDER_TRANSITIONS, _words("OPEN")),
    "payment": Noun(
        PAYMENTS,
        _words(f"{_MONEY} {_PENDING} reversal_reason update_time authorization_expire_time"),
        PAYMENT_TRANSITIONS,
        _words("PROCESSING"),
    ),
    "capture": Noun(
        CAPTURES,
        _words("state refunded refunding decline_code reference update_time"),
        CAPTURE_TRANSITIONS,
        _words("PROCESSING SUCCEEDED"),
    ),
    "refund": Noun(
        REFUNDS,
        _words("state decline_code reference update_time"),
        REFUND_TRANSITIONS,
        _words("PROCESSING SUCCEEDED"),
    ),
}
"""Every noun that answers and events may hold."""


def stored(survey: Survey, noun: Noun, keys: Iterable[Any]) -> dict[Any, Any]:
    """The objects as they are now, by their keys; None for one whose row cannot be read."""
    relation, wanted = noun.relation, list(keys)
    columns = [relation.table.c[name] for name in relation.columns]
    own = [relation.table.c[name] for name in relation.primary.columns]
    key = own[0] if len(own) == 1 else tuple_(*own)
    found: dict[Any, Any] = {}
    for start in range(0, len(wanted), CHUNK):
        for row in survey.connection.execute(select(*columns).where(key.in_(wanted[start : start + CHUNK]))):
            parts = [row._mapping[column] for column in own]
            found[parts[0] if len(parts) == 1 else tuple(parts)] = _record(relation, row)
    return found


def _record(relation: Relation[Any], row: Any) -> Any:
    try:
        return relation.codec.decode(row)
    except (ValueError, TypeError, KeyError):
        return None


def differences(noun: Noun, then: Any, now: Any) -> str:
    """The fields in which an object as it was told differs from what it is now, though they never change."""
    fixed = [name for name in noun.relation.columns if name not in noun.changing]
    return ", ".join(name for name in fixed if getattr(then, name) != getattr(now, name))
