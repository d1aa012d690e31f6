"""People, as their channel makes them known. What tells who they are is sealed under a key of their own."""

from __future__ import annotations

from dataclasses import dataclass

from comptoir_server.app import credentials
from comptoir_server.app.call import CallContext
from comptoir_server.app.deps import Deps
from comptoir_server.app.locales import DEFAULT_LOCALE, DEFAULT_TIME_ZONE, canonical_locale, is_market, is_time_zone
from comptoir_server.app.once import Answer
from comptoir_server.domain.errors import Reason, Refused, invalid_field, not_found
from comptoir_server.domain.records import replace
from comptoir_server.domain.users import User, UserState
from comptoir_server.store.tables import USERS
from comptoir_server.store.tx import Tx
from comptoir_server.vault import DataKey, Vault


@dataclass(frozen=True, slots=True)
class UserView:
    """A person opened for reading."""

    user: User
    channel_user_id: str
    display_name: str


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a person is and how they write: checked, and in canonical form."""

    market: str
    locale: str
    time_zone: str


def display_name(vault: Vault, user: User) -> str:
    """The name that is shown on link pages and receipts. Raises Unreadable once the person was erased."""
    return _key(vault, user).open(user.id, user.display_name_sealed)


def view(vault: Vault, user: User) -> UserView:
    """The person opened with their own key. Raises Unreadable once the person was erased."""
    channel_user_id = _key(vault, user).open(_channel_row(user.id), user.channel_user_sealed)
    return UserView(user, channel_user_id, display_name(vault, user))


async def register_user(
    deps: Deps, call: CallContext, *, channel_user_id: str, display_name: str, market: str, locale: str, time_zone: str
) -> Answer:
    """Makes a person known, or brings what is known of them up to date. Raises FIELD_INVALID."""
    place = _place(market, locale, time_zone)
    found_by = deps.vault.hash("channel user", f"{call.channel_id}|{channel_user_id}")

    async def work(tx: Tx) -> User:
        user = await tx.load(USERS.lock_by("by_channel_user", call.channel_id, found_by))
        if user is None:
            user = _new_user(deps.vault, tx, call.channel_id, channel_user_id, found_by, display_name, place)
            tx.put(user)
            return user
        changed = _changed(deps.vault, user, display_name, place)
        if changed != user:
            tx.put(changed)
        return changed

    return {"user": view(deps.vault, await deps.store.write(work))}


async def issue_user_token(deps: Deps, call: CallContext, *, user_id: str) -> Answer:
    """Issues a token for one person's own device. Raises NOT_FOUND, PARTNER_SUSPENDED."""
    user = await _own_user(deps, call, user_id)
    if user.state != UserState.ACTIVE:
        raise Refused(Reason.PARTNER_SUSPENDED, "The user is suspended. Contact the operator.")
    token, expire_time = credentials.issue_token(deps, user)
    return {"token": token, "expire_time": expire_time}


async def get_user(deps: Deps, call: CallContext, *, user_id: str) -> Answer:
    """Reads a person: a channel any of its own, a person themselves. Raises NOT_FOUND."""
    return {"user": view(deps.vault, await _own_user(deps, call, user_id))}


async def _own_user(deps: Deps, call: CallContext, user_id: str) -> User:
    user = await deps.store.get(USERS.get(user_id))
    if user is None or user.channel_id != call.channel_id or call.user_id not in ("", user.id):
        raise not_found()
    return user


def _place(market: str, locale: str, time_zone: str) -> _Place:
    if not is_market(market):
        raise invalid_field("market", "must be an ISO 3166-1 alpha-2 code in upper case, such as US.")
    known = canonical_locale(locale or DEFAULT_LOCALE)
    if known is None:
        raise invalid_field(
            "locale",
            "must be a BCP 47 tag of a language, perhaps with script and region, whose money and dates are "
            "known, such as fr-FR. Send one that is close, or leave it out.",
        )
    zone = time_zone or DEFAULT_TIME_ZONE
    if not is_time_zone(zone):
        raise invalid_field("time_zone", "must be an IANA time zone name, such as Europe/Paris.")
    return _Place(market, known, zone)


def _new_user(
    vault: Vault, tx: Tx, channel_id: str, channel_user_id: str, found_by: str, name: str, place: _Place
) -> User:
    user_id = tx.new_id("usr")
    wrapped = vault.new_key(user_id)
    key = vault.key(user_id, wrapped)
    return User(
        id=user_id,
        channel_id=channel_id,
        channel_user_hash=found_by,
        channel_user_sealed=key.seal(_channel_row(user_id), channel_user_id),
        display_name_sealed=key.seal(user_id, name),
        wrapped_key=wrapped,
        market=place.market,
        locale=place.locale,
        time_zone=place.time_zone,
        state=UserState.ACTIVE,
        default_wallet_id="",
        create_time=tx.now,
    )


def _changed(vault: Vault, user: User, name: str, place: _Place) -> User:
    """The person as they are known now; the same record where nothing is new, since sealing never gives it twice."""
    if name != display_name(vault, user):
        user = replace(user, display_name_sealed=_key(vault, user).seal(user.id, name))
    return replace(user, market=place.market, locale=place.locale, time_zone=place.time_zone)


def _key(vault: Vault, user: User) -> DataKey:
    return vault.key(user.id, user.wrapped_key)


def _channel_row(user_id: str) -> str:
    """What the channel's id is bound to: not the row alone, or it could be put in the place of the name."""
    return f"{user_id} channel_user_id"
