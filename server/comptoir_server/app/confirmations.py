"""The person's yes: two transactions and a call between them."""

from __future__ import annotations

from dataclasses import dataclass

from comptoir_server.app.access import owned
from comptoir_server.app.call import CallContext
from comptoir_server.app.checkout_cards import is_open, read_pay_payload
from comptoir_server.app.deps import Deps
from comptoir_server.app.events import tell
from comptoir_server.app.instructions import begin as begin_operation
from comptoir_server.app.once import Answer, Begun, begin, stored_answer
from comptoir_server.app.operations import drive
from comptoir_server.app.ports import Capabilities, OperationKind
from comptoir_server.domain.checkouts import CaptureMode, Checkout, CheckoutCommand, CheckoutState, expired
from comptoir_server.domain.errors import Reason, Refused, invalid_field, not_found
from comptoir_server.domain.operations import Operation, OperationState
from comptoir_server.domain.partners import BotState, PartnerState
from comptoir_server.domain.payments import Payment, PaymentState, PendingKind, PendingState
from comptoir_server.domain.records import replace
from comptoir_server.domain.users import User, UserState
from comptoir_server.domain.wallets import Wallet, WalletState
from comptoir_server.runtime import fault
from comptoir_server.store.tables import (
    BOTS,
    CHECKOUTS,
    MARKETS,
    OPERATIONS,
    PARTNERS,
    PAYMENTS,
    REQUESTS,
    USERS,
    WALLETS,
)
from comptoir_server.store.tx import Tx

_ATTEMPTED = frozenset({CheckoutState.PROCESSING, CheckoutState.REQUIRES_ACTION, CheckoutState.COMPLETED})


@dataclass(frozen=True, slots=True)
class _Yes:
    """What the person agreed to."""

    checkout_id: str
    version: int
    wallet_id: str
    button_payload: str


async def confirm_checkout(
    deps: Deps, call: CallContext, *, checkout_id: str, version: int, wallet_id: str, button_payload: str
) -> Answer:
    """Pays one version of a checkout with one wallet.

    Answers the final outcome, or PROCESSING when the caller's deadline comes first. The work goes on in a task
    of the server whatever becomes of the caller.
    """
    call.require_user()
    if not version and not button_payload:
        raise invalid_field("version", "is required without button_payload.")
    yes = _Yes(checkout_id, version, wallet_id, button_payload)
    begun = await begin(deps, call, lambda tx: _begin(deps, tx, call, yes))
    if not isinstance(begun, Begun):
        return begun
    if begun.operation is not None:
        deps.runtime.spawn(drive(deps, begun.operation), f"charge {begun.object_id}")
    answer = await deps.settled.until(
        begun.object_id,
        call.deadline,
        lambda: _final(deps, call, begun.object_id),
        just_begun=begun.operation is not None,
    )
    fault("answer.unsent")
    return answer or await _current(deps, begun.object_id)


async def _begin(deps: Deps, tx: Tx, call: CallContext, yes: _Yes) -> Begun | Answer:
    """Transaction one: joins the attempt of the same version, or re-checks everything and begins a new one."""
    found, user = await tx.load(CHECKOUTS.lock(yes.checkout_id), USERS.get(call.user_id))
    checkout = owned(call, found)
    if user is None or checkout.user_id != user.id:
        raise not_found()
    version, wallet_id = yes.version, yes.wallet_id
    if yes.button_payload:
        version, wallet_id = _pressed(deps, checkout, yes)
    if checkout.attempt_version == version and checkout.state in _ATTEMPTED:
        return await _join(tx, checkout)
    if checkout.state == CheckoutState.EXPIRED:
        raise expired(checkout)
    confirmed = checkout.move(CheckoutCommand.CONFIRM, tx.now)
    checkout.require_unexpired(tx.now)
    checkout.require_version(version)
    wallet = await _wallet(deps, tx, checkout, user, wallet_id)
    capabilities = deps.providers[wallet.provider].capabilities
    require_currency(capabilities, checkout.currency_code)
    payment, operation = _attempt(deps, tx, call, confirmed, wallet)
    confirmed = replace(
        confirmed,
        attempt_version=checkout.version,
        version=checkout.version + 1,
        payment_ids=(*checkout.payment_ids, payment.id),
    )
    tx.put(confirmed)
    tx.put(payment)
    tell(tx, "checkout", confirmed)
    tell(tx, "payment", payment)
    return Begun(payment.id, operation)


def _pressed(deps: Deps, checkout: Checkout, yes: _Yes) -> tuple[int, str]:
    version, wallet_id = read_pay_payload(deps.vault, checkout, yes.button_payload)
    for name, given, minted in (
        ("version", yes.version or version, version),
        ("wallet_id", yes.wallet_id or wallet_id, wallet_id),
    ):
        if given != minted:
            raise invalid_field(name, "differs from the pressed button's; leave it empty.")
    return version, wallet_id


async def _join(tx: Tx, checkout: Checkout) -> Begun | Answer:
    """A second yes to the version that is being paid, or was: the same attempt, the same answer."""
    payment = await tx.load(PAYMENTS.lock(checkout.payment_ids[-1]))
    if payment is None:
        raise AssertionError(f"checkout {checkout.id} has lost a payment")
    if checkout.state == CheckoutState.COMPLETED:
        return {"checkout": checkout, "payment": payment}
    return Begun(payment.id)


