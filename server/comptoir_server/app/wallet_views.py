"""Wallets and links as their person sees them, and as answers and events keep them."""

from __future__ import annotations

from dataclasses import dataclass

from comptoir_server.domain.records import replace
from comptoir_server.domain.wallets import Wallet, WalletLink


@dataclass(frozen=True, slots=True)
class WalletView:
    """A wallet; `is_default` where it pays when none is named."""

    wallet: Wallet
    is_default: bool


@dataclass(frozen=True, slots=True)
class WalletLinkView:
    """A link; `link_url` only in the answer that made it."""

    wallet_link: WalletLink
    link_url: str


def wallet_view(wallet: Wallet, default_wallet_id: str) -> WalletView:
    """The wallet as its person sees it; `default_wallet_id` is theirs."""
    return WalletView(bare_wallet(wallet), wallet.id == default_wallet_id)


def link_view(link: WalletLink, link_url: str = "") -> WalletLinkView:
    """The link as its person sees it."""
    return WalletLinkView(bare_link(link), link_url)


def bare_wallet(wallet: Wallet) -> Wallet:
    """The wallet without its token: what stored answers and events keep outlives the token's deletion."""
    return replace(wallet, token_sealed=b"", token_hash="")


def bare_link(link: WalletLink) -> WalletLink:
    """The link without its token and without anything by which its page or code could be recognised."""
    return replace(
        link,
        url_hash="",
        browser_hash="",
        code_hash="",
        provider_reference="",
        approve_url="",
        token_sealed=b"",
    )
