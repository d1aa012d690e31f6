"""Deleting tokens at their providers: of links that ended without a wallet, and of unlinked wallets."""

from __future__ import annotations

from comptoir_server.app.deps import Deps
from comptoir_server.app.ports import LinkRefused, Provider, ProviderUnavailable
from comptoir_server.domain.records import replace
from comptoir_server.domain.wallets import Wallet, WalletLink
from comptoir_server.runtime import MICROSECONDS
from comptoir_server.store.reads.wallets import links_to_revoke, wallets_to_revoke
from comptoir_server.store.relation import Relation
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
        count += await _revoke(deps, WALLET_LINKS, link_id)
    for wallet_id in await deps.store.read(lambda tx: wallets_to_revoke(tx, now, REVOKE_AT_ONCE)):
        count += await _revoke(deps, WALLETS, wallet_id)
    return count


async def _revoke(deps: Deps, relation: Relation[WalletLink] | Relation[Wallet], row_id: str) -> bool:
    """True when the provider has no token of this row any more."""

    async def read(tx: Tx) -> WalletLink | Wallet | None:
        return await tx.load(relation.get(row_id))

    owner = await deps.store.read(read)
    provider = deps.providers.get(owner.provider) if owner else None
    if owner is None:
        return False
    try:
        if provider is None:
            raise ProviderUnavailable(f"this server no longer speaks to {owner.provider}")
        token = await _token(deps, provider, owner)
        if token:
            await provider.revoke_link(token)
    except ProviderUnavailable:
        await _try_later(deps, relation, owner)
        return False
    await _forget(deps, relation, owner)
    return True


async def _token(deps: Deps, provider: Provider, owner: WalletLink | Wallet) -> str:
    """The token to delete; empty where the provider never gave one.

    A link whose exchange was begun, but whose token was never stored, asks again with the same key and learns it.
    """
    if owner.token_sealed:
        return deps.vault.open_token(owner.id, owner.token_sealed)
    if isinstance(owner, Wallet):
        return ""
    try:
        return (await provider.complete_link(owner.id, owner.provider_reference)).token
    except LinkRefused:
        return ""


async def _forget(deps: Deps, relation: Relation[WalletLink] | Relation[Wallet], owner: WalletLink | Wallet) -> None:
    """Destroys our copy of a token that is deleted at the provider."""

    async def work(tx: Tx) -> None:
        row = await tx.load(relation.lock(owner.id))
        if row is not None and row.token_sealed == owner.token_sealed:  # else another came: it is due by itself
            tx.put(replace(row, token_sealed=b"", revoke_time=0))

    await deps.store.write(work)


async def _try_later(deps: Deps, relation: Relation[WalletLink] | Relation[Wallet], owner: WalletLink | Wallet) -> None:
    async def work(tx: Tx) -> None:
        row = await tx.load(relation.lock(owner.id))
        if row is not None and row.revoke_time:
            seconds = SCHEDULE_SECONDS[min(row.revoke_tries, len(SCHEDULE_SECONDS) - 1)]
            tx.put(replace(row, revoke_time=tx.now + seconds * MICROSECONDS, revoke_tries=row.revoke_tries + 1))

    await deps.store.write(work)