async def _wallet(deps: Deps, tx: Tx, checkout: Checkout, user: User, wallet_id: str) -> Wallet:
    """The wallet that pays, with everything that could forbid it checked under this transaction."""
    wallet_id = wallet_id or user.default_wallet_id
    if not wallet_id:
        raise invalid_field("wallet_id", "no wallet is linked yet: link one with StartWalletLink.")
    wallet, partner, bot = await tx.load(
        WALLETS.lock(wallet_id), PARTNERS.get(checkout.partner_id), BOTS.get(checkout.bot_id)
    )
    if wallet is None or wallet.user_id != checkout.user_id:
        raise not_found()
    if partner is None or partner.state != PartnerState.ACTIVE or bot is None or bot.state != BotState.LIVE:
        raise Refused(
            Reason.PARTNER_SUSPENDED, "This merchant cannot take payments at the moment; nothing was charged."
        )
    if user.state != UserState.ACTIVE:
        raise Refused(Reason.PARTNER_SUSPENDED, "This account is suspended; nothing was charged. Contact support.")
    if wallet.state != WalletState.ACTIVE or wallet.provider not in deps.providers:
        raise Refused(
            Reason.WALLET_NOT_ACTIVE,
            f"The wallet is {wallet.state}; nothing was charged. Use another wallet or link it again.",
            state=wallet.state,
        )
    market = await tx.load(MARKETS.get((user.market, wallet.provider)))
    if not is_open(market, tx.now):
        raise Refused(
            Reason.MARKET_NOT_AVAILABLE,
            f"{wallet.provider} is not open in {user.market}; nothing was charged. Use another wallet.",
            provider=wallet.provider,
            market=user.market,
        )
    return wallet


def require_currency(capabilities: Capabilities, currency_code: str) -> None:
    """CURRENCY_UNSUPPORTED where the provider does not take the currency."""
    if currency_code not in capabilities.currencies:
        raise Refused(
            Reason.CURRENCY_UNSUPPORTED,
            f"{capabilities.display_name} cannot take {currency_code}; nothing was charged. "
            "Use another wallet or currency.",
            currency_code=currency_code,
        )


def _attempt(deps: Deps, tx: Tx, call: CallContext, checkout: Checkout, wallet: Wallet) -> tuple[Payment, Operation]:
    """The payment with its operation: our key at the provider is stored before the first byte is sent."""
    payment = Payment(
        id=tx.new_id("pay"),
        checkout_id=checkout.id,
        checkout_version=checkout.version,
        partner_id=checkout.partner_id,
        bot_id=checkout.bot_id,
        session_id=checkout.session_id,
        user_id=checkout.user_id,
        bot_user_id=checkout.bot_user_id,
        channel_id=checkout.channel_id,
        wallet_id=wallet.id,
        wallet_label=wallet.label,
        provider=wallet.provider,
        request_key=call.request_key,
        state=PaymentState.PROCESSING,
        capture_mode=checkout.capture_mode,
        currency_code=checkout.currency_code,
        amount=checkout.total,
        authorized=0,
        captured=0,
        capturing=0,
        refunded=0,
        refunding=0,
        decline_code="",
        action_url="",
        order_reference="",
        reference="",
        pending_operation_id="",
        pending_kind=PendingKind.NONE,
        pending_state=PendingState.NONE,
        pending_since=0,
        reversal_reason="",
        create_time=tx.now,
        update_time=tx.now,
        authorization_expire_time=0,
    )
    kind = OperationKind.CHARGE if checkout.capture_mode == CaptureMode.AUTOMATIC else OperationKind.AUTHORIZE
    operation = begin_operation(
        deps, tx, kind, payment, payment.id, payment.amount, descriptor=checkout.statement_descriptor
    )
    return payment.pending(operation.id, PendingKind.AUTHORIZE, tx.now), operation


async def _final(deps: Deps, call: CallContext, payment_id: str) -> Answer | None:
    """The stored answer; or what is certain where only the person or the provider's own time decides what is next."""

    async def look(tx: Tx) -> Answer | None:
        request = await tx.load(REQUESTS.get(call.request_key))
        if request is not None and request.answer:
            return stored_answer(request)
        payment = await tx.load(PAYMENTS.get(payment_id))
        if payment is None:
            return None
        checkout = await tx.load(CHECKOUTS.get(payment.checkout_id))
        operation = (
            await tx.load(OPERATIONS.get(payment.pending_operation_id)) if payment.pending_operation_id else None
        )
        if payment.state == PaymentState.REQUIRES_ACTION or (operation and operation.state == OperationState.WAITING):
            return {"checkout": checkout, "payment": payment}
        if operation is None and payment.pending_state == PendingState.NONE:
            return {"checkout": checkout, "payment": payment}
        return None

    return await deps.store.read(look)


async def _current(deps: Deps, payment_id: str) -> Answer:
    """What is certain now, for a caller who cannot wait any longer."""

    async def look(tx: Tx) -> Answer:
        payment = await tx.load(PAYMENTS.get(payment_id))
        if payment is None:
            raise not_found()
        return {"checkout": await tx.load(CHECKOUTS.get(payment.checkout_id)), "payment": payment}

    return await deps.store.read(look)
