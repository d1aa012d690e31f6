"""Linking a wallet, seen from the chat: start it, carry the code back, or give it up.

What happens in the browser between is in `link_approvals.py`. No webhook ever completes a link, and no link becomes
a wallet without the code: it is shown only to a browser that both began and approved, and counts only in the chat
of the person who started.
"""

from __future__ import annotations

from functools import partial

from comptoir_server.app import link_secrets, markets
from comptoir_server.app.access import personal
from comptoir_server.app.call import CallContext
from comptoir_server.app.checkout_cards import draw_checkout, stage
from comptoir_server.app.deps import Deps
from comptoir_server.app.events import tell
from comptoir_server.app.messages import append, say
from comptoir_server.app.once import Answer, once
from comptoir_server.app.wallet_views import bare_link, bare_wallet, link_view, wallet_view
from comptoir_server.domain.cards import NoticeCard, NoticeKind, WalletLinkCard
from comptoir_server.domain.checkouts import CheckoutState
from comptoir_server.domain.errors import Reason, Refused, not_found
from comptoir_server.domain.records import replace
from comptoir_server.domain.sessions import Sender
from comptoir_server.domain.transitions import allows, move
from comptoir_server.domain.users import User
from comptoir_server.domain.wallets import (
    LINK_SECONDS,
    LINK_TRANSITIONS,
    LINK_TRIES,
    LINKS_PENDING_MAX,
    WALLET_TRANSITIONS,
    LinkCommand,
    LinkState,
    Wallet,
    WalletCommand,
    WalletLink,
    WalletState,
)
from comptoir_server.runtime import MICROSECONDS
from comptoir_server.store.reads.wallets import links_to_expire, open_checkouts
from comptoir_server.store.tables import CHECKOUTS, MARKETS, SESSIONS, USERS, WALLET_LINKS, WALLETS
from comptoir_server.store.tx import Tx

_PENDING = tuple(state for state in LinkState if allows(LINK_TRANSITIONS, state, LinkCommand.EXPIRE))

EXPIRE_AT_ONCE = 100
"""How many links one round of the expiry looks at."""


async def start_wallet_link(deps: Deps, call: CallContext, *, provider: str, session_id: str) -> Answer:
    """A new link, PENDING_APPROVAL for ten minutes; `link_url` is in this answer and in the session's card only.

    Raises FIELD_INVALID, NOT_FOUND (the session), INVALID_STATE (a closed session), MARKET_NOT_AVAILABLE,
    LIMIT_EXCEEDED.
    """
    user_id = call.require_user()
    connector = markets.known_provider(deps, provider)
    link_id = deps.runtime.new_id("wlk")
    secret = link_secrets.encode(deps.runtime.random_bytes(link_secrets.SECRET_BYTES))
    link_url = link_secrets.page_url(deps.settings.public_url, secret)

    async def work(tx: Tx) -> Answer:
        user = await tx.load(USERS.lock(user_id))
        if user is None:
            raise not_found()
        markets.require_open(await tx.load(MARKETS.get((user.market, provider))), connector, user.market, tx.now)
        await require_room(tx, user_id)
        link = _new_link(link_id, user, session_id, provider, link_secrets.url_hash(deps.vault, secret), tx.now)
        if session_id:
            session = personal(call, await tx.load(SESSIONS.lock(session_id)))
            card = WalletLinkCard(link.id, provider, link_url, link.expire_time)
            say(deps, tx, session, user, Sender.PLATFORM, card)
        change(tx, link)
        return {"wallet_link": bare_link(link)}

    answer = await once(deps, call, work)
    made = answer["wallet_link"]
    return {"wallet_link": link_view(made, link_url if made.id == link_id else "")}


async def get_wallet_link(deps: Deps, call: CallContext, *, wallet_link_id: str) -> Answer:
    """The link as it stands. Raises NOT_FOUND."""

    async def work(tx: Tx) -> WalletLink:
        return personal(call, await tx.load(WALLET_LINKS.get(wallet_link_id)))

    return {"wallet_link": link_view(await deps.store.read(work))}


