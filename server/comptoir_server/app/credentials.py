"""API keys and user tokens: making them, and telling from a call's metadata who calls.

What is concluded is kept no longer than the state of the database that it was concluded from: a revoked key, a
suspended partner or user is refused from the next call on.
"""

from __future__ import annotations

import functools
import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

from comptoir_server.app.call import Caller
from comptoir_server.app.deps import Deps
from comptoir_server.domain import ids
from comptoir_server.domain.errors import Reason, Refused, invalid_field, not_found
from comptoir_server.domain.partners import ApiKey, BotState, KeyState, PartnerState
from comptoir_server.domain.users import User, UserState
from comptoir_server.runtime import MICROSECONDS, Runtime
from comptoir_server.store.tables import BOTS, KEYS, PARTNERS, USERS
from comptoir_server.store.tx import Tx
from comptoir_server.vault import Vault

TOKEN_SECONDS = 15 * 60
"""How long a user token works."""

AUDIENCE = "comptoir"
USER_METADATA = "comptoir-user"
"""The metadata entry in which a channel names the user that it speaks for."""

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_RANDOM_LENGTH = 30
_CHECK_LENGTH = 6
_HINT_LENGTH = 4
_KEY = re.compile(r"cmp_(test|live)_[0-9A-Za-z]{36}")
_TOKEN_LENGTH_MAX = 2048
_ALGORITHM = "HS256"
_HEADER = jwt.encode({"alg": _ALGORITHM}, {}, OctKey.generate_key()).partition(".")[0]
"""What every token of ours begins with: what else a header may hold is nothing to be read before it is verified."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls, after the credential was verified.

    `named` is the user whom a channel names, and `absent` says that it is not one of the channel's: `admit` tells so,
    once the right to the method is certain.
    """

    caller: Caller
    partner_id: str = ""
    bot_id: str = ""
    user_id: str = ""
    channel_id: str = ""
    key_id: str = ""
    scopes: frozenset[str] = frozenset({"*"})
    absent: bool = False
    expire_time: int = 0
    """When the credential stops working (microseconds), 0 for never."""


def new_secret(runtime: Runtime, mode: str) -> str:
    """A new API key for `test` or `live`: 30 random characters (178 bits) and 6 of a checksum against typing errors."""
    limit = 256 - 256 % len(_ALPHABET)
    characters: list[str] = []
    while len(characters) < _RANDOM_LENGTH:
        drawn = runtime.random_bytes(_RANDOM_LENGTH)
        characters += [_ALPHABET[byte % len(_ALPHABET)] for byte in drawn if byte < limit]
    body = f"cmp_{mode}_{''.join(characters[:_RANDOM_LENGTH])}"
    return body + _checksum(body)


def hint(secret: str) -> str:
    """The first characters of an API key, by which its owner tells keys apart."""
    return secret[: len("cmp_test_") + _HINT_LENGTH]


def secret_hash(vault: Vault, secret: str) -> str:
    """The keyed hash under which an API key is stored and found."""
    return vault.hash("api key", secret)


def issue_token(deps: Deps, user: User) -> tuple[str, int]:
    """A token with which the person's own device may call, and when it stops working (microseconds)."""
    now = deps.runtime.now() // MICROSECONDS
    expire = now + TOKEN_SECONDS
    claims = {
        "aud": AUDIENCE,
        "sub": user.id,
        "chn": user.channel_id,
        "mode": deps.settings.mode,
        "iat": now,
        "exp": expire,
    }
    token = jwt.encode({"alg": _ALGORITHM}, claims, _token_key(deps.vault.signing_key))
    return token, expire * MICROSECONDS


async def authenticate(deps: Deps, metadata: Iterable[tuple[str, str | bytes]]) -> Principal:
    """Who calls. Raises CREDENTIAL_INVALID, CREDENTIAL_EXPIRED, PARTNER_SUSPENDED."""
    bearer, named = _read(metadata)
    known = deps.store.conclusions()
    principal: Principal | None = known.get((bearer, named))
    if principal is None or 0 < principal.expire_time <= deps.runtime.now():
        is_key = bearer.startswith("cmp_")
        principal = await (_by_key(deps, bearer, named) if is_key else _by_token(deps, bearer))
        known[bearer, named] = principal
    return principal


def admit(principal: Principal, callers: frozenset[Caller], scope: str) -> None:
    """Refuses whom a method is not for, SCOPE_MISSING, and only then tells that a named user is absent, NOT_FOUND."""
    if principal.caller not in callers:
        allowed = ", ".join(sorted(caller.lower() for caller in callers))
        raise Refused(
            Reason.SCOPE_MISSING,
            f"A {principal.caller.lower()} credential may not call this; it is for: {allowed}.",
            scope=scope,
        )
    if scope and scope not in principal.scopes and "*" not in principal.scopes:
        raise Refused(Reason.SCOPE_MISSING, f"This key lacks the scope {scope}. Use a key that has it.", scope=scope)
    if principal.absent:
        raise not_found()


def _read(metadata: Iterable[tuple[str, str | bytes]]) -> tuple[str, str]:
    """The bearer credential and the user that is named, empty for none. Two of either are none: which one is meant?"""
    authorizations: list[str] = []
    users: list[str] = []
    for key, value in metadata:
        if key == "authorization":
            authorizations.append(str(value))
        elif key == USER_METADATA:
            users.append(str(value))
    if len(authorizations) != 1 or authorizations[0][:7].lower() != "bearer ":
        raise _invalid("Send exactly one entry `authorization: Bearer KEY` in the metadata.")
    if len(users) > 1:
        raise invalid_field(USER_METADATA, "must be sent at most once.")
    return authorizations[0][7:].strip(), users[0] if users else ""


