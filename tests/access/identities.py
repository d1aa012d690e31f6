"""Everybody who may knock, and what each is to be told."""

from __future__ import annotations

from dataclasses import dataclass

from comptoir_server.app import credentials
from comptoir_server.app.call import Caller
from comptoir_server.transport.policy import Method
from tests.access.door import METHODS, Credential, bearer
from tests.access.estate import Estate
from tests.access.sides import Side
from tests.support.world import MovableRuntime

INVALID = "CREDENTIAL_INVALID"
EXPIRED = "CREDENTIAL_EXPIRED"
SUSPENDED = "PARTNER_SUSPENDED"
SCOPE = "SCOPE_MISSING"
ABSENT = "NOT_FOUND"

GROUPS = (
    "no credential",
    "garbage",
    "expired",
    "revoked",
    "suspended",
    "test key on live",
    "wrong kind",
    "wrong scope",
    "another user",
    "another channel",
    "another bot",
    "another partner",
    "owner",
)
"""The columns of the table."""

LOGS = frozenset({"StreamEvents", "ListEvents", "AckEvents"})
"""The log of a channel is the channel's, whichever of its people the call names."""

BOOKS = frozenset({"ListAccounts", "GetBalance", "ListPostings"})
"""The books are the partner's as a whole: a key of one bot reads them where it was given the scope."""

PARTNER_WIDE = frozenset({"CreateBot", "SubmitBot"})
"""What no key does that is bound to one bot: it makes no other bot, and its own is on its way already."""


@dataclass(frozen=True)
class Identity:
    """Somebody who knocks. `told` is the reason of the refusal wherever the credential alone decides; else empty.

    `side` is where their own objects are. On `live` they knock at a server in live mode.
    """

    name: str
    group: str
    credential: Credential
    side: Side
    caller: Caller | None = None
    told: str = ""
    bound: bool = False
    live: bool = False


def spent(estate: Estate) -> list[Identity]:
    """Credentials that work nowhere, or not here."""
    victim, old = estate.victim, estate.spent
    unknown = credentials.new_secret(MovableRuntime(), "test")
    live_key = credentials.new_secret(MovableRuntime(), "live")
    broken = victim.bot_secret[:-1] + ("0" if victim.bot_secret[-1] != "0" else "1")
    two = (*bearer(victim.bot_secret), *bearer(victim.bot_secret)[1:])
    named = bearer(old["channel key for a suspended user"], old["suspended user"])
    rows = [
        ("nothing at all", "no credential", (), INVALID),
        ("an empty bearer", "no credential", (("authorization", "Bearer "),), INVALID),
        ("two credentials", "garbage", two, INVALID),
        ("another scheme", "garbage", (("authorization", f"Basic {victim.bot_secret}"),), INVALID),
        ("words", "garbage", bearer("let me in"), INVALID),
        ("a mistyped key", "garbage", bearer(broken), INVALID),
        ("an unknown key", "garbage", bearer(unknown), INVALID),
        ("three dots", "garbage", bearer("a.b.c"), INVALID),
        ("a live key", "garbage", bearer(live_key), INVALID),
        ("a user's id", "garbage", bearer(victim.user_id), INVALID),
    ]
    for group, why, kinds in (
        ("expired", EXPIRED, ("partner key", "bot key", "channel key", "user token")),
        ("revoked", INVALID, ("partner key", "bot key", "channel key", "operator key")),
    ):
        rows += [(f"the {group} {kind}", group, bearer(old[f"{group} {kind}"]), why) for kind in kinds]
    rows += [
        ("a suspended partner's key", "suspended", bearer(old["key of a suspended partner"]), SUSPENDED),
        ("a suspended bot's key", "suspended", bearer(old["key of a suspended bot"]), SUSPENDED),
        ("a suspended user's token", "suspended", bearer(old["token of a suspended user"]), SUSPENDED),
        ("a channel for a suspended user", "suspended", named, SUSPENDED),
    ]
    return [Identity(name, group, credential, victim, told=told) for name, group, credential, told in rows]