async def confirm_wallet_link(deps: Deps, call: CallContext, *, wallet_link_id: str, confirmation_code: str) -> Answer:
    """Completes the link and makes the wallet, with the code that whoever approved was shown.

    Raises NOT_FOUND, INVALID_STATE, CONFIRMATION_CODE_WRONG; the fifth wrong code fails the link.
    """
    user_id = call.require_user()
    wallet_id = deps.runtime.new_id("wal")

    async def work(tx: Tx) -> Answer | Refused:
        link, user = await tx.load(WALLET_LINKS.lock(wallet_link_id), USERS.lock(user_id))
        link = personal(call, link)
        if user is None:
            raise not_found()
        if overdue(link, tx.now):
            change(tx, end(link, LinkCommand.EXPIRE, tx.now))
            return _too_late()
        state = move("wallet link", LINK_TRANSITIONS, link.state, LinkCommand.CONFIRM)
        if not link_secrets.is_code(deps.vault, link, confirmation_code):
            return _count_wrong_code(tx, link)
        wallet = _new_wallet(deps, wallet_id, link, tx.now)
        link = replace(link, state=state, wallet_id=wallet.id, token_sealed=b"", code_hash="", exchange_time=0)
        await _make_default_if_first(tx, user, wallet)
        change(tx, link)
        tx.put(wallet)
        tell(tx, "wallet", bare_wallet(wallet))
        await _say_linked(deps, tx, link, user)
        return {"wallet_link": bare_link(link), "wallet": bare_wallet(wallet)}

    answer = await once(deps, call, work)
    link, wallet = answer["wallet_link"], answer["wallet"]
    if wallet.id == wallet_id and link.session_id:
        await redraw_open_checkouts(deps, link.session_id)
    user = await deps.store.get(USERS.get(user_id))
    return {"wallet_link": link_view(link), "wallet": wallet_view(wallet, user.default_wallet_id if user else "")}


async def cancel_wallet_link(deps: Deps, call: CallContext, *, wallet_link_id: str) -> Answer:
    """Gives the link up; a token that the provider gave for it is deleted. Raises NOT_FOUND, INVALID_STATE."""
    call.require_user()

    async def work(tx: Tx) -> Answer:
        link = personal(call, await tx.load(WALLET_LINKS.lock(wallet_link_id)))
        ended = end(link, LinkCommand.CANCEL, tx.now)
        if ended != link:
            change(tx, ended)
        return {"wallet_link": bare_link(ended)}

    answer = await once(deps, call, work)
    return {"wallet_link": link_view(answer["wallet_link"])}


async def expire_wallet_links(deps: Deps) -> int:
    """A worker's job: ends the links whose ten minutes are over, and answers how many."""
    now = deps.runtime.now()
    count = 0
    for link_id in await deps.store.read(lambda tx: links_to_expire(tx, now, EXPIRE_AT_ONCE)):

        async def work(tx: Tx, link_id: str = link_id) -> bool:
            link = await tx.load(WALLET_LINKS.lock(link_id))
            if link is None or not overdue(link, tx.now):
                return False
            change(tx, end(link, LinkCommand.EXPIRE, tx.now))
            return True

        count += await deps.store.write(work)
    return count


async def wallet_revoked(tx: Tx, provider: str, token_hash: str) -> bool:
    """The payer took our permission back at the provider: the wallet needs to be linked again.

    `token_hash` is the vault's hash "provider token". Answers whether there is such a wallet.
    """
    found = await tx.load(WALLETS.list_by("by_token", token_hash))
    wallets = await tx.load_all(WALLETS.lock(wallet.id) for wallet in found if wallet.provider == provider)
    for wallet in wallets:
        if wallet is None:
            continue
        state = move("wallet", WALLET_TRANSITIONS, wallet.state, WalletCommand.INVALIDATE)
        if state != wallet.state:
            wallet = replace(wallet, state=state)
            tx.put(wallet)
            tell(tx, "wallet", bare_wallet(wallet))
    return bool(wallets)


async def redraw_open_checkouts(deps: Deps, session_id: str) -> None:
    """Draws the cards of the session's open checkouts again, now that the person can pay with another wallet."""

    async def redraw(tx: Tx, checkout_id: str) -> None:
        checkout = await tx.load(CHECKOUTS.lock(checkout_id))
        if checkout is not None and checkout.state == CheckoutState.OPEN and tx.now < checkout.expire_time:
            scene = await stage(tx, checkout.session_id, checkout.user_id, checkout.partner_id)
            await draw_checkout(deps, tx, scene, checkout)

    for checkout_id in await deps.store.read(lambda tx: open_checkouts(tx, session_id)):
        await deps.store.write(partial(redraw, checkout_id=checkout_id))


def change(tx: Tx, link: WalletLink) -> None:
    """Stores the link in its new state and tells the person's channel."""
    tx.put(link)
    tell(tx, "wallet_link", bare_link(link))


