"""Defects in what a person agreed to, and in who may ask for what twice."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import select

from comptoir_server.app import (
    checkout_cards,
    confirmations,
    content,
    link_approvals,
    link_secrets,
    once,
    sessions,
    wallet_links,
    webhooks,
)
from comptoir_server.app import checkouts as app_checkouts
from comptoir_server.app.call import CallContext
from comptoir_server.app.deps import Deps
from comptoir_server.domain import checkouts
from comptoir_server.domain.cards import PLATFORM_PAYLOAD, TextContent
from comptoir_server.store.reads import due
from comptoir_server.store.reads.wallets import open_checkouts
from comptoir_server.store.tables import WALLET_LINKS
from comptoir_server.store.tx import Tx
from tests.defects.planting import put, rewrite
from tests.defects.registry import Kind, defect

CONFIRM = "integration/test_confirm.py::test_"
CONSENT = "integration/test_consent.py::test_"
LINKS = "integration/test_wallet_links.py::test_"


@defect(Kind.OWN, f"{CONFIRM}a_late_duplicate_after_a_decline_is_stale_and_charges_nothing[sqlite]")
def version_is_not_compared() -> None:
    """A yes counts for whatever the checkout says by now."""
    rewrite(checkouts.Checkout.require_version, "if version != self.version:", "if False:")


@defect(Kind.OWN, f"{CONFIRM}a_confirm_after_expiry_charges_nothing_and_says_expired[sqlite]")
def expiry_goes_by_the_caller() -> None:
    """Whether there was time is decided by when the caller says it began, and not by the transaction's clock."""
    rewrite(
        confirmations._begin, "checkout.require_unexpired(tx.now)", "checkout.require_unexpired(checkout.create_time)"
    )


@defect(Kind.OWN, f"{CONFIRM}expiry_leaves_a_checkout_alone_that_is_being_paid[sqlite]")
def expiry_ends_what_is_being_paid() -> None:
    """A checkout may expire while its payment is under way."""
    put(
        checkouts.CHECKOUT_TRANSITIONS,
        (checkouts.CheckoutState.PROCESSING, checkouts.CheckoutCommand.EXPIRE),
        checkouts.CheckoutState.EXPIRED,
    )
    rewrite(
        app_checkouts.expire,
        "(CheckoutState.OPEN, CheckoutState.REQUIRES_ACTION)",
        "(CheckoutState.OPEN, CheckoutState.REQUIRES_ACTION, CheckoutState.PROCESSING)",
    )
    rewrite(due.checkouts, '("OPEN", "REQUIRES_ACTION")', '("OPEN", "REQUIRES_ACTION", "PROCESSING")')


@defect(Kind.OWN, "integration/test_wallets.py::test_a_closed_market_links_nothing[sqlite]")
def market_gate_is_open_for_links() -> None:
    """A wallet may be linked where its provider is closed."""
    rewrite(checkout_cards.is_open, "return market is not None and market.open and", "return market is None or")


@defect(Kind.OWN, f"{CONSENT}a_market_that_has_closed_since_charges_nothing[sqlite]")
def market_gate_is_open_for_payments() -> None:
    """A wallet pays where its provider is closed by now."""
    rewrite(confirmations._wallet, "if not is_open(market, tx.now):", "if False:")


@defect(Kind.OWN, f"{CONSENT}a_pay_button_counts_for_its_own_person_session_checkout_version_and_wallet_only[sqlite]")
def pay_button_of_another_version() -> None:
    """What a pay button carries is not held against our mark."""
    rewrite(checkout_cards.read_pay_payload, "and vault.matches(", "and True or vault.matches(")


@defect(Kind.OWN, f"{CONSENT}a_pressed_button_agrees_to_the_version_it_was_drawn_for[sqlite]")
def pay_button_means_the_newest_version() -> None:
    """A button that was drawn for an old price pays the new one."""
    rewrite(
        confirmations._begin,
        "version, wallet_id = _pressed(deps, checkout, yes)",
        "version, wallet_id = checkout.version, _pressed(deps, checkout, yes)[1]",
    )


@defect(Kind.OWN, f"{CONSENT}words_that_look_like_a_pay_button_pay_nothing[sqlite]")
def anybody_mints_pay_buttons() -> None:
    """People and bots may send what only the platform draws."""
    rewrite(content._require_own_payload, "if payload.strip()", "if False and payload.strip()")


