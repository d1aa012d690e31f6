"""Asking a person to pay, and what they may do with it. Confirming is in `confirmations.py`."""

from __future__ import annotations

from dataclasses import dataclass

from comptoir_server.app import paging
from comptoir_server.app.access import owned
from comptoir_server.app.call import CallContext
from comptoir_server.app.checkout_cards import Stage, draw_checkout, notice, speak, stage
from comptoir_server.app.confirmations import confirm_checkout
from comptoir_server.app.deps import Deps
from comptoir_server.app.events import tell
from comptoir_server.app.locales import require_currency
from comptoir_server.app.once import Answer, answer_waiting, once
from comptoir_server.domain.cards import NoticeKind
from comptoir_server.domain.checkouts import (
    DEFAULT_SECONDS,
    SECONDS_MAX,
    Adjustment,
    AdjustmentKind,
    CaptureMode,
    Checkout,
    CheckoutCommand,
    CheckoutState,
    LineItem,
    expired,
    require_sums,
)
from comptoir_server.domain.errors import Reason, Refused, invalid_field, not_found
from comptoir_server.domain.money import Money
from comptoir_server.domain.operations import OperationCommand
from comptoir_server.domain.partners import PartnerState
from comptoir_server.domain.payments import PaymentCommand, PaymentState
from comptoir_server.domain.records import replace
from comptoir_server.domain.sessions import SESSION_TRANSITIONS, SessionCommand
from comptoir_server.domain.transitions import move
from comptoir_server.runtime import MICROSECONDS
from comptoir_server.store.reads.checkouts import page_of_checkouts
from comptoir_server.store.tables import CHECKOUTS, OPERATIONS, PAYMENTS, SESSIONS
from comptoir_server.store.tx import Tx

__all__ = [
    "cancel_checkout",
    "confirm_checkout",
    "create_checkout",
    "expire",
    "get_checkout",
    "list_checkouts",
    "update_checkout",
]


@dataclass(frozen=True, slots=True)
class ItemOrder:
    """One thing that is to be bought, as the partner sends it."""

    title: str
    description: str
    quantity: int
    unit_amount: Money
    amount: Money
    item_reference: str


@dataclass(frozen=True, slots=True)
class AdjustmentOrder:
    """What is to be added or taken off, as the partner sends it."""

    kind: AdjustmentKind
    label: str
    amount: Money


@dataclass(frozen=True, slots=True)
class _Price:
    """A price that adds up, in one currency."""

    items: tuple[LineItem, ...]
    adjustments: tuple[Adjustment, ...]
    total: int
    currency_code: str


def _price(items: tuple[ItemOrder, ...], adjustments: tuple[AdjustmentOrder, ...], total: Money) -> _Price:
    """The price in one currency. Raises AMOUNT_MISMATCH where it does not add up, FIELD_INVALID for no quantity."""
    code = total.currency_code
    require_currency(code, "total.currency_code")
    for number, item in enumerate(items):
        if item.quantity < 1:
            raise invalid_field(f"items[{number}].quantity", "must be 1 or more.")
    amounts = [(f"items[{n}]", money) for n, item in enumerate(items) for money in (item.unit_amount, item.amount)]
    amounts += [(f"adjustments[{n}]", part.amount) for n, part in enumerate(adjustments)]
    for where, money in amounts:
        if money.currency_code != code:
            raise Refused(
                Reason.AMOUNT_MISMATCH,
                f"{where} is in {money.currency_code}, the total in {code}: use one currency a checkout.",
                expected=code,
                given=money.currency_code,
            )
    price = _Price(
        tuple(
            LineItem(
                i.title, i.description, i.quantity, i.unit_amount.minor_units, i.amount.minor_units, i.item_reference
            )
            for i in items
        ),
        tuple(Adjustment(part.kind, part.label, part.amount.minor_units) for part in adjustments),
        total.minor_units,
        code,
    )
    require_sums(price.items, price.adjustments, price.total)
    return price


