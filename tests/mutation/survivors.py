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
    "app.books:_account: key', key)) or await tx.lo -> key', key)) and await tx.lo": (
        "the store runs a work again that loses the race for a new account"
    ),
    "app.payments:list_payments: 1 -> 2": "one row too many is read, and not shown",
    "app.api_keys:list_api_keys: 1 -> 2": "one row too many is read, and not shown",
    "app.api_keys:_expiry: expire_time <= tx.now -> expire_time < tx.now": "a key that ends as it is made never works",
    "app.credentials:_read: 0 -> -1": "there is exactly one: the first is the last",
    "app.credentials:_read: 0 -> -1 #2": "there is exactly one: the first is the last",
    "app.credentials:_read: 0 -> -1 #3": "there is at most one: the first is the last",
    "app.credentials:_read: 7 -> 6 #2": "what is more is a blank, and taken off",
    "app.credentials:_by_key: '' -> 'X'": "no user has this for an id",
    "app.payments:create_capture.current: '' -> 'X'": "what was begun is there",
    "app.payments:create_refund.current: '' -> 'X'": "what was begun is there",
    "app.payments:_refundable_capture: 0 -> -1": "the payment has a capture, and no capture has less than 0 left",
    "app.payments:_refundable_capture: continue -> break": "no capture is ever deleted",
    "app.payments:_ask: begun.operation is not None -> begun.operation is None #2": "it only saves a look",
    "app.refunding:_refund: refund is None or capture is None -> refund is None and capture is None": (
        "no refund and no capture is ever deleted"
    ),
    "app.refunding:_refund: raise AssertionError(f'operation {c…n.id} has no refund or no capture') -> pass": (
        "no refund and no capture is ever deleted"
    ),
    "app.refunding:given_back: 'order' -> 'orderX'": "every order can be cancelled: the word is never said",
}
