"""Whom the measured server serves: one partner, and as many people as there are callers."""

from __future__ import annotations

from collections.abc import Sequence

from comptoir_server.app.credentials import hint, new_secret, secret_hash
from comptoir_server.app.deps import Deps
from comptoir_server.domain.checkouts import CaptureMode, Checkout, CheckoutState, LineItem
from comptoir_server.domain.partners import ApiKey, Bot, BotState, Channel, KeyState, Partner, PartnerState
from comptoir_server.domain.records import replace
from comptoir_server.domain.sessions import Referral, Session, SessionState
from comptoir_server.domain.users import BotUser, User, UserState
from comptoir_server.domain.wallets import Market, Wallet, WalletState
from comptoir_server.store.tx import Tx
from tests.load.wire import CALLERS

ROWS_MAX = 1000
"""How many rows are stored in one transaction."""


class BenchShop:
    """A partner and its people, each with a wallet and a session; `people` are their ids and patterns of a checkout."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        now, new_id = deps.runtime.now(), deps.runtime.new_id
        self.channel_key, self.partner_key = (new_secret(deps.runtime, "test") for _ in range(2))
        partner = Partner(new_id("prt"), "Shop", "", 100, PartnerState.ACTIVE, now)
        bot = Bot(new_id("bot"), partner.id, "Shop", "", BotState.LIVE, now)
        channel = Channel(new_id("chn"), "Bench", now)
        keys = [self._key(channel.id, self.channel_key), self._key(partner.id, self.partner_key)]
        self.records: list[object] = [partner, bot, channel, *keys, Market("US", "instant", True, 0)]
        self.people: list[tuple[str, Checkout]] = [self._person(number, bot, channel) for number in range(CALLERS)]

    def checkouts(self, count: int, *, manual: bool) -> list[Checkout]:
        """Open checkouts, one for each person in turn, and again."""
        mode = CaptureMode.MANUAL if manual else CaptureMode.AUTOMATIC
        return [
            replace(self.people[number % CALLERS][1], id=self._deps.runtime.new_id("chk"), capture_mode=mode)
            for number in range(count)
        ]

    def _key(self, owner_id: str, secret: str) -> ApiKey:
        hashed, now = secret_hash(self._deps.vault, secret), self._deps.runtime.now()
        key_id = self._deps.runtime.new_id("key")
        return ApiKey(key_id, owner_id, "", hashed, hint(secret), ("*",), KeyState.ACTIVE, now, 0)

    def _person(self, number: int, bot: Bot, channel: Channel) -> tuple[str, Checkout]:
        now, new_id, vault = self._deps.runtime.now(), self._deps.runtime.new_id, self._deps.vault
        user_id, wallet_id, session_id, bot_user_id = new_id("usr"), new_id("wal"), new_id("ses"), new_id("bsu")
        wrapped = vault.new_key(user_id)
        seal = vault.key(user_id, wrapped).seal
        user = User(
            user_id, channel.id, vault.hash("channel user", str(number)), seal(user_id, str(number)),
            seal(user_id, "Ada"), wrapped, "US", "en-US", "UTC", UserState.ACTIVE, wallet_id, now,
        )  # fmt: skip
        session = Session(
            session_id, bot.id, bot.partner_id, user_id, bot_user_id, channel.id, SessionState.OPEN, Referral(), "", 0,
            "en-US", now,
        )  # fmt: skip
        wallet = Wallet(
            wallet_id, user_id, channel.id, "instant", "a•••", WalletState.ACTIVE,
            vault.seal_token(wallet_id, "token"), vault.hash("provider token", str(number)), 0, 0, now,
        )  # fmt: skip
        self.records += [user, BotUser(bot_user_id, bot.id, user_id, session_id, now), session, wallet]
        return user_id, Checkout(
            "", bot.partner_id, bot.id, session_id, user_id, bot_user_id, channel.id, CheckoutState.OPEN, 1, 0, "", "",
            {}, "USD", 24_000, (LineItem("Flight", "", 1, 24_000, 24_000, "CM417"),), (), CaptureMode.AUTOMATIC,
            (), "", "", False, now, now, now + 86_400_000_000,
        )  # fmt: skip


async def store(deps: Deps, records: Sequence[object]) -> None:
    """Writes new records, a thousand to a transaction."""
    for start in range(0, len(records), ROWS_MAX):
        chunk = records[start : start + ROWS_MAX]

        async def work(tx: Tx, chunk: Sequence[object] = chunk) -> None:
            for record in chunk:
                tx.put(record)

        await deps.store.write(work)
