"""Tokens are kept as long as they work, and no longer."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import select

from comptoir_server.store.checks.survey import Query, Rule, by_query, rows_where
from comptoir_server.store.tables import USERS, WALLET_LINKS, WALLETS

_user, _wallet, _link = USERS.table, WALLETS.table, WALLET_LINKS.table

_NOTHING = sa.literal(b"", sa.LargeBinary)


def _unlinked_default() -> Query:
    linked = sa.exists().where(_wallet.c.id == _user.c.default_wallet_id, _wallet.c.state != "UNLINKED")
    columns = (_user.c.id.label("user"), _user.c.default_wallet_id.label("default_wallet"))
    return select(*columns).where(_user.c.default_wallet_id != "", sa.not_(linked))


def _tokens_of_wallets() -> Query:
    """Wallets that cannot be charged though they are active, or could still be though they are not."""
    has_token = sa.and_(_wallet.c.token_sealed != _NOTHING, _wallet.c.token_hash != "")
    due = _wallet.c.revoke_time > 0
    right = sa.case(
        (_wallet.c.state == "ACTIVE", sa.and_(has_token, sa.not_(due))),
        (_wallet.c.state == "UNLINKED", (_wallet.c.token_sealed != _NOTHING) == due),
        else_=has_token,
    )
    columns = (_wallet.c.id.label("wallet"), _wallet.c.state, _wallet.c.revoke_time)
    return select(*columns).where(sa.not_(right))


def _tokens_of_links() -> Query:
    """Links that hold a token longer than until their confirmation, or a code where there is nothing to confirm."""
    has_token, has_code = _link.c.token_sealed != _NOTHING, _link.c.code_hash != ""
    due = _link.c.revoke_time > 0
    right = sa.case(
        (_link.c.state == "PENDING_CONFIRMATION", sa.and_(has_token, has_code, sa.not_(due))),
        (
            _link.c.state.in_(("PENDING_APPROVAL", "COMPLETED")),
            sa.and_(sa.not_(has_token), sa.not_(has_code), sa.not_(due)),
        ),
        else_=sa.and_(sa.or_(sa.not_(has_token), due), sa.not_(has_code)),
    )
    columns = (_link.c.id.label("wallet_link"), _link.c.state, _link.c.revoke_time)
    return select(*columns).where(sa.not_(right))


RULES: tuple[Rule, ...] = (
    by_query(
        "W3",
        "A link holds a token only to be confirmed, or until it is deleted after it ended otherwise.",
        (_link,),
        _tokens_of_links(),
    ),
    by_query(
        "W4",
        "An active wallet has its token; that of an unlinked one is deleted, or due to be.",
        (_wallet,),
        _tokens_of_wallets(),
    ),
    by_query(
        "W6",
        "A person's default wallet is linked.",
        (rows_where(_user, _user.c.default_wallet_id != ""),),
        _unlinked_default(),
    ),
)
