"""A street with a victim and those who want what is theirs: the real door, the real pages, the stand-in's own books."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import sqlalchemy as sa

from comptoir.v1 import PayButton
from comptoir_server.store.tables import INBOX, WALLETS
from tests.access.door import METHODS, Credential, Reply, bearer
from tests.access.estate import Connected, Estate, open_estate
from tests.access.sides import Side
from tests.support.standin_world import Standin, connect_standin
from tests.support.world import MovableRuntime

ACCOUNTS = {"victim@example.com": "pays-too"}
"""The stand-in's payer behind an account; whoever is not named here pays from `OTHERS`."""

OTHERS = "pays"
LABELS = {"pays-too": "b•••@example.com", "pays": "a•••@example.com"}


@dataclass
class Street:
    """Everybody, and what they had when it began."""

    estate: Estate
    standin: Standin
    wallets: Counter[tuple[str, str, str]]
    moved: list[Any]

    @property
    def victim(self) -> Side:
        """Whose wallet it is."""
        return self.estate.sides["victim"]

    @property
    def mallory(self) -> Side:
        """Another person of the same channel, at the same bot."""
        return self.estate.sides["neighbour"]

    def everybody_else(self) -> dict[str, Credential]:
        """Every working credential but those of the victim's own channel for the victim."""
        victim, mallory, stranger = self.victim, self.mallory, self.estate.sides["stranger"]
        return {
            "another person": bearer(mallory.venue.secret, mallory.user_id),
            "another channel for its person": bearer(stranger.venue.secret, stranger.user_id),
            "another channel for the victim": bearer(stranger.venue.secret, victim.user_id),
            "the bot": bearer(victim.bot_secret),
            "the partner": bearer(victim.tenant.secret),
            "the operator": bearer(self.estate.operator_secret),
        }

    async def asked(self, credential: Credential, name: str, **fields: Any) -> Reply:
        """What is answered to a call, with a request id of its own where none is given."""
        return await self.estate.reply(name, credential, METHODS[name].request(**fields))

    async def as_person(self, side: Side, name: str, **fields: Any) -> Reply:
        """What a person is answered through their channel."""
        return await self.asked(bearer(side.venue.secret, side.user_id), name, **fields)

    async def confirm_link(self, side: Side, link_id: str, code: str) -> Reply:
        """Somebody types a code into their chat."""
        return await self.as_person(side, "ConfirmWalletLink", wallet_link_id=link_id, confirmation_code=code)

    async def rows(self, relation: Any) -> list[Any]:
        """Every row of a relation."""
        return await _rows(self.estate, relation)

    async def require_unharmed(self, more: Counter[tuple[str, str, str]] | None = None) -> None:
        """Nobody has another wallet than before but for `more`, and nothing moved at the provider."""
        await self.estate.idle()
        assert await _wallets(self.estate) == self.wallets + (more or Counter())
        assert self.standin.control("GET", "books")["effects"] == self.moved

    async def require_links_still_work(self) -> None:
        """The victim links a wallet as ever, and it is in the victim's own account."""
        before = await _wallets(self.estate)
        await self.victim.new_wallet()
        assert await _wallets(self.estate) - before == Counter([(self.victim.user_id, LABELS["pays-too"], "ACTIVE")])

    async def pay_button(self, side: Side, checkout_id: str) -> PayButton:
        """The first button of the newest card of a checkout, as its person's channel is given it."""
        await self.estate.idle()
        fields = {"session_id": side.ids["ses"], "page_size": 100}
        listed = (await self.as_person(side, "ListMessages", **fields)).response(METHODS["ListMessages"])
        cards = [m.content.checkout for m in listed.messages if m.content.checkout.checkout_id == checkout_id]
        button: PayButton = cards[-1].buttons[0]
        return button

    def deliveries(self) -> list[tuple[dict[str, str], bytes]]:
        """Headers and body of every webhook that the provider has to send now."""
        now = self.estate.runtime.now()
        self.standin.paypal.advance(now)
        return [(dict(each.headers), each.body) for each in self.standin.paypal.state.webhooks.take_due(now)]

    async def deliver(self, headers: dict[str, str], body: bytes) -> int:
        """Somebody posts to our webhook address; answers the HTTP status."""
        async with self.estate.browser() as client:
            answer = await client.post("/webhooks/paypal", headers=headers, content=body)
        await self.estate.idle()
        return answer.status_code

    async def stored(self) -> list[Any]:
        """The deliveries that were kept."""
        return await self.rows(INBOX)


def unanswered(reply: Reply) -> str:
    """The reason of a refusal; an answer is a failed test."""
    assert reply.code != 0, reply
    return reply.reason


def shows_code(page: httpx.Response) -> bool:
    """Whether a page shows anybody a code."""
    return "<output" in page.text


async def _rows(estate: Estate, relation: Any) -> list[Any]:
    columns = [relation.table.c[name] for name in relation.columns]
    found = await estate.deps.store.read(lambda tx: tx.query(sa.select(*columns)))
    return [relation.codec.decode(row) for row in found]


async def _wallets(estate: Estate) -> Counter[tuple[str, str, str]]:
    """Whose wallets there are, at which account, in which state."""
    return Counter((wallet.user_id, wallet.label, str(wallet.state)) for wallet in await _rows(estate, WALLETS))


@asynccontextmanager
async def open_street(database_url: str) -> AsyncIterator[Street]:
    """A street on a new database, at the PayPal stand-in."""
    made: list[tuple[Standin, Any]] = []

    def connect(runtime: MovableRuntime) -> Connected:
        standin, connector = connect_standin(runtime)
        made.append((standin, connector))

        def approve(reference: str, account: str) -> str:
            payer = ACCOUNTS.get(account, OTHERS)
            return str(standin.control("POST", "approve", token=reference, account=payer)["return_url"])

        return Connected(connector, approve)

    async with open_estate(database_url, connect) as estate:
        [(standin, connector)] = made
        street = Street(estate, standin, await _wallets(estate), standin.control("GET", "books")["effects"])
        street.deliveries()
        yield street
    await connector.close()
    await standin.line.drain(5)
