"""Lists of keys."""

from __future__ import annotations

from comptoir_server.domain.partners import ApiKey
from comptoir_server.store.reads.pages import newest
from comptoir_server.store.tables import KEYS
from comptoir_server.store.tx import Tx


async def page_of_api_keys(tx: Tx, owner_id: str, bot_id: str, *, page_size: int, before_id: str) -> list[ApiKey]:
    """The keys of a partner or channel, newest first; those bound to `bot_id` where one is given."""
    columns = KEYS.table.c
    wanted = [columns.bot_id == bot_id] if bot_id else []
    return await newest(tx, KEYS, columns.owner_id == owner_id, *wanted, page_size=page_size, before_id=before_id)