async def create_checkout(
    deps: Deps,
    call: CallContext,
    *,
    session_id: str,
    partner_reference: str,
    statement_descriptor: str,
    metadata: dict[str, str],
    items: tuple[ItemOrder, ...],
    adjustments: tuple[AdjustmentOrder, ...],
    total: Money,
    capture_mode: CaptureMode | None,
    expire_time: int,
    replaces_checkout_id: str,
) -> Answer:
    """Makes a checkout and draws its card. Raises NOT_FOUND, AMOUNT_MISMATCH, REFERENCE_ALREADY_PAID, INVALID_STATE."""
    price = _price(items, adjustments, total)

    async def work(tx: Tx) -> Answer:
        session = owned(call, await tx.load(SESSIONS.lock(session_id)))
        move("session", SESSION_TRANSITIONS, session.state, SessionCommand.SPEAK)
        scene = await stage(tx, session.id, session.user_id, session.partner_id)
        if scene.partner.state != PartnerState.ACTIVE:
            raise Refused(Reason.PARTNER_SUSPENDED, "The partner is suspended. Contact the operator.")
        if replaces_checkout_id:
            scene = await _replace(deps, tx, call, scene, replaces_checkout_id)
        await _require_reference_free(tx, call, partner_reference)
        checkout = Checkout(
            id=tx.new_id("chk"),
            partner_id=session.partner_id,
            bot_id=session.bot_id,
            session_id=session.id,
            user_id=session.user_id,
            bot_user_id=session.bot_user_id,
            channel_id=session.channel_id,
            state=CheckoutState.OPEN,
            version=1,
            attempt_version=0,
            partner_reference=partner_reference,
            statement_descriptor=statement_descriptor,
            metadata=metadata,
            currency_code=price.currency_code,
            total=price.total,
            items=price.items,
            adjustments=price.adjustments,
            capture_mode=capture_mode or CaptureMode.AUTOMATIC,
            payment_ids=(),
            order_id="",
            replaces_checkout_id=replaces_checkout_id,
            cancel_requested=False,
            create_time=tx.now,
            update_time=tx.now,
            expire_time=_expiry(tx.now, expire_time),
        )
        tx.put(checkout)
        tell(tx, "checkout", checkout)
        await draw_checkout(deps, tx, scene, checkout)
        return {"checkout": checkout}

    return await once(deps, call, work)


def _expiry(now: int, expire_time: int) -> int:
    if not expire_time:
        return now + DEFAULT_SECONDS * MICROSECONDS
    if not now < expire_time <= now + SECONDS_MAX * MICROSECONDS:
        raise invalid_field("expire_time", f"must be in the future, at most {SECONDS_MAX // 86400} days from now.")
    return expire_time


async def _replace(deps: Deps, tx: Tx, call: CallContext, scene: Stage, checkout_id: str) -> Stage:
    old = owned(call, await tx.load(CHECKOUTS.lock(checkout_id)))
    if old.session_id != scene.session.id:
        raise not_found()
    old = await _moved(tx, old, CheckoutCommand.CANCEL)
    return speak(deps, tx, scene, notice(deps, scene, NoticeKind.CANCELED, old, None))


async def _require_reference_free(tx: Tx, call: CallContext, partner_reference: str) -> None:
    """At most one checkout that is open or paid a reference; to other processes, inserting it claims the reference.

    A reference is the partner's, so that it may be taken by another bot: which checkout that is stays the bot's own.
    """
    if not partner_reference:
        return
    for other in await tx.load(CHECKOUTS.list_by("by_reference", call.partner_id, partner_reference)):
        if other.state not in (CheckoutState.CANCELED, CheckoutState.EXPIRED):
            raise _reference_taken(call, other)


def _reference_taken(call: CallContext, other: Checkout) -> Refused:
    """The refusal of a reference that `other` has: paid, or not over yet. Another bot's is not named."""
    reference, paid = other.partner_reference, other.state == CheckoutState.COMPLETED
    if call.bot_id not in ("", other.bot_id):
        reason = Reason.REFERENCE_ALREADY_PAID if paid else Reason.INVALID_STATE
        return Refused(
            reason, f"{reference} is the reference of another bot's checkout; nothing was made. Use another."
        )
    if paid:
        return Refused(
            Reason.REFERENCE_ALREADY_PAID,
            f"{reference} was already paid by {other.id}. Read it instead of charging again.",
            checkout_id=other.id,
        )
    return Refused(
        Reason.INVALID_STATE,
        f"{other.id} with the reference {reference} is {other.state}. Cancel it, or name it in replaces_checkout_id.",
        state=other.state,
        allowed="CANCELED, EXPIRED",
    )


async def update_checkout(
    deps: Deps,
    call: CallContext,
    *,
    checkout_id: str,
    version: int,
    items: tuple[ItemOrder, ...],
    adjustments: tuple[AdjustmentOrder, ...],
    total: Money,
) -> Answer:
    """Replaces the price, at a new version, and draws the card again."""
    price = _price(items, adjustments, total)

    async def work(tx: Tx) -> Answer:
        checkout = owned(call, await tx.load(CHECKOUTS.lock(checkout_id)))
        updated = checkout.move(CheckoutCommand.UPDATE, tx.now)
        checkout.require_unexpired(tx.now)
        checkout.require_version(version)
        if price.currency_code != checkout.currency_code:
            raise Refused(
                Reason.AMOUNT_MISMATCH,
                f"The checkout is in {checkout.currency_code}. Make a new one for {price.currency_code}.",
                expected=checkout.currency_code,
                given=price.currency_code,
            )
        updated = replace(
            updated, items=price.items, adjustments=price.adjustments, total=price.total, version=checkout.version + 1
        )
        tx.put(updated)
        tell(tx, "checkout", updated, "checkout.updated")
        scene = await stage(tx, checkout.session_id, checkout.user_id, checkout.partner_id)
        await draw_checkout(deps, tx, scene, updated)
        return {"checkout": updated}

    return await once(deps, call, work)


