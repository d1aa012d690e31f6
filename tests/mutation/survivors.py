"""Mutants that no test needs to kill, each with the reason."""

from __future__ import annotations

ACCEPTED: dict[str, str] = {
    "domain.money:share: minor_units >= 0 -> minor_units > 0": "the share of 0 is 0, whatever its sign",
    "domain.money:share: 0 -> 1": "the share of 0 is 0, whatever its sign",
    "domain.ledger:capture_lines: money.share(amount, fee_basis_points) -> money.share(fee_basis_points, amount)": (
        "neither is negative, and a product does not mind the order"
    ),
    "app.books:post: 0 -> 1": "the number is given by the commit, whatever stands there before",
    "app.books:post: 0 -> -1": "the number is given by the commit, whatever stands there before",
}
