"""Linking a wallet, seen from a browser: look, continue to the provider, come back, read the code.

Two things are asked of whoever wants the code, and nobody but an honest person has both: the cookie of the browser
that pressed Continue, and the proof in the address that the provider sends an approver back to. Somebody who begins
in his own browser and lets another person approve has the cookie but never sees the proof; the other person has the
proof but not the cookie, and that visit ends the link.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from comptoir_server.app import link_secrets
from comptoir_server.app.deps import Deps
from comptoir_server.app.ports import LinkedWallet, LinkRefused, LinkStart, ProviderUnavailable
from comptoir_server.app.users import display_name
from comptoir_server.app.wallet_links import change, end, overdue
from comptoir_server.domain.records import replace
from comptoir_server.domain.transitions import allows, move
from comptoir_server.domain.wallets import LINK_TRANSITIONS, LinkCommand, LinkState, WalletLink
from comptoir_server.runtime import fault
from comptoir_server.store.tables import CHANNELS, USERS, WALLET_LINKS
from comptoir_server.store.tx import Tx
from comptoir_server.vault import Unreadable


class Step(StrEnum):
    """What a browser is shown next."""

    INVITATION = "INVITATION"
    """For whom the link is and what will happen, with the button to continue."""
    COOKIE_MISSING = "COOKIE_MISSING"
    """The invitation again: the form did not come from a page that this browser was given."""
    PROVIDER_SILENT = "PROVIDER_SILENT"
    """The invitation again: the provider could not be reached."""
    LEAVE = "LEAVE"
    """On to the provider's page at `url`."""
    ANSWER_SILENT = "ANSWER_SILENT"
    """The provider did not answer after the approval; the same address may be loaded again."""
    CODE = "CODE"
    """The code, to be typed into the chat."""
    OTHER_BROWSER = "OTHER_BROWSER"
    """Another browser began; this one is told nothing."""
    COMPLETED = "COMPLETED"
    CANCELED = "CANCELED"
    EXPIRED = "EXPIRED"
    FAILED = "FAILED"
    ABSENT = "ABSENT"


@dataclass(frozen=True, slots=True)
class LinkPage:
    """What to show. Names are filled in for the invitation and the code only."""

    step: Step
    url: str = ""
    nonce: str = ""
    code: str = ""
    provider_name: str = ""
    channel_name: str = ""
    person_name: str = ""
    label: str = ""


async def open_link(deps: Deps, secret: str, browser: str) -> LinkPage:
    """The page of the link at its address, as `browser` may see it. Changes nothing."""

    async def look(tx: Tx) -> LinkPage:
        link = await tx.load(WALLET_LINKS.get_by("by_url", link_secrets.url_hash(deps.vault, secret)))
        step = _step(deps, link, browser, tx.now)
        return LinkPage(step) if link is None else await _page(deps, tx, link, browser, step)

    return await deps.store.read(look)


async def continue_link(deps: Deps, secret: str, browser: str, nonce: str) -> LinkPage:
    """Binds the link to the first browser that continues, and sends it to the provider."""

    async def bind(tx: Tx) -> tuple[Step, WalletLink | None]:
        link = await _locked(deps, tx, secret)
        step = _step(deps, link, browser, tx.now)
        if link is None or step != Step.INVITATION:
            return step, link
        if not link_secrets.is_form_nonce(deps.vault, link.id, browser, nonce):
            return Step.COOKIE_MISSING, link
        if not link.browser_hash:
            link = replace(link, browser_hash=link_secrets.browser_hash(deps.vault, link.id, browser))
            tx.put(link)
        return Step.LEAVE, link

    step, link = await deps.store.write(bind)
    if link is None or step != Step.LEAVE:
        return await _shown(deps, link, browser, step)
    if link.approve_url:
        return LinkPage(Step.LEAVE, url=link.approve_url)
    page = link_secrets.page_url(deps.settings.public_url, secret)
    return_url = f"{page}/return?state={link_secrets.return_proof(deps.vault, link)}"
    try:
        begun = await deps.providers[link.provider].begin_link(link.id, return_url, f"{page}/cancel")
    except ProviderUnavailable:
        return await _shown(deps, link, browser, Step.PROVIDER_SILENT)
    link = await _keep_start(deps, link.id, begun)
    step = _step(deps, link, browser, deps.runtime.now())
    return LinkPage(Step.LEAVE, url=link.approve_url) if step == Step.INVITATION else LinkPage(step)


async def return_to_link(deps: Deps, secret: str, browser: str, proof: str) -> LinkPage:
    """Takes an approval from whoever has both the cookie and the proof, and exchanges it for the provider's token.

    The proof in another browser ends the link: that is what stealing an approval looks like.
    """

    async def admit(tx: Tx) -> tuple[Step, WalletLink | None]:
        link = await _locked(deps, tx, secret)
        step = _step(deps, link, browser, tx.now)
        if link is None or step not in (Step.INVITATION, Step.OTHER_BROWSER) or not link.provider_reference:
            return step, link
        if not link_secrets.is_return_proof(deps.vault, link, proof):
            return step, link
        if step == Step.OTHER_BROWSER:
            link = end(link, LinkCommand.FAIL, tx.now)
            change(tx, link)
            return step, link
        link = replace(link, exchange_time=link.exchange_time or tx.now)
        tx.put(link)
        return Step.LEAVE, link

    step, link = await deps.store.write(admit)
    if link is None or step != Step.LEAVE:
        return await _shown(deps, link, browser, step)
    linked: LinkedWallet | None
    try:
        linked = await deps.providers[link.provider].complete_link(link.id, link.provider_reference)
    except LinkRefused:
        linked = None
    except ProviderUnavailable:
        return LinkPage(Step.ANSWER_SILENT)
    fault("link.exchanged")
    link = await _keep_approval(deps, link.id, browser, linked)
    return await _shown(deps, link, browser, _step(deps, link, browser, deps.runtime.now()))


