"""Reading the books."""

from __future__ import annotations

from dataclasses import dataclass

from comptoir_server.app import paging
from comptoir_server.app.call import CallContext, Caller
from comptoir_server.app.deps import Deps
from comptoir_server.app.once import Answer
from comptoir_server.domain.errors import not_found
from comptoir_server.domain.ledger import Account
from comptoir_server.domain.money import Money
from comptoir_server.store.reads.ledgers import page_of_accounts, page_of_postings, sum_of_postings
from comptoir_server.store.tables import ACCOUNTS
from comptoir_server.store.tx import Tx


@dataclass(frozen=True, slots=True)
class Balance:
    """What the postings of an account sum to, in minor units of its currency, and how many there are."""

    account_id: str
    minor_units: int
    currency_code: str
    posting_count: int


async def list_accounts(deps: Deps, call: CallContext, *, partner_id: str, page_size: int, page_token: str) -> Answer:
    """Lists accounts, newest first: a partner's own, an operator's choice. Raises FIELD_INVALID."""
    wanted = paging.size(page_size)
    before_id = paging.position(deps, call, page_token)
    if call.caller == Caller.PARTNER and partner_id not in ("", call.partner_id):
        return {"accounts": (), "next_page_token": ""}
    owner = call.partner_id or partner_id
    accounts = await deps.store.read(lambda tx: page_of_accounts(tx, owner, page_size=wanted + 1, before_id=before_id))
    return paging.page(deps, call, "accounts", accounts, wanted)


async def get_balance(deps: Deps, call: CallContext, *, account_id: str) -> Answer:
    """Sums up an account; `money` is absent where the sum is negative. Raises NOT_FOUND."""

    async def work(tx: Tx) -> Balance:
        account = await _account(tx, call, account_id)
        total, count = await sum_of_postings(tx, account.id)
        return Balance(account.id, total, account.currency_code, count)

    balance = await deps.store.read(work)
    money = Money(balance.minor_units, balance.currency_code) if balance.minor_units >= 0 else None
    return {"balance": balance, "money": money}


async def list_postings(deps: Deps, call: CallContext, *, account_id: str, page_size: int, page_token: str) -> Answer:
    """Lists the postings of an account, newest first. Raises NOT_FOUND, FIELD_INVALID."""
    wanted = paging.size(page_size)
    transaction_id, _, line = paging.position(deps, call, page_token).partition(":")

    async def work(tx: Tx) -> Answer:
        account = await _account(tx, call, account_id)
        postings = await page_of_postings(
            tx, account.id, page_size=wanted + 1, before_transaction_id=transaction_id, before_line=int(line or 0)
        )
        return paging.page(deps, call, "postings", postings, wanted)

    return await deps.store.read(work)


async def _account(tx: Tx, call: CallContext, account_id: str) -> Account:
    """The account where it is the caller's: a partner's own, any for an operator. Raises NOT_FOUND."""
    account = await tx.load(ACCOUNTS.get(account_id))
    if account is None or (call.caller != Caller.OPERATOR and account.partner_id != call.partner_id):
        raise not_found()
    return account
