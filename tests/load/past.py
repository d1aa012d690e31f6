"""A past for a new database: payments by the thousand, as the server itself would have left them.

One real payment of each person is made, the rows that it writes are noted, and copies of them with ids of their own are
stored. So the past has every row, event and snapshot that a payment has, whatever that is; only the conversations do
not count the messages that were copied into them.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from comptoir.v1 import Checkout, ConfirmCheckoutRequest, ConfirmCheckoutResponse
from comptoir_server.app.deps import Deps
from comptoir_server.domain.records import replace
from comptoir_server.domain.sessions import Message
from comptoir_server.store.tables import RELATIONS
from comptoir_server.store.tx import Tx
from comptoir_server.transport.boundary import Boundary
from tests.load.bench_shop import BenchShop, store
from tests.load.wire import CALLERS, CONFIRM

CONFIRM_SECONDS = 30.0
PAYMENTS_AT_ONCE = 50

FIRST_SEQUENCE = 1_000_000
"""Where copied messages stand in their conversation: behind all that the server itself counts."""

Rows = dict[tuple[type, Any], Any]


class Pattern:
    """The rows of one payment, to be copied."""

    def __init__(self, rows: list[Any], known: set[str]) -> None:
        """`known` are ids that the payment did not make: they stay what they are."""
        made = {row.id for row in rows if getattr(row, "id", "")} - known
        self._made = sorted(made)
        self._sequences = itertools.count(FIRST_SEQUENCE)
        self._expression = re.compile("|".join(self._made))
        parts = [(row, self._names(row)) for row in rows]
        self._parts = [(row, names) for row, names in parts if names]

    def copy(self, new_id: Callable[[str], str]) -> list[object]:
        """The same payment once more, under new ids."""
        ids = {made: new_id(made.partition("_")[0]) for made in self._made}
        return [self._copy(row, names, ids) for row, names in self._parts]

    def _copy(self, row: Any, names: list[str], ids: dict[str, str]) -> Any:
        copy = replace(row, **{name: self._renamed(getattr(row, name), ids) for name in names})
        return replace(copy, sequence=next(self._sequences)) if isinstance(copy, Message) else copy

    def _names(self, row: Any) -> list[str]:
        """The fields that hold an id which the payment made."""
        return [name for name, value in vars(row).items() if self._renamed(value, {}) != value]

    def _renamed(self, value: Any, ids: dict[str, str]) -> Any:
        if type(value) is str:
            return self._expression.sub(lambda found: ids.get(found[0], ""), value)
        if type(value) is tuple and value and type(value[0]) is str:
            return tuple(self._renamed(each, ids) for each in value)
        return value


async def fill(deps: Deps, boundary: Boundary, shop: BenchShop, count: int) -> None:
    """Stores `count` past payments, shared by all people."""
    known = {row.id for row in shop.records if hasattr(row, "id")}
    await _pay(boundary, deps, shop, 0)  # makes the accounts of the books, which are made once
    patterns = []
    for number in range(min(CALLERS, count)):
        with recorded() as rows:
            await _pay(boundary, deps, shop, number)
        patterns.append(Pattern(list(rows.values()), known))
    for start in range(0, count, PAYMENTS_AT_ONCE):
        numbers = range(start, min(start + PAYMENTS_AT_ONCE, count))
        copies = [patterns[number % len(patterns)].copy(deps.runtime.new_id) for number in numbers]
        await store(deps, [row for copy in copies for row in copy])


@contextmanager
def recorded() -> Iterator[Rows]:
    """Notes what is put from now on: of each row, as it was put last."""
    relations = {relation.record: relation for relation in RELATIONS}
    rows: Rows = {}
    put = Tx.put

    def recording(self: Tx, record: object) -> None:
        put(self, record)
        rows[type(record), relations[type(record)].key_of(record)] = record

    Tx.put = recording  # type: ignore[method-assign]
    try:
        yield rows
    finally:
        Tx.put = put  # type: ignore[method-assign]


async def _pay(boundary: Boundary, deps: Deps, shop: BenchShop, number: int) -> None:
    """One real payment of the person of that number."""
    checkout = shop.checkouts(number + 1, manual=False)[number]
    await store(deps, [checkout])
    request = ConfirmCheckoutRequest(request_id=checkout.id, checkout_id=checkout.id, version=1)
    metadata = (("authorization", f"Bearer {shop.channel_key}"), ("comptoir-user", checkout.user_id))
    raw = await boundary.unary(CONFIRM, metadata, request.SerializeToString(), CONFIRM_SECONDS)
    if ConfirmCheckoutResponse.FromString(raw).checkout.state != Checkout.STATE_COMPLETED:
        raise SystemExit("a payment of the past was not completed")
