"""Writing journal transactions: balanced, once an effect, accounts opened as they are first needed."""

from __future__ import annotations

from comptoir_server.domain.ledger import Account, AccountKind, Effect, JournalTransaction, Line, Posting, account_key
from comptoir_server.store.tables import ACCOUNTS
from comptoir_server.store.tx import Tx


async def post(tx: Tx, object_id: str, effect: Effect, currency_code: str, lines: tuple[Line, ...]) -> None:
    """Appends the transaction of `effect` on `object_id`; a unique key refuses a second one for ever."""
    transaction_id = tx.new_id("txn")
    tx.put(JournalTransaction(transaction_id, object_id, effect, currency_code, 0, tx.now))
    for number, line in enumerate(lines):
        account = await _account(tx, line, currency_code)
        tx.put(Posting(transaction_id, number, account.id, currency_code, line.minor_units))


async def _account(tx: Tx, line: Line, currency_code: str) -> Account:
    key = account_key(line.kind, line.owner, currency_code)
    account = await tx.load(ACCOUNTS.get_by("by_key", key)) or await tx.load(ACCOUNTS.lock_by("by_key", key))
    if account is None:
        account = Account(
            id=tx.new_id("acc"),
            key=key,
            kind=line.kind,
            partner_id=line.owner if line.kind == AccountKind.PARTNER_PAYABLE else "",
            provider=line.owner if line.kind == AccountKind.PROVIDER_CLEARING else "",
            currency_code=currency_code,
        )
        tx.put(account)
    return account
