"""Reading the books: sums of postings, each owner its own. On both databases."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from comptoir_server.app import ledgers
from comptoir_server.app.books import post
from comptoir_server.app.call import CallContext
from comptoir_server.app.ledgers import Balance
from comptoir_server.domain.errors import Reason, Refused
from comptoir_server.domain.ids import is_valid
from comptoir_server.domain.ledger import Account, AccountKind, Effect, Posting, capture_lines, refund_lines
from comptoir_server.domain.money import Money
from comptoir_server.domain.partners import Partner
from comptoir_server.domain.records import replace
from comptoir_server.store.tables import ACCOUNTS, JOURNAL, POSTINGS
from comptoir_server.store.tx import Tx
from tests.support.databases import database_url
from tests.support.rows import rows
from tests.support.town import Town, open_town

__all__ = ["database_url"]

FEE_BASIS_POINTS = 150


@pytest.fixture
async def town(database_url: str) -> AsyncIterator[Town]:
    async with open_town(database_url) as made:
        yield made


async def capture(town: Town, partner: Partner, amount: int, currency_code: str = "USD") -> str:
    """Posts a capture and answers its id."""
    capture_id = town.runtime.new_id("cap")
    lines = capture_lines("paypal", partner.id, amount, FEE_BASIS_POINTS)
    await town.deps.store.write(lambda tx: post(tx, capture_id, Effect.CAPTURE, currency_code, lines))
    return capture_id


async def refund(town: Town, partner: Partner, amount: int) -> str:
    """Posts a refund and answers its id."""
    refund_id = town.runtime.new_id("rfd")
    lines = refund_lines("paypal", partner.id, amount)
    await town.deps.store.write(lambda tx: post(tx, refund_id, Effect.REFUND, "USD", lines))
    return refund_id


async def accounts(town: Town, call: CallContext, partner_id: str = "") -> tuple[Account, ...]:
    answer = await ledgers.list_accounts(town.deps, call, partner_id=partner_id, page_size=0, page_token="")
    found: tuple[Account, ...] = answer["accounts"]
    return found


async def refused(call: Any) -> Refused:
    """The refusal that an awaitable ends in."""
    with pytest.raises(Refused) as refusal:
        await call
    return refusal.value


async def test_an_account_of_somebody_else_is_absent(town: Town) -> None:
    mine, other = await town.new_partner("Mine"), await town.new_partner("Other")
    await capture(town, mine, 10_000)
    hidden = [each for each in await accounts(town, town.operator()) if each.partner_id != other.id]

    for account_id in [*(account.id for account in hidden), town.runtime.new_id("acc")]:
        call = town.partner(other)
        balance = await refused(ledgers.get_balance(town.deps, call, account_id=account_id))
        postings = await refused(
            ledgers.list_postings(town.deps, call, account_id=account_id, page_size=0, page_token="")
        )
        assert (balance.reason, postings.reason) == (Reason.NOT_FOUND, Reason.NOT_FOUND)
    assert len(hidden) == 3
    assert await accounts(town, town.partner(other)) == ()
    assert await accounts(town, town.partner(other), mine.id) == ()


async def test_a_partner_lists_its_own_accounts_and_an_operator_all_or_a_partners(town: Town) -> None:
    mine, other = await town.new_partner("Mine"), await town.new_partner("Other")
    await capture(town, mine, 10_000)
    await capture(town, mine, 10_000, "JPY")
    await capture(town, other, 10_000)

    own = await accounts(town, town.partner(mine))
    everything = await accounts(town, town.operator())

    assert {(account.kind, account.partner_id, account.currency_code) for account in own} == {
        (AccountKind.PARTNER_PAYABLE, mine.id, "USD"),
        (AccountKind.PARTNER_PAYABLE, mine.id, "JPY"),
    }
    assert await accounts(town, town.partner(mine), mine.id) == own
    assert await accounts(town, town.operator(), mine.id) == own
    assert len(everything) == 7
    assert [account.id for account in everything] == sorted((account.id for account in everything), reverse=True)


async def test_a_balance_is_the_sum_of_its_postings_and_may_be_negative(town: Town) -> None:
    partner = await town.new_partner()
    await capture(town, partner, 10_000)
    await refund(town, partner, 4_000)
    balances = {}
    for account in await accounts(town, town.operator()):
        answer = await ledgers.get_balance(town.deps, town.operator(), account_id=account.id)
        assert answer["balance"] == Balance(
            account.id, answer["balance"].minor_units, "USD", answer["balance"].posting_count
        )
        balances[account.kind] = (
            answer["balance"].minor_units,
            answer["balance"].posting_count,
            answer["money"],
        )

    assert balances == {
        AccountKind.PROVIDER_CLEARING: (-6_000, 2, None),
        AccountKind.PARTNER_PAYABLE: (5_850, 2, Money(5_850, "USD")),
        AccountKind.PLATFORM_FEES: (150, 1, Money(150, "USD")),
    }


async def test_an_account_without_postings_is_at_zero(town: Town) -> None:
    account = Account(town.runtime.new_id("acc"), "empty", AccountKind.PLATFORM_FEES, "", "", "USD")
    await town.put(account)

    answer = await ledgers.get_balance(town.deps, town.operator(), account_id=account.id)

    assert answer == {"balance": Balance(account.id, 0, "USD", 0), "money": Money(0, "USD")}


async def test_postings_come_newest_first_and_page_by_page_with_what_caused_them(town: Town) -> None:
    partner = await town.new_partner()
    caused = [await capture(town, partner, 1_000 * (number + 1)) for number in range(4)]
    caused.append(await refund(town, partner, 500))
    [account] = await accounts(town, town.partner(partner))
    call = town.partner(partner, "ListPostings")

    seen = []
    token = ""
    for _ in range(3):
        page = await ledgers.list_postings(town.deps, call, account_id=account.id, page_size=2, page_token=token)
        seen += page["postings"]
        token = page["next_page_token"]

    expected = {
        caused[0]: (985, "capture"),
        caused[1]: (1_970, "capture"),
        caused[2]: (2_955, "capture"),
        caused[3]: (3_940, "capture"),
        caused[4]: (-500, "refund"),
    }
    assert {line.object_id: (line.minor_units, line.effect) for line in seen} == expected
    assert [line.id for line in seen] == sorted((line.id for line in seen), reverse=True)
    assert all(line.account_id == account.id and line.currency_code == "USD" and line.create_time for line in seen)
    assert token == ""
    elsewhere = town.partner(partner, "ListAccounts")
    first = await ledgers.list_postings(town.deps, call, account_id=account.id, page_size=1, page_token="")
    refusal = await refused(
        ledgers.list_accounts(town.deps, elsewhere, partner_id="", page_size=1, page_token=first["next_page_token"])
    )
    assert refusal.metadata == {"field": "page_token"}


async def test_two_lines_of_one_transaction_on_one_account_are_both_listed(town: Town) -> None:
    partner = await town.new_partner()
    lines = capture_lines("paypal", partner.id, 1_000, 0)
    doubled = (*lines, *lines)

    async def work(tx: Tx) -> None:
        await post(tx, "cap_1", Effect.CAPTURE, "USD", doubled)

    await town.deps.store.write(work)
    [account] = await accounts(town, town.partner(partner))
    call = town.partner(partner, "ListPostings")

    first = await ledgers.list_postings(town.deps, call, account_id=account.id, page_size=1, page_token="")
    second = await ledgers.list_postings(
        town.deps, call, account_id=account.id, page_size=1, page_token=first["next_page_token"]
    )

    assert [line.line for line in (*first["postings"], *second["postings"])] == [3, 1]


async def test_a_capture_and_its_refund_leave_every_currency_at_zero(town: Town) -> None:
    partner = await town.new_partner()
    await capture(town, partner, 10_050)
    await capture(town, partner, 777, "JPY")
    await refund(town, partner, 10_050)

    sums = []
    for account in await accounts(town, town.operator()):
        answer = await ledgers.get_balance(town.deps, town.operator(), account_id=account.id)
        sums.append((answer["balance"].currency_code, answer["balance"].minor_units))

    assert sum(total for _, total in sums) == 0
    assert sorted(sums) == [("JPY", -777), ("JPY", 12), ("JPY", 765), ("USD", -151), ("USD", 0), ("USD", 151)]


async def test_a_capture_is_one_transaction_and_a_line_under_each_account_which_is_opened_once(town: Town) -> None:
    partner = await town.new_partner()
    captures = [await capture(town, partner, 10_000), await capture(town, partner, 200)]

    accounts_opened = await rows(town.deps, ACCOUNTS)
    opened = {account.kind: account for account in accounts_opened}
    journal = sorted(await rows(town.deps, JOURNAL), key=lambda one: one.position)
    clearing, payable, fees = (opened[kind] for kind in AccountKind)

    assert {kind: replace(account, id="") for kind, account in opened.items()} == {
        account.kind: account
        for account in (
            Account("", "PROVIDER_CLEARING:paypal:USD", AccountKind.PROVIDER_CLEARING, "", "paypal", "USD"),
            Account("", f"PARTNER_PAYABLE:{partner.id}:USD", AccountKind.PARTNER_PAYABLE, partner.id, "", "USD"),
            Account("", "PLATFORM_FEES::USD", AccountKind.PLATFORM_FEES, "", "", "USD"),
        )
    }
    assert [is_valid("acc", account.id) for account in accounts_opened] == [True] * 3
    first, second = (one.id for one in journal)
    assert [(one.object_id, one.effect, one.currency_code, one.position) for one in journal] == [
        (captures[0], Effect.CAPTURE, "USD", 1),
        (captures[1], Effect.CAPTURE, "USD", 2),
    ]
    assert is_valid("txn", first)
    postings = await rows(town.deps, POSTINGS)
    assert [one for transaction in journal for one in postings if one.transaction_id == transaction.id] == [
        Posting(first, 0, clearing.id, "USD", -10_000),
        Posting(first, 1, payable.id, "USD", 9_850),
        Posting(first, 2, fees.id, "USD", 150),
        Posting(second, 0, clearing.id, "USD", -200),
        Posting(second, 1, payable.id, "USD", 197),
        Posting(second, 2, fees.id, "USD", 3),
    ]


async def test_captures_at_once_open_each_account_once(town: Town) -> None:
    partner = await town.new_partner()

    await asyncio.gather(*(capture(town, partner, 10_000) for _ in range(4)))

    assert len(await rows(town.deps, ACCOUNTS)) == 3
    assert sorted(one.minor_units for one in await rows(town.deps, POSTINGS)) == [-10_000] * 4 + [150] * 4 + [9_850] * 4
