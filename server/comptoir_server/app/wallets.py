"""A person's wallets and what may be linked. Links are in `wallet_links.py`, markets in `markets.py`."""

from __future__ import annotations

from dataclasses import dataclass

from comptoir_server.app.access import personal
from comptoir_server.app.call import CallContext
from comptoir_server.app.deps import Deps
from comptoir_server.app.events import tell
from comptoir_server.app.markets import list_markets, require_open, update_market
from comptoir_server.app.once import Answer, once
from comptoir_server.app.ports import Provider
from comptoir_server.app.wallet_links import (
    cancel_wallet_link,
    confirm_wallet_link,
    get_wallet_link,
    require_room,
    start_wallet_link,
)
from comptoir_server.app.wallet_views import WalletView, bare_wallet, wallet_view
from comptoir_server.domain.errors import Reason, Refused, not_found
from comptoir_server.domain.records import replace
from comptoir_server.domain.transitions import move
from comptoir_server.domain.users import User
from comptoir_server.domain.wallets import WALLET_TRANSITIONS, Market, Wallet, WalletCommand, WalletState
from comptoir_server.store.tables import MARKETS, USERS, WALLETS
from comptoir_server.store.tx import Tx

__all__ = [
    "cancel_wallet_link",
    "confirm_wallet_link",
    "get_wallet",
    "get_wallet_link",
    "list_markets",
    "list_providers",
    "list_wallets",
    "set_default_wallet",
    "start_wallet_link",
    "unlink_wallet",
    "update_market",
]


@dataclass(frozen=True, slots=True)
class ProviderOffer:
    """A provider, and whether the person may link it here and now; `reason` says in words why not."""

    provider: str
    display_name: str
    available: bool
    reason: str


async def list_providers(deps: Deps, call: CallContext) -> Answer:
    """Every provider of this server, closed ones with the reason. Raises NOT_FOUND."""
    user_id = call.require_user()
    names = sorted(deps.providers)

    async def work(tx: Tx) -> tuple[ProviderOffer, ...]:
        user = await tx.load(USERS.get(user_id))
        if user is None:
            raise not_found()
        rows = await tx.load_all(MARKETS.get((user.market, name)) for name in names)
        full = await _full(tx, user_id)
        return tuple(
            _offer(deps.providers[name], row, user, full, tx.now) for name, row in zip(names, rows, strict=True)
        )

    return {"providers": await deps.store.read(work)}


async def _full(tx: Tx, user_id: str) -> Refused | None:
    try:
        await require_room(tx, user_id)
    except Refused as refused:
        return refused
    return None


def _offer(provider: Provider, row: Market | None, user: User, full: Refused | None, now: int) -> ProviderOffer:
    """Asks the same rules that StartWalletLink asks."""
    name, display_name = provider.capabilities.name, provider.capabilities.display_name
    try:
        require_open(row, provider, user.market, now)
        if full is not None:
            raise full
    except Refused as refused:
        return ProviderOffer(name, display_name, available=False, reason=refused.message)
    return ProviderOffer(name, display_name, available=True, reason="")


async def list_wallets(deps: Deps, call: CallContext) -> Answer:
    """The person's wallets but for unlinked ones, the default first, then newest first."""
    user_id = call.require_user()

    async def work(tx: Tx) -> tuple[WalletView, ...]:
        user, wallets = await tx.load(USERS.get(user_id), WALLETS.list_by("by_user", user_id))
        default = user.default_wallet_id if user else ""
        views = [wallet_view(w, default) for w in reversed(wallets) if w.state != WalletState.UNLINKED]
        return tuple(sorted(views, key=lambda view: not view.is_default))

    return {"wallets": await deps.store.read(work)}


async def get_wallet(deps: Deps, call: CallContext, *, wallet_id: str) -> Answer:
    """The wallet, unlinked or not. Raises NOT_FOUND."""

    async def work(tx: Tx) -> Wallet:
        return personal(call, await tx.load(WALLETS.get(wallet_id)))

    return {"wallet": await _view(deps, await deps.store.read(work))}


async def set_default_wallet(deps: Deps, call: CallContext, *, wallet_id: str) -> Answer:
    """Makes the wallet the one that pays where none is named. Raises NOT_FOUND, WALLET_NOT_ACTIVE."""
    user_id = call.require_user()

    async def work(tx: Tx) -> Answer:
        wallet, user = await tx.load(WALLETS.lock(wallet_id), USERS.lock(user_id))
        wallet = personal(call, wallet)
        if wallet.state != WalletState.ACTIVE:
            raise Refused(
                Reason.WALLET_NOT_ACTIVE,
                f"The wallet is {wallet.state}. Choose another one, or link it again.",
                state=wallet.state,
            )
        if user is not None and user.default_wallet_id != wallet.id:
            tx.put(replace(user, default_wallet_id=wallet.id))
        return {"wallet": bare_wallet(wallet)}

    answer = await once(deps, call, work)
    return {"wallet": await _view(deps, answer["wallet"])}


async def unlink_wallet(deps: Deps, call: CallContext, *, wallet_id: str) -> Answer:
    """Unlinks the wallet at once; its token is then deleted at the provider by the worker. Raises NOT_FOUND."""
    user_id = call.require_user()

    async def work(tx: Tx) -> Answer:
        user, wallet = await tx.load(USERS.lock(user_id), WALLETS.lock(wallet_id))
        wallet = personal(call, wallet)
        state = move("wallet", WALLET_TRANSITIONS, wallet.state, WalletCommand.UNLINK)
        if state != wallet.state:
            wallet = replace(wallet, state=state, revoke_time=tx.now, revoke_tries=0)
            tx.put(wallet)
            tell(tx, "wallet", bare_wallet(wallet))
            if user is not None and user.default_wallet_id == wallet.id:
                tx.put(replace(user, default_wallet_id=await _newest_active(tx, user, wallet)))
        return {"wallet": bare_wallet(wallet)}

    answer = await once(deps, call, work)
    return {"wallet": await _view(deps, answer["wallet"])}


async def _newest_active(tx: Tx, user: User, but: Wallet) -> str:
    """The id of the person's newest wallet that can pay, `but` left out; empty where there is none."""
    mine = await tx.load(WALLETS.list_by("by_user", user.id))
    locked = await tx.load_all(WALLETS.lock(wallet.id) for wallet in mine if wallet.id != but.id)
    active = [wallet.id for wallet in locked if wallet is not None and wallet.state == WalletState.ACTIVE]
    return max(active, default="")


async def _view(deps: Deps, wallet: Wallet) -> WalletView:
    """The wallet as its person sees it now."""
    user = await deps.store.get(USERS.get(wallet.user_id))
    return wallet_view(wallet, user.default_wallet_id if user else "")