async def get_checkout(deps: Deps, call: CallContext, *, checkout_id: str) -> Answer:
    """Reads a checkout."""
    return {"checkout": owned(call, await deps.store.get(CHECKOUTS.get(checkout_id)))}


async def list_checkouts(
    deps: Deps,
    call: CallContext,
    *,
    session_id: str,
    partner_reference: str,
    state: CheckoutState | None,
    page_size: int,
    page_token: str,
) -> Answer:
    """Lists the caller's checkouts, newest first."""
    wanted = paging.size(page_size)
    before_id = paging.position(deps, call, page_token)
    rows = await deps.store.read(
        lambda tx: page_of_checkouts(
            tx,
            call,
            session_id=session_id,
            partner_reference=partner_reference,
            state=state,
            page_size=wanted + 1,
            before_id=before_id,
        )
    )
    return paging.page(deps, call, "checkouts", rows, wanted)


async def cancel_checkout(deps: Deps, call: CallContext, *, checkout_id: str) -> Answer:
    """Calls a checkout off; while a payment is being confirmed the wish is recorded and acts on evidence."""

    async def work(tx: Tx) -> Answer:
        checkout = owned(call, await tx.load(CHECKOUTS.lock(checkout_id)))
        if checkout.state == CheckoutState.EXPIRED:
            raise expired(checkout)
        if checkout.state == CheckoutState.PROCESSING:
            checkout = replace(checkout, cancel_requested=True, update_time=tx.now)
            tx.put(checkout)
            tell(tx, "checkout", checkout, "checkout.updated")
            return {"checkout": checkout}
        if checkout.state != CheckoutState.CANCELED:
            checkout = await _end(deps, tx, checkout, CheckoutCommand.CANCEL, NoticeKind.CANCELED)
        return {"checkout": checkout}

    return await once(deps, call, work)


async def _end(deps: Deps, tx: Tx, checkout: Checkout, command: CheckoutCommand, kind: NoticeKind) -> Checkout:
    """Ends a checkout that nobody is paying, together with a payment that waits for its person, and says so."""
    checkout = await _moved(tx, checkout, command)
    scene = await stage(tx, checkout.session_id, checkout.user_id, checkout.partner_id)
    speak(deps, tx, scene, notice(deps, scene, kind, checkout, None))
    return checkout


async def _moved(tx: Tx, checkout: Checkout, command: CheckoutCommand) -> Checkout:
    waiting = checkout.state == CheckoutState.REQUIRES_ACTION
    checkout = checkout.move(command, tx.now)
    tx.put(checkout)
    tell(tx, "checkout", checkout)
    if waiting:
        await _give_up_payment(tx, checkout)
    return checkout


async def _give_up_payment(tx: Tx, checkout: Checkout) -> None:
    payment = await tx.load(PAYMENTS.lock(checkout.payment_ids[-1]))
    if payment is None or payment.state != PaymentState.REQUIRES_ACTION:
        return
    operation = await tx.load(OPERATIONS.lock(payment.pending_operation_id))
    if operation is not None:
        done = operation.move(OperationCommand.FINISH, tx.now)
        tx.put(replace(done, evidence=f"checkout {checkout.state.lower()} before the person acted", outcome="NOT_SENT"))
    payment = replace(payment.move(PaymentCommand.FAIL, tx.now).settled(), action_url="")
    tx.put(payment)
    tell(tx, "payment", payment)
    await answer_waiting(tx, payment.id, {"checkout": checkout, "payment": payment})
    tx.after_commit(payment.id)


async def expire(deps: Deps, checkout_id: str) -> None:
    """Ends a checkout whose time has run out; one that was confirmed, cancelled or paid meanwhile is left alone."""

    async def work(tx: Tx) -> None:
        checkout = await tx.load(CHECKOUTS.lock(checkout_id))
        if checkout is None or tx.now < checkout.expire_time:
            return
        if checkout.state in (CheckoutState.OPEN, CheckoutState.REQUIRES_ACTION):
            await _end(deps, tx, checkout, CheckoutCommand.EXPIRE, NoticeKind.EXPIRED)

    await deps.store.write(work)