async def abandon_link(deps: Deps, secret: str, browser: str) -> LinkPage:
    """The person cancelled at the provider; only the browser that began can say so."""

    async def work(tx: Tx) -> Step:
        link = await _locked(deps, tx, secret)
        if link is not None and link_secrets.is_browser(deps.vault, link, browser):
            if allows(LINK_TRANSITIONS, link.state, LinkCommand.CANCEL):
                ended = end(link, LinkCommand.CANCEL, tx.now)
                if ended != link:
                    change(tx, ended)
                link = ended
            return _step(deps, link, browser, tx.now)
        step = _step(deps, link, browser, tx.now)
        return Step.OTHER_BROWSER if step == Step.INVITATION else step

    return LinkPage(await deps.store.write(work))


async def _locked(deps: Deps, tx: Tx, secret: str) -> WalletLink | None:
    return await tx.load(WALLET_LINKS.lock_by("by_url", link_secrets.url_hash(deps.vault, secret)))


def _step(deps: Deps, link: WalletLink | None, browser: str, now: int) -> Step:
    """Where the link stands for this browser."""
    if link is None:
        return Step.ABSENT
    if overdue(link, now):
        return Step.EXPIRED
    if link.state not in _PENDING:
        return Step(link.state)
    if link.browser_hash and not link_secrets.is_browser(deps.vault, link, browser):
        return Step.OTHER_BROWSER
    return _PENDING[link.state]


_PENDING = {LinkState.PENDING_APPROVAL: Step.INVITATION, LinkState.PENDING_CONFIRMATION: Step.CODE}
_NAMING = frozenset({Step.INVITATION, Step.COOKIE_MISSING, Step.PROVIDER_SILENT, Step.CODE})


async def _shown(deps: Deps, link: WalletLink | None, browser: str, step: Step) -> LinkPage:
    if link is None:
        return LinkPage(step)
    return await deps.store.read(lambda tx: _page(deps, tx, link, browser, step))


async def _page(deps: Deps, tx: Tx, link: WalletLink, browser: str, step: Step) -> LinkPage:
    """The page of a step, with names where it names anybody."""
    if step not in _NAMING:
        return LinkPage(step)
    user, channel = await tx.load(USERS.get(link.user_id), CHANNELS.get(link.channel_id))
    if user is None or channel is None:
        return LinkPage(Step.ABSENT)
    try:
        person_name = display_name(deps.vault, user)
    except Unreadable:
        return LinkPage(Step.ABSENT)
    return LinkPage(
        step,
        nonce=link_secrets.form_nonce(deps.vault, link.id, browser) if step != Step.CODE else "",
        code=link_secrets.confirmation_code(deps.vault, link.id, browser) if step == Step.CODE else "",
        provider_name=deps.providers[link.provider].capabilities.display_name,
        channel_name=channel.display_name,
        person_name=person_name,
        label=link.label,
    )


async def _keep_start(deps: Deps, link_id: str, begun: LinkStart) -> WalletLink:
    """Stores where the person approves; the first answer stays."""

    async def work(tx: Tx) -> WalletLink:
        link = await _present(tx, link_id)
        if not link.approve_url:
            link = replace(link, provider_reference=begun.reference, approve_url=begun.approve_url)
            tx.put(link)
        return link

    return await deps.store.write(work)


async def _keep_approval(deps: Deps, link_id: str, browser: str, linked: LinkedWallet | None) -> WalletLink:
    """Stores the token and the code's hash; fails the link where the provider refused (then there is no token).

    A token that comes for a link which has ended meanwhile is stored to be deleted.
    """

    async def work(tx: Tx) -> WalletLink:
        link = await _present(tx, link_id)
        if linked is None:
            if link.state == LinkState.PENDING_APPROVAL:
                link = end(replace(link, exchange_time=0), LinkCommand.FAIL, tx.now)
                change(tx, link)
            return link
        if link.state in (LinkState.PENDING_CONFIRMATION, LinkState.COMPLETED):
            return link
        link = replace(link, token_sealed=deps.vault.seal_token(link.id, linked.token), label=linked.label)
        if overdue(link, tx.now):
            link = end(link, LinkCommand.EXPIRE, tx.now)
            change(tx, link)
        elif link.state == LinkState.PENDING_APPROVAL:
            code = link_secrets.confirmation_code(deps.vault, link.id, browser)
            state = move("wallet link", LINK_TRANSITIONS, link.state, LinkCommand.APPROVE)
            link = replace(link, state=state, code_hash=link_secrets.code_hash(deps.vault, link.id, code))
            change(tx, link)
        else:
            link = replace(link, revoke_time=tx.now, revoke_tries=0)
            tx.put(link)
        return link

    return await deps.store.write(work)


async def _present(tx: Tx, link_id: str) -> WalletLink:
    link = await tx.load(WALLET_LINKS.lock(link_id))
    if link is None:
        raise AssertionError(f"the wallet link {link_id} is gone")
    return link
