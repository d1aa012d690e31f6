"""Partners, their bots, and the channels through which people reach them. Keys are in `api_keys.py`."""

from __future__ import annotations

from dataclasses import dataclass

from comptoir_server.app.api_keys import create_api_key, list_api_keys, revoke_api_key
from comptoir_server.app.call import CallContext, Caller
from comptoir_server.app.deps import Deps
from comptoir_server.app.once import Answer, once
from comptoir_server.domain.errors import Reason, Refused, invalid_field, not_found
from comptoir_server.domain.partners import (
    BOT_TRANSITIONS,
    Bot,
    BotCommand,
    BotState,
    Channel,
    Partner,
    PartnerState,
)
from comptoir_server.domain.records import replace
from comptoir_server.domain.transitions import move
from comptoir_server.store.tables import BOTS, PARTNERS
from comptoir_server.store.tx import Tx

__all__ = [
    "approve_bot",
    "create_api_key",
    "create_bot",
    "create_channel",
    "create_partner",
    "get_bot",
    "get_bot_profile",
    "get_partner",
    "list_api_keys",
    "revoke_api_key",
    "submit_bot",
]

FEE_BASIS_POINTS_MAX = 3_000
"""The largest share of a capture that the platform may take, in hundredths of a percent."""


@dataclass(frozen=True, slots=True)
class BotProfile:
    """What a person is told about a bot: whom one talks to and pays."""

    bot_id: str
    display_name: str
    partner_display_name: str
    support_contact: str
    greeting: str


async def create_partner(
    deps: Deps, call: CallContext, *, display_name: str, support_contact: str, fee_basis_points: int
) -> Answer:
    """Makes a partner. Raises FIELD_INVALID."""
    name = _name(display_name)
    if not 0 <= fee_basis_points <= FEE_BASIS_POINTS_MAX:
        raise invalid_field("fee_basis_points", f"must be 0 to {FEE_BASIS_POINTS_MAX} hundredths of a percent.")

    async def work(tx: Tx) -> Answer:
        partner = Partner(tx.new_id("prt"), name, support_contact, fee_basis_points, PartnerState.ACTIVE, tx.now)
        tx.put(partner)
        return {"partner": partner}

    return await once(deps, call, work)


async def get_partner(deps: Deps, call: CallContext, *, partner_id: str) -> Answer:
    """Reads a partner; a partner itself only. Raises FIELD_INVALID, NOT_FOUND."""
    wanted = partner_id or call.partner_id
    if not wanted:
        raise invalid_field("partner_id", "is required of an operator.")
    if call.caller == Caller.PARTNER and wanted != call.partner_id:
        raise not_found()
    partner = await deps.store.get(PARTNERS.get(wanted))
    if partner is None:
        raise not_found()
    return {"partner": partner}


async def create_channel(deps: Deps, call: CallContext, *, display_name: str) -> Answer:
    """Makes a channel. Raises FIELD_INVALID."""
    name = _name(display_name)

    async def work(tx: Tx) -> Answer:
        channel = Channel(tx.new_id("chn"), name, tx.now)
        tx.put(channel)
        return {"channel": channel}

    return await once(deps, call, work)


async def create_bot(deps: Deps, call: CallContext, *, display_name: str, greeting: str) -> Answer:
    """Makes a bot. Raises FIELD_INVALID; SCOPE_MISSING for a key that is bound to another bot."""
    name = _name(display_name)
    if call.bot_id:
        raise Refused(
            Reason.SCOPE_MISSING,
            "This key is bound to one bot and makes no others. Use a key that is not.",
            scope="bot.write",
        )

    async def work(tx: Tx) -> Answer:
        bot = Bot(tx.new_id("bot"), call.partner_id, name, greeting, BotState.DRAFT, tx.now)
        tx.put(bot)
        return {"bot": bot}

    return await once(deps, call, work)


async def get_bot(deps: Deps, call: CallContext, *, bot_id: str) -> Answer:
    """Reads a bot. Raises NOT_FOUND."""
    return {"bot": _own_bot(call, await deps.store.get(BOTS.get(bot_id)))}


async def submit_bot(deps: Deps, call: CallContext, *, bot_id: str) -> Answer:
    """Hands a bot to the operator for review. Raises NOT_FOUND, INVALID_STATE."""
    return await _move_bot(deps, call, bot_id, BotCommand.SUBMIT)


async def approve_bot(deps: Deps, call: CallContext, *, bot_id: str) -> Answer:
    """Lets a reviewed bot talk to people. Raises NOT_FOUND, INVALID_STATE."""
    return await _move_bot(deps, call, bot_id, BotCommand.APPROVE)


async def get_bot_profile(deps: Deps, call: CallContext, *, bot_id: str) -> Answer:
    """Reads what a person is told about a live bot. Raises NOT_FOUND."""

    async def work(tx: Tx) -> Answer:
        bot = await tx.load(BOTS.get(bot_id))
        partner = await tx.load(PARTNERS.get(bot.partner_id)) if bot is not None else None
        if bot is None or partner is None or bot.state != BotState.LIVE:
            raise not_found()
        profile = BotProfile(bot.id, bot.display_name, partner.display_name, partner.support_contact, bot.greeting)
        return {"profile": profile}

    return await deps.store.read(work)


async def _move_bot(deps: Deps, call: CallContext, bot_id: str, command: BotCommand) -> Answer:
    async def work(tx: Tx) -> Answer:
        bot = _own_bot(call, await tx.load(BOTS.lock(bot_id)))
        moved = replace(bot, state=move("bot", BOT_TRANSITIONS, bot.state, command))
        if moved != bot:
            tx.put(moved)
        return {"bot": moved}

    return await once(deps, call, work)


def _own_bot(call: CallContext, bot: Bot | None) -> Bot:
    """The bot where it is the caller's; an operator has all of them."""
    mine = bot is not None and (
        call.caller == Caller.OPERATOR or (bot.partner_id == call.partner_id and call.bot_id in ("", bot.id))
    )
    if bot is None or not mine:
        raise not_found()
    return bot


def _name(display_name: str) -> str:
    name = display_name.strip()
    if not name:
        raise invalid_field("display_name", "must say something that people can read.")
    return name
