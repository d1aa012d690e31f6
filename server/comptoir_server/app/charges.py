"""What becomes of a payment, its checkout and its order when the provider is asked to charge or to hold."""

from __future__ import annotations

from comptoir_server.app import books
from comptoir_server.app.checkout_cards import DECLINE_WORDS, Stage, draw_checkout, notice, receipt, speak
from comptoir_server.app.events import tell
from comptoir_server.app.evidence import Case
from comptoir_server.app.instructions import begin
from comptoir_server.app.ports import DeclineCode, OperationKind, OutcomeKind
from comptoir_server.app.refunding import give_back
from comptoir_server.app.wallet_views import bare_wallet
from comptoir_server.domain.cards import NoticeKind
from comptoir_server.domain.checkouts import Checkout, CheckoutCommand, CheckoutState
from comptoir_server.domain.ledger import Effect, capture_lines
from comptoir_server.domain.operations import Operation
from comptoir_server.domain.orders import Order, OrderState
from comptoir_server.domain.payments import (
    LIVE,
    Capture,
    CaptureState,
    Payment,
    PaymentCommand,
    PendingKind,
    PendingState,
)
from comptoir_server.domain.records import replace
from comptoir_server.domain.transitions import move
from comptoir_server.domain.wallets import WALLET_TRANSITIONS, WalletCommand
from comptoir_server.store.tables import CAPTURES, WALLETS

_CONFIRMING = frozenset({CheckoutState.PROCESSING, CheckoutState.REQUIRES_ACTION})


async def succeeded(case: Case) -> None:
    """The money is held or taken: the checkout is complete, unless somebody has called it off meanwhile."""
    checkout = await case.checkout()
    wanted = checkout.state in _CONFIRMING and not checkout.cancel_requested
    capture = await _take(case)
    if not wanted:
        await _unwanted(case, checkout, capture)
        return
    scene = await case.stage()
    order = _order(case, checkout)
    case.tx.put(order)
    checkout = replace(checkout.move(CheckoutCommand.SUCCEED, case.tx.now), order_id=order.id)
    case.tx.put(checkout)
    tell(case.tx, "checkout", checkout)
    tell(case.tx, "order", order)
    provider = case.deps.providers[case.payment.provider].capabilities.display_name
    speak(case.deps, case.tx, scene, receipt(order, case.payment, scene.partner, provider, case.tx.now))
    await case.answer(case.payment.id, checkout=checkout, payment=case.payment)


async def _take(case: Case) -> Capture | None:
    """Writes what is certain: the hold, or the capture with its postings. Answers the capture, if there is one."""
    payment, outcome, now = case.payment, case.outcome, case.tx.now
    taken = outcome.kind == OutcomeKind.CAPTURED
    command = PaymentCommand.CAPTURE_ALL if taken else PaymentCommand.AUTHORIZE
    moved = payment.move(command, now) if payment.state in LIVE else replace(payment, update_time=now)
    payment = replace(
        moved.settled(),
        authorized=payment.amount,
        captured=payment.amount if taken else 0,
        reference=outcome.reference,
        decline_code=moved.decline_code,
        action_url="",
        authorization_expire_time=0 if taken else outcome.expire_time,
    )
    live = case.payment.state in LIVE
    case.put_payment(payment)
    if live:
        tell(case.tx, "payment", payment)
    if not taken:
        return None
    capture = _whole_capture(case, payment)
    case.tx.put(capture)
    tell(case.tx, "capture", capture)
    await post_capture(case, capture)
    return capture


def _whole_capture(case: Case, payment: Payment) -> Capture:
    capture_id = case.tx.new_id("cap")
    return Capture(
        id=capture_id,
        payment_id=payment.id,
        partner_id=payment.partner_id,
        bot_id=payment.bot_id,
        session_id=payment.session_id,
        user_id=payment.user_id,
        channel_id=payment.channel_id,
        request_key=f"platform/{payment.id}",
        state=CaptureState.SUCCEEDED,
        currency_code=payment.currency_code,
        amount=payment.amount,
        refunded=0,
        refunding=0,
        final=True,
        decline_code="",
        reference=case.outcome.reference,
        create_time=case.tx.now,
        update_time=case.tx.now,
    )


async def post_capture(case: Case, capture: Capture) -> None:
    """The postings of a capture: what the provider holds for us, what we owe the partner, our fee."""
    scene = await case.stage()
    lines = capture_lines(case.payment.provider, capture.partner_id, capture.amount, scene.partner.fee_basis_points)
    await books.post(case.tx, capture.id, Effect.CAPTURE, capture.currency_code, lines)


def _order(case: Case, checkout: Checkout) -> Order:
    return Order(
        id=case.tx.new_id("ord"),
        checkout_id=checkout.id,
        payment_id=case.payment.id,
        partner_id=checkout.partner_id,
        bot_id=checkout.bot_id,
        session_id=checkout.session_id,
        user_id=checkout.user_id,
        channel_id=checkout.channel_id,
        state=OrderState.OPEN,
        partner_reference=checkout.partner_reference,
        currency_code=checkout.currency_code,
        total=checkout.total,
        refunded=0,
        items=checkout.items,
        adjustments=checkout.adjustments,
        create_time=case.tx.now,
    )