@defect(Kind.OWN, f"{CONSENT}words_that_look_like_a_pay_button_pay_nothing[sqlite]")
def typed_text_confirms() -> None:
    """What a person types is taken for a pressed pay button."""

    async def take_for_a_button(deps: Deps, call: CallContext, session_id: str, said: object) -> None:
        if not isinstance(said, TextContent) or not said.text.startswith(f"{PLATFORM_PAYLOAD}pay:"):
            return
        for checkout_id in await deps.store.read(lambda tx: open_checkouts(tx, session_id)):
            yes = replace(call, method="ConfirmCheckout", fingerprint=said.text)
            await confirmations.confirm_checkout(
                deps, yes, checkout_id=checkout_id, version=0, wallet_id="", button_payload=said.text
            )

    sessions._take_for_a_button = take_for_a_button  # type: ignore[attr-defined]
    rewrite(
        sessions.send_message,
        "    answer = await once(deps, call, work)\n",
        "    await _take_for_a_button(deps, call, session_id, content)\n    answer = await once(deps, call, work)\n",
    )


@defect(Kind.OWN, f"{CONSENT}nobody_pays_with_the_wallet_of_somebody_else[sqlite]")
def wallet_of_somebody_else_pays() -> None:
    """Any wallet pays whose id is known."""
    rewrite(confirmations._wallet, "if wallet is None or wallet.user_id != checkout.user_id:", "if wallet is None:")


@defect(Kind.OWN, f"{CONSENT}a_wallet_that_was_unlinked_charges_nothing[sqlite]")
def unlinked_wallet_pays() -> None:
    """A wallet pays although its person took it away."""
    rewrite(confirmations._wallet, "wallet.state != WalletState.ACTIVE or ", "")


@defect(Kind.OWN, f"{CONSENT}a_merchant_who_is_suspended_charges_nothing[sqlite]")
def suspended_merchant_charges() -> None:
    """Whoever was suspended goes on taking money."""
    rewrite(confirmations._wallet, "partner.state != PartnerState.ACTIVE or ", "")


@defect(Kind.OWN, f"{CONFIRM}a_request_id_with_other_content_is_refused[sqlite]")
def fingerprint_is_not_compared() -> None:
    """A request id that was used for something else is answered as if it were the same."""
    rewrite(once.require_same, "if request.fingerprint != call.fingerprint:", "if False:")


@defect(Kind.OWN, "integration/test_consent.py::test_the_same_request_id_of_two_callers_is_two_requests[sqlite]")
def request_id_is_not_scoped_to_its_caller() -> None:
    """Two callers who draw the same request id get one answer."""
    rewrite(vars(CallContext)["request_key"].fget, "request_key(self.owner,", 'request_key("everybody",')


@defect(Kind.OWN, "integration/test_http.py::test_no_delivery_completes_a_link[sqlite]")
def link_goes_on_by_a_webhook() -> None:
    """A delivery about a new permission stands in for the browser that should have come back."""

    async def pending(tx: Tx) -> list[str]:
        columns = WALLET_LINKS.table.c
        statement = select(columns.id).where(columns.state == "PENDING_APPROVAL", columns.provider_reference != "")
        return [row[0] for row in await tx.query(statement)]

    async def go_on(deps: Deps, provider: str) -> None:
        for link_id in await deps.store.read(pending):
            link = await deps.store.read(lambda tx, link_id=link_id: tx.load(WALLET_LINKS.get(link_id)))  # type: ignore[misc]
            linked = await deps.providers[provider].complete_link(link.id, link.provider_reference)
            await link_approvals._keep_approval(deps, link.id, "", linked)

    webhooks._go_on = go_on  # type: ignore[attr-defined]
    rewrite(webhooks.receive, '    fault("webhook.stored")\n', "    await _go_on(deps, provider)\n")


@defect(Kind.OWN, f"{LINKS}a_wrong_code_is_counted_and_the_right_one_still_works[sqlite]")
def code_tries_are_not_counted() -> None:
    """A confirmation code may be guessed for as long as it takes."""
    rewrite(wallet_links._count_wrong_code, "tries=link.tries + 1", "tries=link.tries")


@defect(Kind.OWN, f"{LINKS}a_wrong_code_is_counted_and_the_right_one_still_works[sqlite]")
def code_is_not_compared() -> None:
    """Any confirmation code is the right one."""
    rewrite(link_secrets.is_code, "return bool(link.code_hash) and", "return True or")


@defect(Kind.OWN, f"{LINKS}an_attacker_who_continues_himself_cannot_fetch_what_the_victim_approved[sqlite]")
def code_is_shown_to_any_browser() -> None:
    """Whoever has the address of a link sees its code."""
    rewrite(link_approvals._step, "if link.browser_hash and not", "if False and not")
    rewrite(link_approvals.return_to_link, "if not link_secrets.is_return_proof(deps.vault, link, proof):", "if False:")


@defect(Kind.OWN, f"{LINKS}a_form_that_another_site_sends_binds_nothing[sqlite]")
def another_site_may_press_continue() -> None:
    """A form needs not come from the page that it belongs to."""
    rewrite(link_secrets.is_form_nonce, "return bool(browser) and", "return True or")
