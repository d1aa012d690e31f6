"""Keys of partners and channels: none is stronger than the key that made it, and none is shown twice."""

from __future__ import annotations

from dataclasses import dataclass

from comptoir_server.app import credentials, paging
from comptoir_server.app.call import CallContext, Caller
from comptoir_server.app.deps import Deps
from comptoir_server.app.once import Answer, once
from comptoir_server.domain.errors import Reason, Refused, invalid_field, not_found
from comptoir_server.domain.partners import KEY_TRANSITIONS, ApiKey, KeyCommand, KeyState
from comptoir_server.domain.records import replace
from comptoir_server.domain.transitions import move
from comptoir_server.store.reads.partners import page_of_api_keys
from comptoir_server.store.tables import BOTS, CHANNELS, KEYS, PARTNERS
from comptoir_server.store.tx import Tx

EVERYTHING = "*"
"""The scope that stands for all others."""

SCOPES = frozenset(
    {
        "bot.read",
        "bot.write",
        "capture.write",
        "checkout.read",
        "checkout.write",
        "event.read",
        "key.read",
        "key.write",
        "ledger.read",
        "message.read",
        "message.write",
        "order.read",
        "partner.read",
        "payment.read",
        "refund.write",
        "session.read",
        "session.write",
    }
)
"""What a key may be allowed: the scopes that methods of the contract ask for."""


@dataclass(frozen=True, slots=True)
class _Wish:
    """The key that is asked for: whom it speaks for, for which bot, what it may do, until when (0 for ever)."""

    owner_id: str
    bot_id: str
    scopes: tuple[str, ...]
    expire_time: int


async def create_api_key(
    deps: Deps, call: CallContext, *, owner_id: str, bot_id: str, scopes: tuple[str, ...], expire_time: int
) -> Answer:
    """Makes a key. Raises NOT_FOUND, FIELD_INVALID, SCOPE_MISSING. A replay leaves `secret` empty."""
    wish = _Wish(_owner(call, owner_id), bot_id or call.bot_id, _scopes(call, owner_id, scopes), expire_time)
    secret = credentials.new_secret(deps.runtime, deps.settings.mode)
    secret_hash = credentials.secret_hash(deps.vault, secret)

    async def work(tx: Tx) -> Answer:
        await _require_owner(tx, call, wish)
        key = ApiKey(
            id=tx.new_id("key"),
            owner_id=wish.owner_id,
            bot_id=wish.bot_id,
            secret_hash=secret_hash,
            hint=credentials.hint(secret),
            scopes=wish.scopes,
            state=KeyState.ACTIVE,
            create_time=tx.now,
            expire_time=await _expiry(tx, call, wish.expire_time),
        )
        tx.put(key)
        return {"api_key": key}

    answer = await once(deps, call, work)
    return {**answer, "secret": secret if answer["api_key"].secret_hash == secret_hash else ""}


async def list_api_keys(deps: Deps, call: CallContext, *, owner_id: str, page_size: int, page_token: str) -> Answer:
    """Lists keys without their secrets, newest first; to a key that is bound to a bot only those bound to it."""
    owner = _owner(call, owner_id)
    wanted = paging.size(page_size)
    before_id = paging.position(deps, call, page_token)
    keys = await deps.store.read(
        lambda tx: page_of_api_keys(tx, owner, call.bot_id, page_size=wanted + 1, before_id=before_id)
    )
    return paging.page(deps, call, "api_keys", keys, wanted)


async def revoke_api_key(deps: Deps, call: CallContext, *, api_key_id: str) -> Answer:
    """Ends a key for good. Raises NOT_FOUND."""

    async def work(tx: Tx) -> Answer:
        key = await tx.load(KEYS.lock(api_key_id))
        if key is None or not _is_own(call, key):
            raise not_found()
        revoked = replace(key, state=move("API key", KEY_TRANSITIONS, key.state, KeyCommand.REVOKE))
        if revoked != key:
            tx.put(revoked)
        return {"api_key": revoked}

    return await once(deps, call, work)


def _is_own(call: CallContext, key: ApiKey) -> bool:
    if call.caller == Caller.OPERATOR:
        return True
    return key.owner_id == call.partner_id and call.bot_id in ("", key.bot_id)


def _owner(call: CallContext, owner_id: str) -> str:
    """Whom the keys speak for: a partner itself, for an operator the one that it names."""
    if call.caller == Caller.PARTNER:
        if owner_id not in ("", call.partner_id):
            raise not_found()
        return call.partner_id
    if not owner_id:
        raise invalid_field("owner_id", "is required of an operator.")
    return owner_id


def _scopes(call: CallContext, owner_id: str, scopes: tuple[str, ...]) -> tuple[str, ...]:
    """What the key may do, sorted: at most what its maker may. Raises FIELD_INVALID, SCOPE_MISSING."""
    if owner_id.startswith("chn_") and scopes:
        raise invalid_field("scopes", "must be empty for a channel: its key may do what channels may.")
    unknown = sorted(set(scopes) - SCOPES - {EVERYTHING})
    if unknown:
        raise invalid_field("scopes", f"{unknown[0]} is no scope. There are: {', '.join(sorted(SCOPES))}, and *.")
    missing = sorted(set(scopes) - call.scopes)
    if missing and EVERYTHING not in call.scopes:
        raise Refused(
            Reason.SCOPE_MISSING,
            f"A key makes none stronger than itself, and this one lacks {missing[0]}. Use one that has it.",
            scope=missing[0],
        )
    return tuple(sorted(set(scopes) or call.scopes))


async def _require_owner(tx: Tx, call: CallContext, wish: _Wish) -> None:
    """NOT_FOUND unless the owner is there, and the bot is the owner's and the one that the maker is bound to."""
    relation = CHANNELS if wish.owner_id.startswith("chn_") else PARTNERS
    if await tx.load(relation.get(wish.owner_id)) is None:
        raise not_found()
    if wish.bot_id:
        bot = await tx.load(BOTS.get(wish.bot_id))
        if bot is None or bot.partner_id != wish.owner_id or call.bot_id not in ("", bot.id):
            raise not_found()


async def _expiry(tx: Tx, call: CallContext, expire_time: int) -> int:
    """When the key stops working: not after its maker, which is locked, so that it is no key that was just revoked."""
    maker = await tx.load(KEYS.lock(call.key_id))
    if maker is None or maker.state != KeyState.ACTIVE:
        raise Refused(Reason.CREDENTIAL_INVALID, "The key that was to make this one was revoked. Use another.")
    if not expire_time:
        return maker.expire_time
    if expire_time <= tx.now:
        raise invalid_field("expire_time", "must be in the future, or absent for never.")
    if maker.expire_time and expire_time > maker.expire_time:
        raise invalid_field("expire_time", "must not be later than that of the key that makes this one.")
    return expire_time