async def late_success(case: Case) -> None:
    """Money moved after the payment had ended otherwise: its state stays, and what moved is undone.

    Nothing is undone that was booked already: then the evidence speaks of the very hold or capture that paid.
    """
    booked = await case.tx.load(CAPTURES.list_by("by_payment", case.payment.id))
    if case.outcome.reference in {case.payment.reference, *(capture.reference for capture in booked)}:
        return
    checkout = await case.checkout()
    capture = await _take(case)
    await _unwanted(case, checkout, capture)


async def _unwanted(case: Case, checkout: Checkout, capture: Capture | None) -> None:
    """Undoes a success that nobody wants any more: a hold is voided, a capture is refunded.

    A checkout that another payment is confirming by now is that one's.
    """
    now = case.tx.now
    why = (
        "The purchase was cancelled."
        if checkout.cancel_requested or checkout.state == CheckoutState.CANCELED
        else "It was no longer open."
    )
    case.put_payment(replace(case.payment, reversal_reason=why))
    if checkout.state in _CONFIRMING and checkout.payment_ids[-1] == case.payment.id:
        checkout = checkout.move(CheckoutCommand.ABANDON, now)
        case.tx.put(checkout)
        tell(case.tx, "checkout", checkout)
    if capture is not None:
        await give_back(case, capture, why)
    else:
        release(case)
    tell(case.tx, "payment", case.payment, "payment.reversed")
    scene = await case.stage()
    speak(case.deps, case.tx, scene, notice(case.deps, scene, NoticeKind.REVERSED, checkout, case.payment, reason=why))
    await case.answer(case.payment.id, checkout=checkout, payment=case.payment)


def release(case: Case) -> Operation:
    """Has the hold of a payment that nobody wants voided, by the workers."""
    payment = case.payment
    operation = begin(
        case.deps,
        case.tx,
        OperationKind.VOID,
        payment,
        payment.id,
        payment.amount,
        target=payment.reference,
        queued=True,
    )
    case.put_payment(payment.pending(operation.id, PendingKind.VOID, case.tx.now))
    return operation


async def declined(case: Case) -> None:
    """The provider refused: the checkout is open again at a new version, for another try or another wallet."""
    code = case.outcome.decline_code or DeclineCode.DO_NOT_HONOR
    payment = replace(
        case.payment.move(PaymentCommand.DECLINE, case.tx.now).settled(), decline_code=code, action_url=""
    )
    case.put_payment(payment)
    tell(case.tx, "payment", payment)
    if code == DeclineCode.WALLET_REVOKED:
        await _relink(case)
    await _reopen(case, NoticeKind.DECLINED, DECLINE_WORDS[code])


async def failed(case: Case) -> None:
    """Proven never executed: nothing was charged, and the checkout is open again."""
    payment = replace(case.payment.move(PaymentCommand.FAIL, case.tx.now).settled(), action_url="")
    case.put_payment(payment)
    tell(case.tx, "payment", payment)
    await _reopen(case, NoticeKind.NOT_CHARGED, "")


async def _reopen(case: Case, kind: NoticeKind, reason: str) -> None:
    checkout = await case.checkout()
    scene = await case.stage()
    if checkout.state in _CONFIRMING:
        command = CheckoutCommand.ABANDON if checkout.cancel_requested else CheckoutCommand.REOPEN
        checkout = checkout.move(command, case.tx.now)
        case.tx.put(checkout)
        tell(case.tx, "checkout", checkout)
    if checkout.state == CheckoutState.OPEN:
        scene = speak(case.deps, case.tx, scene, notice(case.deps, scene, kind, checkout, case.payment, reason=reason))
        await draw_checkout(case.deps, case.tx, scene, checkout)
    elif checkout.state == CheckoutState.CANCELED:
        speak(case.deps, case.tx, scene, notice(case.deps, scene, NoticeKind.CANCELED, checkout, case.payment))
    await case.answer(case.payment.id, checkout=checkout, payment=case.payment)


async def _relink(case: Case) -> None:
    wallet = await case.tx.load(WALLETS.lock(case.payment.wallet_id))
    if wallet is None:
        return
    state = move("wallet", WALLET_TRANSITIONS, wallet.state, WalletCommand.INVALIDATE)
    if state != wallet.state:
        wallet = replace(wallet, state=state)
        case.tx.put(wallet)
        tell(case.tx, "wallet", bare_wallet(wallet))


async def doubted(case: Case) -> None:
    """The answer was lost: the person is told not to pay again, and nothing else is assumed."""
    case.put_payment(replace(case.payment, pending_state=PendingState.IN_DOUBT, update_time=case.tx.now))
    tell(case.tx, "payment", case.payment, "payment.doubted")
    checkout = await case.checkout()
    scene = await case.stage()
    speak(case.deps, case.tx, scene, notice(case.deps, scene, NoticeKind.BEING_CONFIRMED, checkout, case.payment))


async def action_required(case: Case) -> None:
    """The person must act at the provider; told once, until it is done."""
    checkout = await case.checkout()
    if case.payment.state not in LIVE or checkout.state != CheckoutState.PROCESSING:
        return
    payment = replace(case.payment.move(PaymentCommand.REQUIRE_ACTION, case.tx.now), action_url=case.outcome.action_url)
    case.put_payment(payment)
    tell(case.tx, "payment", payment)
    checkout = checkout.move(CheckoutCommand.REQUIRE_ACTION, case.tx.now)
    case.tx.put(checkout)
    tell(case.tx, "checkout", checkout)
    scene: Stage = await case.stage()
    card = notice(case.deps, scene, NoticeKind.ACTION_REQUIRED, checkout, payment, action_url=case.outcome.action_url)
    speak(case.deps, case.tx, scene, card)
