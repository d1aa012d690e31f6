"""A person's wallets, and the markets in which they may be linked."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from comptoir_server.app import wallets
from comptoir_server.app.call import CallContext, Caller
from comptoir_server.app.markets import seed_markets
from comptoir_server.app.provider_tokens import revoke_tokens
from comptoir_server.app.wallet_links import wallet_revoked
from comptoir_server.domain.errors import Reason
from comptoir_server.domain.wallets import Market, WalletState
from comptoir_server.runtime import MICROSECONDS
from comptoir_server.store.tables import MARKETS, WALLET_LINKS
from tests.support.linking import MINUTE, Person, World, open_world, refusal
from tests.support.providers import ScriptedProvider, capabilities


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with open_world(database_url, ScriptedProvider(), ScriptedProvider(capabilities("other", "Other"))) as opened:
        yield opened


def operator(world: World, request_id: str = "", content: str = "") -> CallContext:
    return CallContext(
        caller=Caller.OPERATOR,
        method="UpdateMarket",
        deadline=world.runtime.monotonic() + 10,
        request_id=request_id or f"request {next(world.numbers)}",
        fingerprint=content,
    )


async def update_market(
    world: World, market: str, *, is_open: bool, open_time: int = 0, provider: str = "paypal"
) -> Market:
    answer = await wallets.update_market(
        world.deps, operator(world), market=market, provider=provider, open=is_open, open_time=open_time
    )
    made = answer["market"]
    assert isinstance(made, Market)
    return made


async def listed(person: Person) -> list[tuple[str, bool]]:
    answer = await wallets.list_wallets(person.world.deps, person.call("ListWallets"))
    return [(view.wallet.id, view.is_default) for view in answer["wallets"]]


async def unlink(person: Person, wallet_id: str, request_id: str = "") -> Any:
    call = person.call("UnlinkWallet", request_id)
    return (await wallets.unlink_wallet(person.world.deps, call, wallet_id=wallet_id))["wallet"]


async def set_default(person: Person, wallet_id: str) -> Any:
    call = person.call("SetDefaultWallet")
    return (await wallets.set_default_wallet(person.world.deps, call, wallet_id=wallet_id))["wallet"]


async def get(person: Person, wallet_id: str) -> Any:
    return (await wallets.get_wallet(person.world.deps, person.call("GetWallet"), wallet_id=wallet_id))["wallet"]


async def revoke_at_provider(world: World, token: str, provider: str = "paypal") -> bool:
    token_hash = world.deps.vault.hash("provider token", token)
    return await world.deps.store.write(lambda tx: wallet_revoked(tx, provider, token_hash))


# Markets.


async def test_a_closed_market_links_nothing(world: World) -> None:
    ana = await world.person(market="TW")

    refused = await refusal(ana.start())

    assert (refused.reason, refused.metadata) == (Reason.MARKET_NOT_AVAILABLE, {"provider": "paypal", "market": "TW"})
    assert await world.rows(WALLET_LINKS) == []
    assert await world.events() == []


async def test_an_unknown_provider_is_refused(world: World) -> None:
    ana = await world.person()
    call = ana.call("StartWalletLink")

    refused = await refusal(wallets.start_wallet_link(world.deps, call, provider="nobody", session_id=""))

    assert (refused.reason, refused.metadata) == (Reason.FIELD_INVALID, {"field": "provider"})


async def test_a_market_opens_at_its_time_and_not_before(world: World) -> None:
    ana = await world.person(market="TW")
    await update_market(world, "TW", is_open=True, open_time=world.runtime.now() + 5 * MINUTE * MICROSECONDS)
    assert (await refusal(ana.start())).reason == Reason.MARKET_NOT_AVAILABLE
    world.runtime.advance(5 * MINUTE)

    await ana.start()


async def test_closing_a_market_stops_new_links_there_and_nowhere_else(world: World) -> None:
    ana, ben = await world.person(market="US"), await world.person(market="FR")
    await update_market(world, "FR", is_open=True)
    await ana.start()
    await update_market(world, "US", is_open=False)

    assert (await refusal(ana.start())).reason == Reason.MARKET_NOT_AVAILABLE
    await ben.start()


@pytest.mark.parametrize("market", ["", "us", "USA", "U1", "ÉU"])
async def test_a_market_that_is_no_code_is_refused(world: World, market: str) -> None:
    refused = await refusal(
        wallets.update_market(world.deps, operator(world), market=market, provider="paypal", open=True, open_time=0)
    )

    assert (refused.reason, refused.metadata) == (Reason.FIELD_INVALID, {"field": "market"})
    assert [row.market for row in await world.rows(MARKETS)] == ["US"]


async def test_markets_are_listed_by_code_then_provider(world: World) -> None:
    await update_market(world, "US", is_open=True, provider="other")
    await update_market(world, "FR", is_open=False)

    answer = await wallets.list_markets(world.deps, operator(world))

    assert [(row.market, row.provider, row.open) for row in answer["markets"]] == [
        ("FR", "paypal", False),
        ("US", "other", True),
        ("US", "paypal", True),
    ]


async def test_an_update_sent_twice_is_one_update(world: World) -> None:
    async def send(content: str, *, is_open: bool) -> Any:
        call = operator(world, "once", content)
        answer = await wallets.update_market(
            world.deps, call, market="FR", provider="paypal", open=is_open, open_time=0
        )
        return answer["market"]

    first = await send("open", is_open=True)
    world.runtime.advance(MINUTE)

    assert await send("open", is_open=True) == first
    assert (await refusal(send("close", is_open=False))).reason == Reason.REQUEST_ID_REUSED


async def test_seeding_again_leaves_what_an_operator_has_closed(world: World) -> None:
    await update_market(world, "US", is_open=False)

    await world.deps.store.write(seed_markets)

    assert [(row.market, row.open) for row in await world.rows(MARKETS)] == [("US", False)]


async def test_offers_say_what_may_be_linked_here_and_why_not(world: World) -> None:
    ana = await world.person()

    async def offers() -> list[tuple[str, bool, str]]:
        answer = await wallets.list_providers(world.deps, ana.call("ListProviders"))
        return [(offer.provider, offer.available, offer.reason) for offer in answer["providers"]]

    closed = "Other cannot be used in your country. Use another wallet."
    assert await offers() == [("other", False, closed), ("paypal", True, "")]
    for _ in range(5):
        await ana.start()
    full = "You have 5 links under way. Finish or cancel one, or wait ten minutes."
    assert await offers() == [("other", False, closed), ("paypal", False, full)]


async def test_links_that_have_ended_are_not_read_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    ana = await world.person()
    for _ in range(3):
        await ana.cancel((await ana.start())[0])
    read: list[Any] = []
    decode = WALLET_LINKS.codec.decode

    def decoding(row: Any) -> Any:
        read.append(row)
        return decode(row)

    monkeypatch.setattr(WALLET_LINKS.codec, "decode", decoding)

    await wallets.list_providers(world.deps, ana.call("ListProviders"))
    await ana.start()
    assert read == []
    await wallets.list_providers(world.deps, ana.call("ListProviders"))
    assert len(read) == 1


# Wallets.


async def test_another_persons_wallet_looks_absent_and_stays_as_it_is(world: World) -> None:
    ana, mallory = await world.person("Ana"), await world.person("Mallory")
    wallet = await ana.link_wallet()
    absent = await refusal(get(mallory, world.id("wal")))

    refusals = [await refusal(act(mallory, wallet.id)) for act in (get, set_default, unlink)]

    assert {(r.reason, r.message) for r in refusals} == {(Reason.NOT_FOUND, absent.message)}
    assert await ana.wallets() == [wallet]
    assert await listed(mallory) == []


async def test_wallets_are_listed_the_default_first_then_newest_first(world: World) -> None:
    ana = await world.person()
    one, two, three = [(await ana.link_wallet()).id for _ in range(3)]
    assert await listed(ana) == [(one, True), (three, False), (two, False)]

    chosen = await set_default(ana, two)

    assert chosen.is_default
    assert await listed(ana) == [(two, True), (three, False), (one, False)]


async def test_what_a_person_sees_of_a_wallet_holds_no_token(world: World) -> None:
    ana = await world.person()
    wallet = await ana.link_wallet()

    seen = await get(ana, wallet.id)

    assert (seen.wallet.token_sealed, seen.wallet.token_hash) == (b"", "")


async def test_unlinking_acts_at_once_and_the_token_is_deleted_after(world: World) -> None:
    ana = await world.person()
    wallet = await ana.link_wallet()

    unlinked = await unlink(ana, wallet.id)

    assert (unlinked.wallet.state, unlinked.is_default) == (WalletState.UNLINKED, False)
    assert unlinked.wallet.revoke_time > 0
    assert await listed(ana) == []
    assert len(world.provider.tokens) == 1
    assert await revoke_tokens(world.deps) == 1
    assert world.provider.tokens == {}
    [stored] = await ana.wallets()
    assert (stored.token_sealed, stored.revoke_time) == (b"", 0)
    assert (await get(ana, wallet.id)).wallet.state == WalletState.UNLINKED
    assert (await world.events())[-1] == "wallet.unlinked"


async def test_unlinking_again_changes_nothing(world: World) -> None:
    ana = await world.person()
    wallet = await ana.link_wallet()
    await unlink(ana, wallet.id)
    await revoke_tokens(world.deps)
    before = await ana.wallets()

    await unlink(ana, wallet.id)

    assert await ana.wallets() == before
    assert (await world.events()).count("wallet.unlinked") == 1


async def test_the_default_moves_to_the_newest_wallet_that_can_pay(world: World) -> None:
    ana = await world.person()
    first, second, third, fourth = [await ana.link_wallet() for _ in range(4)]
    await revoke_at_provider(world, world.deps.vault.open_token(fourth.id, fourth.token_sealed))

    await unlink(ana, first.id)

    assert await ana.default_wallet_id() == third.id
    await unlink(ana, second.id)
    await unlink(ana, third.id)
    assert await ana.default_wallet_id() == ""


async def test_a_wallet_that_cannot_pay_does_not_become_the_default(world: World) -> None:
    ana = await world.person()
    first, second = await ana.link_wallet(), await ana.link_wallet()
    await unlink(ana, second.id)

    refused = await refusal(set_default(ana, second.id))

    assert (refused.reason, refused.metadata) == (Reason.WALLET_NOT_ACTIVE, {"state": "UNLINKED"})
    assert await ana.default_wallet_id() == first.id


async def test_a_permission_taken_back_at_the_provider_asks_for_a_new_link(world: World) -> None:
    ana = await world.person()
    wallet, other = await ana.link_wallet(), await ana.link_wallet()
    token = world.deps.vault.open_token(wallet.id, wallet.token_sealed)

    assert not await revoke_at_provider(world, "unknown")
    assert not await revoke_at_provider(world, token, provider="other")
    assert await revoke_at_provider(world, token)
    assert await revoke_at_provider(world, token)

    assert [w.state for w in await ana.wallets()] == [WalletState.NEEDS_RELINK, WalletState.ACTIVE]
    assert (await world.events()).count("wallet.relink_needed") == 1
    assert await ana.default_wallet_id() == wallet.id
    assert other.id != (await ana.link_wallet()).id
    assert await ana.default_wallet_id() not in (wallet.id, other.id)


async def test_our_own_deletion_told_back_by_the_provider_changes_nothing(world: World) -> None:
    ana = await world.person()
    wallet = await ana.link_wallet()
    token = world.deps.vault.open_token(wallet.id, wallet.token_sealed)
    await unlink(ana, wallet.id)
    await revoke_tokens(world.deps)

    assert await revoke_at_provider(world, token)

    assert (await ana.wallets())[0].state == WalletState.UNLINKED
    assert "wallet.relink_needed" not in await world.events()