async def working(estate: Estate, method: Method) -> list[Identity]:
    """Credentials that work: of everybody who is not the victim's side."""
    victim, (sibling, neighbour, stranger) = estate.victim, estate.others
    near, far = victim.venue.secret, stranger.venue.secret
    neighbours_token = await estate.token(neighbour.venue, neighbour.user_id)
    strangers_token = await estate.token(stranger.venue, stranger.user_id)
    user, channel, partner = Caller.USER, Caller.CHANNEL, Caller.PARTNER
    found = [
        Identity("another user's token", "another user", bearer(neighbours_token), neighbour, user),
        Identity("the channel for another user", "another user", bearer(near, neighbour.user_id), neighbour, channel),
        Identity("a token of another channel", "another channel", bearer(strangers_token), stranger, user),
        Identity("another channel", "another channel", bearer(far), stranger, channel),
        Identity("another channel for its user", "another channel", bearer(far, stranger.user_id), stranger, channel),
        Identity(
            "another channel for this user", "another channel", bearer(far, victim.user_id), stranger, channel, ABSENT
        ),
        Identity("another bot's key", "another bot", bearer(sibling.bot_secret), sibling, partner, bound=True),
        Identity("another partner's key", "another partner", bearer(stranger.tenant.secret), stranger, partner),
        Identity(
            "another partner's bot", "another partner", bearer(stranger.bot_secret), stranger, partner, bound=True
        ),
    ]
    if method.scope:
        found.append(await _without(estate, method.scope))
    return found


async def _without(estate: Estate, scope: str) -> Identity:
    """The victim's own partner with a key that may do everything but what the method asks for."""
    secret = await _scoped(estate, f"without {scope}", [each for each in sorted(SCOPES) if each != scope])
    return Identity(f"a key without {scope}", "wrong scope", bearer(secret), estate.victim, Caller.PARTNER, SCOPE)


async def _scoped(estate: Estate, name: str, scopes: list[str]) -> str:
    """The secret of a key of the victim's partner with these scopes, made once."""
    name = f"{name} of {estate.victim.tenant.partner_id}"
    if name not in estate.spent:
        estate.spent[name], _ = await estate.new_key(estate.victim.tenant.partner_id, scopes=scopes)
    return estate.spent[name]


SCOPES = frozenset(method.scope for method in METHODS.values() if method.scope)


async def owners(estate: Estate) -> list[Identity]:
    """Everybody whose the victim's objects are, and the operator."""
    victim = estate.victim
    token = await estate.token(victim.venue, victim.user_id)
    near = victim.venue.secret
    return [
        Identity("the partner", "owner", bearer(victim.tenant.secret), victim, Caller.PARTNER),
        Identity("the bot", "owner", bearer(victim.bot_secret), victim, Caller.PARTNER, bound=True),
        Identity("the user", "owner", bearer(token), victim, Caller.USER),
        Identity("the channel for the user", "owner", bearer(near, victim.user_id), victim, Caller.CHANNEL),
        Identity("the channel for nobody", "owner", bearer(near), victim, Caller.CHANNEL),
        Identity("the operator", "owner", bearer(estate.operator_secret), victim, Caller.OPERATOR),
    ]


async def knockers(estate: Estate, method: Method) -> tuple[list[Identity], list[Identity]]:
    """Those who are to be refused or to see nothing of the victim's, and those who are to be answered."""
    strangers = spent(estate)
    mine: list[Identity] = []
    if method.scope:
        secret = await _scoped(estate, f"only {method.scope}", [method.scope])
        name = f"a key with {method.scope} alone"
        mine.append(Identity(name, "owner", bearer(secret), estate.victim, Caller.PARTNER))
    for owner in await owners(estate):
        if owner.caller not in method.callers:
            strangers.append(_changed(owner, "wrong kind", SCOPE))
        else:
            mine.append(owner)
        strangers.append(_changed(owner, "test key on live", INVALID, live=True))
    for other in await working(estate, method):
        if other.caller not in method.callers:
            strangers.append(_changed(other, "wrong kind", SCOPE))
        elif _shares(estate.victim, method, other):
            mine.append(other)
        else:
            strangers.append(other)
    return strangers, mine


def makes(method: Method, caller: Caller | None) -> bool:
    """Whether what the method answers to somebody is their own alone: neither a log nor what an operator sees."""
    return not method.reads and method.name not in LOGS and caller != Caller.OPERATOR


def _shares(victim: Side, method: Method, other: Identity) -> bool:
    """Whether what the method reads is not the side's alone, but its channel's or its partner's."""
    if other.told:
        return False
    if method.name in LOGS:
        return other.caller == Caller.CHANNEL and other.side.venue == victim.venue
    return method.name in BOOKS and other.side.tenant == victim.tenant


def _changed(identity: Identity, group: str, told: str, *, live: bool = False) -> Identity:
    name = f"{identity.name} on live" if live else identity.name
    return Identity(name, group, identity.credential, identity.side, identity.caller, told, identity.bound, live)
