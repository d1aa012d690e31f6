"""The books after the play: read as an operator reads them, printed, and held against the provider's own."""

from __future__ import annotations

from dataclasses import dataclass

from rich.table import Table

from comptoir import AsyncClient
from comptoir.chat.render import money_in
from comptoir.v1 import (
    Account,
    Balance,
    GetBalanceRequest,
    ListAccountsRequest,
    ListPostingsRequest,
    Money,
    Posting,
)
from comptoir_server.demo.failure import Failure
from comptoir_server.demo.screen import Screen
from comptoir_server.demo.standin import Standin

CURRENCY = "USD"
_PAGE = 100

_HOLDS = {
    Account.KIND_PROVIDER_CLEARING: "held at the provider",
    Account.KIND_PARTNER_PAYABLE: "owed to the partner",
    Account.KIND_PLATFORM_FEES: "the platform's fees",
}


@dataclass(frozen=True, slots=True)
class Ledger:
    """Every account with its balance, and every posting, oldest first."""

    accounts: dict[str, Account]
    balances: dict[str, Balance]
    postings: list[Posting]


async def read_ledger(operator: AsyncClient) -> Ledger:
    """The whole ledger, by the calls of LedgerService."""
    accounts: list[Account] = []
    token = ""
    while True:
        page = await operator.ledger.list_accounts(ListAccountsRequest(page_size=_PAGE, page_token=token))
        accounts += page.accounts
        if not (token := page.next_page_token):
            break
    balances, postings = {}, []
    for account in accounts:
        answer = await operator.ledger.get_balance(GetBalanceRequest(account_id=account.account_id))
        balances[account.account_id] = answer.balance
        postings += await _postings(operator, account.account_id)
    postings.sort(key=lambda posting: (posting.transaction_id, posting.minor_units))
    return Ledger({account.account_id: account for account in accounts}, balances, postings)


async def _postings(operator: AsyncClient, account_id: str) -> list[Posting]:
    found: list[Posting] = []
    token = ""
    while True:
        request = ListPostingsRequest(account_id=account_id, page_size=_PAGE, page_token=token)
        page = await operator.ledger.list_postings(request)
        found += page.postings
        if not (token := page.next_page_token):
            return found


def show_ledger(screen: Screen, before: Ledger, after: Ledger, locale: str) -> None:
    """Prints the balances, and what was posted since `before`."""
    write = money_in(locale)
    screen.tell("Credits are positive: what the platform owes. Debits are negative: what is held for it.")
    balances = Table("account", "holds", "postings", "balance", title="Balances", title_justify="left")
    for account_id, account in after.accounts.items():
        balance = after.balances[account_id]
        amount = Money(minor_units=balance.minor_units, currency_code=balance.currency_code)
        holds = f"{_HOLDS[account.kind]}{f' ({account.provider})' if account.provider else ''}"
        balances.add_row(_short(account_id), holds, str(balance.posting_count), write(amount))
    balances.columns[-1].justify = balances.columns[-2].justify = "right"
    screen.show(balances)
    journal = Table("effect", "of", "account", "amount", title="Journal", title_justify="left")
    last = ""
    for posting in since(before, after):
        if last not in ("", posting.transaction_id):
            journal.add_section()
        first = posting.transaction_id != last
        last = posting.transaction_id
        amount = Money(minor_units=posting.minor_units, currency_code=posting.currency_code)
        cause = (posting.effect, _short(posting.object_id)) if first else ("", "")
        journal.add_row(*cause, _HOLDS[after.accounts[posting.account_id].kind], write(amount))
    journal.columns[-1].justify = "right"
    screen.show(journal)


def _short(object_id: str) -> str:
    """An id by its kind and its end: ids made in the same second begin alike."""
    prefix, _, rest = object_id.partition("_")
    return f"{prefix}_…{rest[-8:]}"


def since(before: Ledger, after: Ledger) -> list[Posting]:
    """The postings of `after` that `before` has not."""
    known = {posting.transaction_id for posting in before.postings}
    return [posting for posting in after.postings if posting.transaction_id not in known]


async def compare(screen: Screen, standin: Standin, before: Ledger, after: Ledger, locale: str) -> None:
    """Holds what was posted against what happened at the provider. Raises Failure where they differ."""
    totals = await standin.totals(CURRENCY)
    write = money_in(locale)
    clearing = [
        posting
        for posting in since(before, after)
        if after.accounts[posting.account_id].kind == Account.KIND_PROVIDER_CLEARING
    ]
    for effect, there in (("capture", "captured"), ("refund", "refunded")):
        amounts = [abs(posting.minor_units) for posting in clearing if posting.effect == effect]
        ours, theirs = (len(amounts), sum(amounts)), (totals.get(f"{effect}_count", 0), totals.get(there, 0))
        if ours != theirs:
            raise Failure(
                f"The ledger has {ours[0]} {effect}s of {ours[1]} minor units in all, PayPal's books {theirs[0]} of "
                f"{theirs[1]}."
            )
        amount = write(Money(minor_units=ours[1], currency_code=CURRENCY))
        screen.line(f"✓ {there}: {amount} in {ours[0]}, in the ledger and in PayPal's own books", "green")
    if sum(posting.minor_units for posting in after.postings):
        raise Failure("The postings of the ledger do not sum to zero.")
    screen.line(f"✓ the {len(after.postings)} postings sum to zero", "green")