def end(link: WalletLink, command: LinkCommand, now: int) -> WalletLink:
    """The link after a command that makes no wallet of it: whatever token there may be is due for deletion at once."""
    state = move("wallet link", LINK_TRANSITIONS, link.state, command)
    if state == link.state:
        return link
    return replace(link, state=state, code_hash="", revoke_time=now if link.exchange_time else 0)


def is_pending(link: WalletLink, now: int) -> bool:
    """True while the link can still become a wallet."""
    return _has_time(link) and now < link.expire_time


def overdue(link: WalletLink, now: int) -> bool:
    """True where the ten minutes are over and nobody has noted it yet."""
    return _has_time(link) and now >= link.expire_time


async def require_room(tx: Tx, user_id: str) -> None:
    """LIMIT_EXCEEDED where a person has as many pending links as are allowed. Links that have ended are not read."""
    pending = await tx.load_all(WALLET_LINKS.list_by("by_user", user_id, state) for state in _PENDING)
    if sum(is_pending(link, tx.now) for links in pending for link in links) >= LINKS_PENDING_MAX:
        raise Refused(
            Reason.LIMIT_EXCEEDED,
            f"You have {LINKS_PENDING_MAX} links under way. Finish or cancel one, or wait ten minutes.",
            limit="wallet_links_pending",
        )


def _has_time(link: WalletLink) -> bool:
    return allows(LINK_TRANSITIONS, link.state, LinkCommand.EXPIRE)


def _new_link(link_id: str, user: User, session_id: str, provider: str, url_hash: str, now: int) -> WalletLink:
    return WalletLink(
        id=link_id,
        user_id=user.id,
        channel_id=user.channel_id,
        session_id=session_id,
        provider=provider,
        state=LinkState.PENDING_APPROVAL,
        url_hash=url_hash,
        browser_hash="",
        provider_reference="",
        approve_url="",
        code_hash="",
        tries=0,
        token_sealed=b"",
        label="",
        exchange_time=0,
        revoke_time=0,
        revoke_tries=0,
        wallet_id="",
        create_time=now,
        expire_time=now + LINK_SECONDS * MICROSECONDS,
    )


def _new_wallet(deps: Deps, wallet_id: str, link: WalletLink, now: int) -> Wallet:
    token = deps.vault.open_token(link.id, link.token_sealed)
    return Wallet(
        id=wallet_id,
        user_id=link.user_id,
        channel_id=link.channel_id,
        provider=link.provider,
        label=link.label,
        state=WalletState.ACTIVE,
        token_sealed=deps.vault.seal_token(wallet_id, token),
        token_hash=deps.vault.hash("provider token", token),
        revoke_time=0,
        revoke_tries=0,
        create_time=now,
    )


async def _make_default_if_first(tx: Tx, user: User, wallet: Wallet) -> None:
    """The first wallet that can pay becomes the default; it takes over from one that no longer can."""
    current = await tx.load(WALLETS.lock(user.default_wallet_id)) if user.default_wallet_id else None
    if current is None or current.state != WalletState.ACTIVE:
        tx.put(replace(user, default_wallet_id=wallet.id))


async def _say_linked(deps: Deps, tx: Tx, link: WalletLink, user: User) -> None:
    if not link.session_id:
        return
    session = await tx.load(SESSIONS.lock(link.session_id))
    if session is not None:
        name = deps.providers[link.provider].capabilities.display_name
        text = f"{name} {link.label} is linked. From now on you can pay with it here."
        append(deps, tx, session, user, Sender.PLATFORM, NoticeCard(NoticeKind.WALLET_LINKED, "", text, ""))


def _count_wrong_code(tx: Tx, link: WalletLink) -> Refused:
    """Keeps the try; the last one fails the link."""
    link = replace(link, tries=link.tries + 1)
    left = LINK_TRIES - link.tries
    if left:
        tx.put(link)
        message = f"This is not the code that was shown after the approval. {left} more tries remain."
    else:
        change(tx, end(link, LinkCommand.FAIL, tx.now))
        message = "This is not the code that was shown after the approval. No try remains: start a new link."
    return Refused(Reason.CONFIRMATION_CODE_WRONG, message, tries_left=left)


def _too_late() -> Refused:
    return Refused(
        Reason.INVALID_STATE,
        "The wallet link is EXPIRED: its ten minutes ran out. Start a new one.",
        state=LinkState.EXPIRED,
        allowed=LinkState.PENDING_CONFIRMATION,
    )
