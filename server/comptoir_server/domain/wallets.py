"""Wallets, the links that make them, and the markets in which they may be linked."""

from __future__ import annotations

from enum import StrEnum

from comptoir_server.domain.records import record


class WalletState(StrEnum):
    """Where a wallet stands."""

    ACTIVE = "ACTIVE"
    NEEDS_RELINK = "NEEDS_RELINK"
    UNLINKED = "UNLINKED"


class WalletCommand(StrEnum):
    """What moves a wallet."""

    UNLINK = "UNLINK"
    INVALIDATE = "INVALIDATE"


WALLET_TRANSITIONS: dict[tuple[WalletState, WalletCommand], WalletState] = {
    (WalletState.ACTIVE, WalletCommand.UNLINK): WalletState.UNLINKED,
    (WalletState.NEEDS_RELINK, WalletCommand.UNLINK): WalletState.UNLINKED,
    (WalletState.UNLINKED, WalletCommand.UNLINK): WalletState.UNLINKED,
    (WalletState.ACTIVE, WalletCommand.INVALIDATE): WalletState.NEEDS_RELINK,
    (WalletState.NEEDS_RELINK, WalletCommand.INVALIDATE): WalletState.NEEDS_RELINK,
    (WalletState.UNLINKED, WalletCommand.INVALIDATE): WalletState.UNLINKED,
}


class LinkState(StrEnum):
    """Where a wallet link stands."""

    PENDING_APPROVAL = "PENDING_APPROVAL"
    PENDING_CONFIRMATION = "PENDING_CONFIRMATION"
    COMPLETED = "COMPLETED"
    CANCELED = "CANCELED"
    EXPIRED = "EXPIRED"
    FAILED = "FAILED"


class LinkCommand(StrEnum):
    """What moves a wallet link."""

    APPROVE = "APPROVE"
    CONFIRM = "CONFIRM"
    CANCEL = "CANCEL"
    EXPIRE = "EXPIRE"
    FAIL = "FAIL"


LINK_TRANSITIONS: dict[tuple[LinkState, LinkCommand], LinkState] = {
    (LinkState.PENDING_APPROVAL, LinkCommand.APPROVE): LinkState.PENDING_CONFIRMATION,
    (LinkState.PENDING_APPROVAL, LinkCommand.CANCEL): LinkState.CANCELED,
    (LinkState.PENDING_APPROVAL, LinkCommand.EXPIRE): LinkState.EXPIRED,
    (LinkState.PENDING_APPROVAL, LinkCommand.FAIL): LinkState.FAILED,
    (LinkState.PENDING_CONFIRMATION, LinkCommand.CONFIRM): LinkState.COMPLETED,
    (LinkState.PENDING_CONFIRMATION, LinkCommand.CANCEL): LinkState.CANCELED,
    (LinkState.PENDING_CONFIRMATION, LinkCommand.EXPIRE): LinkState.EXPIRED,
    (LinkState.PENDING_CONFIRMATION, LinkCommand.FAIL): LinkState.FAILED,
    (LinkState.CANCELED, LinkCommand.CANCEL): LinkState.CANCELED,
}

LINK_SECONDS = 600
"""How long a link works, from start to confirmation."""

LINK_TRIES = 5
"""How many codes may be tried."""

LINKS_PENDING_MAX = 5
"""How many links of one person may be pending at once."""


@record
class WalletLink:
    """An attempt to link a wallet.

    `url_hash` is the keyed hash of the secret in the link's address, `browser_hash` that of the cookie
    of the browser that opened it first, `code_hash` that of the confirmation code. `token_sealed` is the
    provider's token between approval and confirmation; `revoke_time` is when the worker next tries to
    delete it at the provider after the link ended otherwise, 0 where there is nothing to delete.
    `exchange_time` is when the exchange for the token was first begun, 0 before.
    """

    id: str
    user_id: str
    channel_id: str
    session_id: str
    provider: str
    state: LinkState
    url_hash: str
    browser_hash: str
    provider_reference: str
    approve_url: str
    code_hash: str
    tries: int
    token_sealed: bytes
    label: str
    exchange_time: int
    revoke_time: int
    revoke_tries: int
    wallet_id: str
    create_time: int
    expire_time: int


@record
class Wallet:
    """A person's means to pay at one provider. `token_sealed` charges it; `token_hash` finds it by the provider's word.

    `revoke_time` is when the token is next to be deleted at the provider, 0 where it is not.
    """

    id: str
    user_id: str
    channel_id: str
    provider: str
    label: str
    state: WalletState
    token_sealed: bytes
    token_hash: str
    revoke_time: int
    revoke_tries: int
    create_time: int


@record
class Market:
    """Whether a provider is open in a market (ISO 3166-1 alpha-2), from `open_time` on."""

    market: str
    provider: str
    open: bool
    open_time: int


OPEN_AT_FIRST: tuple[tuple[str, str], ...] = (("US", "paypal"),)
"""Markets that are open on a new database."""
