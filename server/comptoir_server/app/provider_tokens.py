"""Deleting tokens at their providers: of links that ended without a wallet, and of unlinked wallets."""

from __future__ import annotations

from dataclasses import replace

from comptoir_server.app.deps import Deps
from comptoir_server.app.ports import LinkRefused, ProviderUnavailable
from comptoir_server.domain.wallets import Wallet, WalletLink
from comptoir_server.runtime import MICROSECONDS
from comptoir_server.store.reads.wallets import links_to_revoke, wallets_to_revoke
from comptoir_server.store.tables import WALLET_LINKS, WALLETS
from comptoir_server.store.tx import Tx

SCHEDULE_SECONDS = (60, 300, 1800, 3600)
"""How long after each failed try the next one comes; after the last, every hour."""

REVOKE_AT_ONCE = 100
"""How many links and wallets one round looks at."""


async def revoke_tokens(deps: Deps) -> int:
    """A worker's job: deletes the tokens that are due at their providers, and answers how many are gone.

    What cannot be deleted now is tried again on the schedule. Two processes may do the same one: that is harmless.
    """
    now = deps.runtime.now()
    count = 0
    for link_id in await deps.store.read(lambda tx: links_to_revoke(tx, now, REVOKE_AT_ONCE)):
        link = await deps.store.read(lambda tx, key=link_id: tx.load(WALLET_LINKS.get(key)))
        if link is not None:
            count += await _revoke(deps, link)
    for wallet_id in await deps.store.read(lambda tx: wallets_to_revoke(tx, now, REVOKE_AT_ONCE)):
        wallet = await deps.store.read(lambda tx, key=wallet_id: tx.load(WALLETS.get(key)))
        if wallet is not None:
            count += await _revoke(deps, wallet)
    return count


async def _revoke(deps: Deps, owner: WalletLink | Wallet) -> bool:
    provider = deps.providers.get(owner.provider)
    if provider is None:
        await _settle(deps, owner, deleted=False)
        return False
    try:
        token = await _token(deps, owner)
        if token:
            await provider.revoke_link(token)
    except ProviderUnavailable:
        await _settle(deps, owner, deleted=False)
        return False
    await _settle(deps, owner, deleted=True)
    return True


async def _token(deps: Deps, owner: WalletLink | Wallet) -> str:
    """The token to delete; empty where the provider never gave one.

    A link whose exchange was begun, but whose token was never stored, asks again with the same key and learns it.
    """
    if owner.token_sealed:
        return deps.vault.open_token(owner.id, owner.token_sealed)
    if isinstance(owner, Wallet):
        return ""
    try:
        return (await deps.providers[owner.provider].complete_link(owner.id, owner.provider_reference)).token
    except LinkRefused:
        return ""


async def _settle(deps: Deps, owner: WalletLink | Wallet, *, deleted: bool) -> None:
    """Destroys our copy of a deleted token, or says when to try again."""

    async def work(tx: Tx) -> None:
        relation = WALLET_LINKS if isinstance(owner, WalletLink) else WALLETS
        row = await tx.load(relation.lock(owner.id))
        if row is None or not row.revoke_time or row.token_sealed != owner.token_sealed:
            return  # another token came meanwhile: it is due by itself
        if deleted:
            tx.put(replace(row, token_sealed=b"", revoke_time=0))
        else:
            seconds = SCHEDULE_SECONDS[min(row.revoke_tries, len(SCHEDULE_SECONDS) - 1)]
            tx.put(replace(row, revoke_time=tx.now + seconds * MICROSECONDS, revoke_tries=row.revoke_tries + 1))

    await deps.store.write(work)
