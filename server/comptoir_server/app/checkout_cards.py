"""The cards that only the platform draws: pay buttons, receipts, notices."""

from __future__ import annotations

from dataclasses import dataclass

from comptoir_server.app.deps import Deps
from comptoir_server.app.messages import append
from comptoir_server.app.rendering import money_text
from comptoir_server.domain.cards import (
    PLATFORM_PAYLOAD,
    CheckoutCard,
    Content,
    NoticeCard,
    NoticeKind,
    PayButton,
    PriceLine,
    ReceiptCard,
)
from comptoir_server.domain.checkouts import Adjustment, AdjustmentKind, Checkout, LineItem
from comptoir_server.domain.errors import Reason, Refused
from comptoir_server.domain.money import Money
from comptoir_server.domain.orders import Order
from comptoir_server.domain.partners import Partner
from comptoir_server.domain.payments import Payment
from comptoir_server.domain.sessions import Sender, Session
from comptoir_server.domain.users import User
from comptoir_server.domain.wallets import Market, Wallet, WalletState
from comptoir_server.store.tables import MARKETS, PARTNERS, SESSIONS, USERS, WALLETS
from comptoir_server.store.tx import Tx
from comptoir_server.vault import Vault

_PAY = f"{PLATFORM_PAYLOAD}pay:"


@dataclass(frozen=True, slots=True)
class Stage:
    """Everybody in a conversation about money: the session (locked), its person, and the partner."""

    session: Session
    user: User
    partner: Partner


async def stage(tx: Tx, session_id: str, user_id: str, partner_id: str) -> Stage:
    """Locks the session and reads the person and the partner, all of whom exist."""
    session, user, partner = await tx.load(SESSIONS.lock(session_id), USERS.get(user_id), PARTNERS.get(partner_id))
    if session is None or user is None or partner is None:
        raise AssertionError(f"the conversation {session_id} has lost somebody")
    return Stage(session, user, partner)


def speak(deps: Deps, tx: Tx, scene: Stage, content: Content) -> Stage:
    """The platform says `content`; answers the scene with the session as it is now."""
    session, _ = append(deps, tx, scene.session, scene.user, Sender.PLATFORM, content)
    return Stage(session, scene.user, scene.partner)


def price_lines(
    items: tuple[LineItem, ...], adjustments: tuple[Adjustment, ...], currency_code: str
) -> tuple[PriceLine, ...]:
    """The lines of a price as people read them."""
    bought = [
        PriceLine(
            f"{item.quantity} × {item.title}" if item.quantity > 1 else item.title, Money(item.amount, currency_code)
        )
        for item in items
    ]
    others = [
        PriceLine(part.label, Money(part.amount, currency_code), discount=part.kind == AdjustmentKind.DISCOUNT)
        for part in adjustments
    ]
    return (*bought, *others)


async def draw_checkout(deps: Deps, tx: Tx, scene: Stage, checkout: Checkout) -> Stage:
    """Shows the checkout at its version, with a pay button for each wallet or invitations to link one."""
    wallets = await tx.load(WALLETS.list_by("by_user", scene.user.id))
    active = [wallet for wallet in wallets if wallet.state == WalletState.ACTIVE]
    active.sort(key=lambda wallet: (wallet.id != scene.user.default_wallet_id, wallet.id))
    if active:
        buttons = tuple(_pay_button(deps, scene.user, checkout, wallet) for wallet in active)
    else:
        buttons = await _link_buttons(deps, tx, scene.user)
    card = CheckoutCard(
        checkout_id=checkout.id,
        version=checkout.version,
        partner_display_name=scene.partner.display_name,
        lines=price_lines(checkout.items, checkout.adjustments, checkout.currency_code),
        total=Money(checkout.total, checkout.currency_code),
        buttons=buttons,
        expire_time=checkout.expire_time,
    )
    return speak(deps, tx, scene, card)


def _pay_button(deps: Deps, user: User, checkout: Checkout, wallet: Wallet) -> PayButton:
    name = deps.providers[wallet.provider].capabilities.display_name
    amount = money_text(checkout.total, checkout.currency_code, user.locale)
    return PayButton(
        f"Pay {amount} with {name} {wallet.label}", pay_payload(deps.vault, checkout, wallet.id), wallet.id, ""
    )


async def _link_buttons(deps: Deps, tx: Tx, user: User) -> tuple[PayButton, ...]:
    buttons = []
    for name, provider in deps.providers.items():
        market = await tx.load(MARKETS.get((user.market, name)))
        if is_open(market, tx.now):
            buttons.append(PayButton(f"Link {provider.capabilities.display_name}", "", "", name))
    return tuple(buttons)


