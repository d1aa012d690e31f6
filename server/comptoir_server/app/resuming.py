"""Going on after the person has done what the provider asked of them."""

from __future__ import annotations

from comptoir_server.app.deps import Deps
from comptoir_server.app.events import tell
from comptoir_server.app.instructions import begin
from comptoir_server.app.ports import OperationKind
from comptoir_server.domain.checkouts import CheckoutCommand, CheckoutState
from comptoir_server.domain.operations import Operation, OperationCommand, OperationState
from comptoir_server.domain.payments import Payment, PaymentCommand, PaymentState, PendingKind
from comptoir_server.domain.records import replace
from comptoir_server.store.tables import CHECKOUTS, OPERATIONS
from comptoir_server.store.tx import Tx


async def resume(deps: Deps, tx: Tx, payment: Payment, operation: Operation) -> None:
    """Asks the provider again, under a new key, for the order that its person has now approved.

    The first try is certain to have moved nothing: the provider answered it by asking for the person. Whatever
    becomes of the two, they are for the same order, which a provider executes once. Does nothing for a payment
    that no longer waits for anybody.
    """
    checkout = await tx.load(CHECKOUTS.lock(payment.checkout_id))
    current = await tx.load(OPERATIONS.lock(operation.id))
    if checkout is None or current is None or current.state != OperationState.WAITING:
        return
    if payment.state != PaymentState.REQUIRES_ACTION or checkout.state != CheckoutState.REQUIRES_ACTION:
        return
    done = current.move(OperationCommand.FINISH, tx.now)
    tx.put(replace(done, evidence="the person acted", outcome="REQUIRES_ACTION", lease_owner="", lease_until=0))
    payment = replace(payment.move(PaymentCommand.RESUME, tx.now), action_url="")
    again = begin(
        deps,
        tx,
        OperationKind(operation.kind),
        payment,
        payment.id,
        payment.amount,
        descriptor=operation.statement_descriptor,
        queued=True,
    )
    # The approval names what pays; a provider refuses the saved wallet beside it.
    tx.put(replace(again, wallet_id=""))
    payment = payment.pending(again.id, PendingKind.AUTHORIZE, tx.now)
    tx.put(payment)
    tell(tx, "payment", payment)
    checkout = checkout.move(CheckoutCommand.RESUME, tx.now)
    tx.put(checkout)
    tell(tx, "checkout", checkout)