async def _by_key(deps: Deps, secret: str, named: str) -> Principal:
    match = _KEY.fullmatch(secret)
    if match is None or _checksum(secret[:-_CHECK_LENGTH]) != secret[-_CHECK_LENGTH:]:
        raise _invalid("The key is not one of ours, or is mistyped.")
    if match[1] != deps.settings.mode:
        raise _invalid(f"This is a key of {match[1]} mode; the server runs in {deps.settings.mode} mode.")
    found = secret_hash(deps.vault, secret)
    user_id = named if ids.is_valid("usr", named) else ""

    async def work(tx: Tx) -> Principal:
        if user_id:
            key, user = await tx.load(KEYS.get_by("by_secret", found), USERS.get(user_id))
        else:
            key, user = await tx.load(KEYS.get_by("by_secret", found)), None
        key = _require_working(key, tx.now)
        if key.owner_id.startswith("prt_"):
            await _require_active_partner(tx, key)
            return Principal(
                Caller.PARTNER,
                partner_id=key.owner_id,
                bot_id=key.bot_id,
                key_id=key.id,
                scopes=frozenset(key.scopes),
                expire_time=key.expire_time,
            )
        if key.owner_id.startswith("chn_"):
            return _channel(key, named, user)
        return Principal(Caller.OPERATOR, key_id=key.id, scopes=frozenset(key.scopes), expire_time=key.expire_time)

    return await deps.store.read(work)


def _require_working(key: ApiKey | None, now: int) -> ApiKey:
    if key is None or key.state != KeyState.ACTIVE:
        raise _invalid("The key is unknown or was revoked.")
    if key.expire_time and now >= key.expire_time:
        raise Refused(Reason.CREDENTIAL_EXPIRED, "The key has expired. Make a new one.")
    return key


async def _require_active_partner(tx: Tx, key: ApiKey) -> None:
    if key.bot_id:
        partner, bot = await tx.load(PARTNERS.get(key.owner_id), BOTS.get(key.bot_id))
    else:
        partner, bot = await tx.load(PARTNERS.get(key.owner_id)), None
    if partner is None:
        raise _invalid("The key is unknown or was revoked.")
    if partner.state != PartnerState.ACTIVE:
        raise Refused(Reason.PARTNER_SUSPENDED, "The partner is suspended. Contact the operator.")
    if bot is not None and bot.state == BotState.SUSPENDED:
        raise Refused(Reason.PARTNER_SUSPENDED, "The bot is suspended. Contact the operator.")


def _channel(key: ApiKey, named: str, user: User | None) -> Principal:
    """A channel, and the user that it names: its own, or absent, whosever else it is."""
    own = user if user is not None and user.channel_id == key.owner_id else None
    if own is not None:
        _require_active_user(own)
    return Principal(
        Caller.CHANNEL,
        user_id=own.id if own is not None else "",
        channel_id=key.owner_id,
        key_id=key.id,
        scopes=frozenset(key.scopes),
        absent=bool(named) and own is None,
        expire_time=key.expire_time,
    )


async def _by_token(deps: Deps, token: str) -> Principal:
    user_id, channel_id, expire_time = _verified(deps, token)
    user = await deps.store.get(USERS.get(user_id))
    if user is None or user.channel_id != channel_id:
        raise _invalid("The token is not one of ours.")
    _require_active_user(user)
    return Principal(Caller.USER, user_id=user.id, channel_id=user.channel_id, expire_time=expire_time)


def _verified(deps: Deps, token: str) -> tuple[str, str, int]:
    """The user and channel of a token whose signature, audience, mode and time are right, and when it expires."""
    if len(token) > _TOKEN_LENGTH_MAX or token.count(".") != 2:
        raise _invalid("It is neither a key nor a token.")
    if token.partition(".")[0] != _HEADER:
        raise _invalid("The token is not one of ours.")
    try:
        claims = jwt.decode(token, _token_key(deps.vault.signing_key), algorithms=[_ALGORITHM]).claims
    except (JoseError, ValueError) as error:
        raise _invalid("The token is not one of ours.") from error
    user_id, channel_id, expire = claims.get("sub"), claims.get("chn"), claims.get("exp")
    ours = claims.get("aud") == AUDIENCE and claims.get("mode") == deps.settings.mode
    if not (ours and isinstance(user_id, str) and isinstance(channel_id, str) and isinstance(expire, int)):
        raise _invalid("The token is not one of ours.")
    if deps.runtime.now() >= expire * MICROSECONDS:
        raise Refused(Reason.CREDENTIAL_EXPIRED, "The token has expired. Issue a new one with IssueUserToken.")
    return user_id, channel_id, expire * MICROSECONDS


@functools.lru_cache(maxsize=4)
def _token_key(signing_key: bytes) -> OctKey:
    """The signing key as joserfc wants it: making it costs as much as checking a token."""
    return OctKey.import_key(signing_key)


def _require_active_user(user: User) -> None:
    if user.state != UserState.ACTIVE:
        raise Refused(Reason.PARTNER_SUSPENDED, "The user is suspended. Contact the operator.")


def _invalid(why: str) -> Refused:
    return Refused(Reason.CREDENTIAL_INVALID, f"The credential is not valid. {why}")


def _checksum(body: str) -> str:
    """CRC-32 of the key's body in base 62, so that a mistyped key is refused without asking the database."""
    number = zlib.crc32(body.encode())
    characters = ""
    for _ in range(_CHECK_LENGTH):
        number, digit = divmod(number, len(_ALPHABET))
        characters = _ALPHABET[digit] + characters
    return characters