def is_open(market: Market | None, now: int) -> bool:
    """True where the market is listed, open, and its opening time has come."""
    return market is not None and market.open and market.open_time <= now


def pay_payload(vault: Vault, checkout: Checkout, wallet_id: str) -> str:
    """What a pay button carries: this version, this wallet, and our mark for this person, session and checkout."""
    return f"{_PAY}{checkout.version}:{wallet_id}:{_mark(vault, checkout, checkout.version, wallet_id)}"


def read_pay_payload(vault: Vault, checkout: Checkout, payload: str) -> tuple[int, str]:
    """The version and wallet of a button that we minted for this checkout. FIELD_INVALID for any other payload."""
    parts = payload.removeprefix(_PAY).split(":")
    if payload.startswith(_PAY) and len(parts) == 3 and parts[0].isdecimal() and len(parts[0]) < 10:
        version, wallet_id, mark = int(parts[0]), parts[1], parts[2]
        if parts[0] == str(version) and vault.matches(_PURPOSE, _signed(checkout, version, wallet_id), mark):
            return version, wallet_id
    raise Refused(
        Reason.FIELD_INVALID,
        "button_payload is not that of a pay button of this checkout; nothing was charged. Show the card again.",
        field="button_payload",
    )


_PURPOSE = "pay button"


def _mark(vault: Vault, checkout: Checkout, version: int, wallet_id: str) -> str:
    return vault.hash(_PURPOSE, _signed(checkout, version, wallet_id))


def _signed(checkout: Checkout, version: int, wallet_id: str) -> str:
    return f"{checkout.user_id}|{checkout.session_id}|{checkout.id}|{version}|{wallet_id}"


def receipt(order: Order, payment: Payment, partner: Partner, display_name: str, paid_time: int) -> ReceiptCard:
    """What was paid, and given back so far."""
    return ReceiptCard(
        order_id=order.id,
        checkout_id=order.checkout_id,
        partner_display_name=partner.display_name,
        lines=price_lines(order.items, order.adjustments, order.currency_code),
        total=Money(order.total, order.currency_code),
        refunded=Money(payment.refunded, order.currency_code),
        wallet_label=f"{display_name} {payment.wallet_label}".strip(),
        paid_time=paid_time,
    )


NOTICES: dict[NoticeKind, str] = {
    NoticeKind.BEING_CONFIRMED: "Your payment of {amount} to {partner} is being confirmed. "
    "Please do not pay again; you will be told here.",
    NoticeKind.DECLINED: "{provider} declined the payment of {amount}: {reason} Nothing was charged. "
    "You can try again or use another wallet.",
    NoticeKind.EXPIRED: "The time to pay {amount} to {partner} ran out. Nothing was charged.",
    NoticeKind.CANCELED: "The payment of {amount} to {partner} was cancelled.",
    NoticeKind.ACTION_REQUIRED: "{provider} asks you to approve the payment of {amount} first.",
    NoticeKind.REVERSED: "{amount} that was taken for {partner} is being given back to you: {reason}",
    NoticeKind.NOT_CHARGED: "The payment of {amount} to {partner} did not go through. Nothing was charged. "
    "You can try again.",
}
"""What the platform says about a payment."""

DECLINE_WORDS: dict[str, str] = {
    "INSUFFICIENT_FUNDS": "there is not enough money in the account.",
    "INSTRUMENT_DECLINED": "the bank or card behind the wallet refused.",
    "ACCOUNT_CLOSED": "the account is closed or locked.",
    "ACCOUNT_RESTRICTED": "the account may not make this payment.",
    "WALLET_REVOKED": "the permission to charge this wallet is gone; please link it again.",
    "LIMIT_REACHED": "a limit of the account was reached.",
    "SUSPECTED_FRAUD": "it was not able to approve this payment.",
    "PAYER_ACTION_NEEDED": "it needs you to act there first.",
    "MERCHANT_ACCOUNT": "the merchant cannot take this payment at the moment.",
    "REFUND_NOT_POSSIBLE": "this money cannot be given back.",
    "DO_NOT_HONOR": "it gave no reason.",
}
"""A decline in words for the person."""


def notice(
    deps: Deps,
    scene: Stage,
    kind: NoticeKind,
    checkout: Checkout,
    payment: Payment | None,
    *,
    reason: str = "",
    action_url: str = "",
) -> NoticeCard:
    """The platform's sentence about a payment of a checkout, in the person's language of money."""
    provider = deps.providers[payment.provider].capabilities.display_name if payment else ""
    text = NOTICES[kind].format(
        amount=money_text(checkout.total, checkout.currency_code, scene.user.locale),
        partner=scene.partner.display_name,
        provider=provider,
        reason=reason,
    )
    return NoticeCard(kind, checkout.id, text, action_url)
