"""Where a provider is open: the gate of new links and new payments."""

from __future__ import annotations

import re

from comptoir_server.app.call import CallContext
from comptoir_server.app.checkout_cards import is_open
from comptoir_server.app.deps import Deps
from comptoir_server.app.once import Answer, once
from comptoir_server.app.ports import Provider
from comptoir_server.domain.errors import Reason, Refused, invalid_field
from comptoir_server.domain.wallets import OPEN_AT_FIRST, Market
from comptoir_server.store.reads.wallets import all_markets
from comptoir_server.store.tables import MARKETS
from comptoir_server.store.tx import Tx

_MARKET = re.compile("[A-Z]{2}")


def require_open(row: Market | None, provider: Provider, market: str, now: int) -> None:
    """Raises MARKET_NOT_AVAILABLE where the provider is closed, or not yet open, in `market`."""
    if not is_open(row, now):
        raise Refused(
            Reason.MARKET_NOT_AVAILABLE,
            _closed_reason(row, provider),
            provider=provider.capabilities.name,
            market=market,
        )


def _closed_reason(row: Market | None, provider: Provider) -> str:
    """Why a closed provider cannot be used, in words for the person."""
    name = provider.capabilities.display_name
    if row is not None and row.open:
        return f"{name} is not open in your country yet. Use another wallet, or come back later."
    return f"{name} cannot be used in your country. Use another wallet."


def known_provider(deps: Deps, name: str) -> Provider:
    """The provider of that name. FIELD_INVALID where this server has none."""
    provider = deps.providers.get(name)
    if provider is None:
        raise invalid_field("provider", "is none of this server's. ListProviders names them.")
    return provider


async def seed_markets(tx: Tx) -> None:
    """Opens the markets that are open at first. A market that an operator has opened or closed stays as it is."""
    for key in OPEN_AT_FIRST:
        if await tx.load(MARKETS.lock(key)) is None:
            market, provider = key
            tx.put(Market(market, provider, open=True, open_time=tx.now))


async def list_markets(deps: Deps, call: CallContext) -> Answer:
    """Every market that was ever opened or closed; one that is not listed is closed."""
    return {"markets": tuple(await deps.store.read(all_markets))}


async def update_market(
    deps: Deps,
    call: CallContext,
    *,
    market: str,
    provider: str,
    open: bool,  # noqa: A002 - the proto's name
    open_time: int,
) -> Answer:
    """Opens a provider in a market from `open_time` on (now where it is 0), or closes it. Raises FIELD_INVALID."""
    known_provider(deps, provider)
    if not _MARKET.fullmatch(market):
        raise invalid_field("market", "must be an ISO 3166-1 alpha-2 code in capitals, such as US.")

    async def work(tx: Tx) -> Answer:
        await tx.load(MARKETS.lock((market, provider)))
        row = Market(market, provider, open, open_time or (tx.now if open else 0))
        tx.put(row)
        return {"market": row}

    return await once(deps, call, work)
