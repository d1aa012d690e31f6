"""Every row of a relation, as records."""

from __future__ import annotations

from typing import TypeVar

import sqlalchemy as sa

from comptoir_server.app.deps import Deps
from comptoir_server.store.relation import Relation

R = TypeVar("R")


async def rows(deps: Deps, relation: Relation[R]) -> list[R]:
    """All of them, by their primary keys."""
    columns = [relation.table.c[name] for name in relation.columns]
    found = await deps.store.read(lambda tx: tx.query(sa.select(*columns).order_by(*relation.table.primary_key)))
    return [relation.codec.decode(row) for row in found]
