"""Making the first keys of a database, by whoever operates it."""

from __future__ import annotations

from dataclasses import dataclass

from comptoir_server.app.credentials import hint, new_secret, secret_hash
from comptoir_server.app.deps import Deps
from comptoir_server.domain.errors import invalid_field
from comptoir_server.domain.partners import ApiKey, Bot, BotState, Channel, KeyState, Partner, PartnerState
from comptoir_server.store.reads.provisioning import bot_named, channel_named, partner_named
from comptoir_server.store.tx import Tx

FEE_BASIS_POINTS = 100
"""The platform's share of a capture for a partner made here, in hundredths of a percent."""


@dataclass(frozen=True, slots=True)
class Provisioned:
    """A new key with whom it speaks for; `secret` is shown once. Ids are empty where there is no such party."""

    secret: str
    api_key_id: str
    partner_id: str = ""
    bot_id: str = ""
    channel_id: str = ""


async def provision_operator(deps: Deps) -> Provisioned:
    """A new operator key."""
    return await _key(deps, Provisioned("", ""))


async def provision_channel(deps: Deps, name: str) -> Provisioned:
    """A new key of the channel of that name, which is made where there is none."""
    found = await deps.store.read(lambda tx: channel_named(tx, _named("--channel", name)))
    channel = found or Channel(deps.runtime.new_id("chn"), name, deps.runtime.now())
    return await _key(deps, Provisioned("", "", channel_id=channel.id), *([] if found else [channel]))


async def provision_partner(deps: Deps, name: str, bot_name: str) -> Provisioned:
    """A new key of the partner of that name, bound to its bot of that name; what is not there is made, the bot LIVE."""
    partner = await deps.store.read(lambda tx: partner_named(tx, _named("--partner", name)))
    made: list[object] = []
    now = deps.runtime.now()
    if partner is None:
        partner = Partner(deps.runtime.new_id("prt"), name, "", FEE_BASIS_POINTS, PartnerState.ACTIVE, now)
        made.append(partner)
    if not bot_name:
        return await _key(deps, Provisioned("", "", partner_id=partner.id), *made)
    owner = partner.id
    bot = await deps.store.read(lambda tx: bot_named(tx, owner, bot_name))
    if bot is None:
        bot = Bot(deps.runtime.new_id("bot"), owner, bot_name, "", BotState.LIVE, now)
        made.append(bot)
    return await _key(deps, Provisioned("", "", partner_id=owner, bot_id=bot.id), *made)


def _named(flag: str, name: str) -> str:
    if not name.strip() or len(name) > 128:
        raise invalid_field(flag, "must be a name of 1 to 128 characters.")
    return name


async def _key(deps: Deps, party: Provisioned, *made: object) -> Provisioned:
    secret = new_secret(deps.runtime, deps.settings.mode)
    key = ApiKey(
        id=deps.runtime.new_id("key"),
        owner_id=party.partner_id or party.channel_id,
        bot_id=party.bot_id,
        secret_hash=secret_hash(deps.vault, secret),
        hint=hint(secret),
        scopes=("*",),
        state=KeyState.ACTIVE,
        create_time=deps.runtime.now(),
        expire_time=0,
    )

    async def work(tx: Tx) -> None:
        for record in (*made, key):
            tx.put(record)

    await deps.store.write(work)
    return Provisioned(secret, key.id, party.partner_id, party.bot_id, party.channel_id)
