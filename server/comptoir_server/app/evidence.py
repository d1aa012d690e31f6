"""What is known about one operation, and the rows that its consequences are written to."""

from __future__ import annotations

from comptoir_server.app.checkout_cards import Stage, stage
from comptoir_server.app.deps import Deps
from comptoir_server.app.once import answer_waiting
from comptoir_server.app.ports import Outcome
from comptoir_server.domain.checkouts import Checkout
from comptoir_server.domain.operations import Operation
from comptoir_server.domain.payments import Payment
from comptoir_server.domain.records import record
from comptoir_server.store.tables import CHECKOUTS
from comptoir_server.store.tx import Tx


@record
class Evidence:
    """An outcome, where it was learnt (`reply`, `look-up`, `lease`, `store`, `webhook:<event id>`), and when.

    `more_in_seconds` is when to look again at the latest, None where nothing is known of that.
    """

    outcome: Outcome
    source: str
    time: int
    more_in_seconds: float | None = None


class Case:
    """One operation with its payment, both locked, and the evidence; what handlers change is put as they go."""

    def __init__(self, deps: Deps, tx: Tx, operation: Operation, payment: Payment, evidence: Evidence) -> None:
        self.deps = deps
        self.tx = tx
        self.operation = operation
        self.payment = payment
        self.evidence = evidence

    @property
    def outcome(self) -> Outcome:
        """What the evidence says happened."""
        return self.evidence.outcome

    def put_operation(self, operation: Operation) -> None:
        """Stages the operation and keeps it as the current one."""
        self.operation = operation
        self.tx.put(operation)

    def put_payment(self, payment: Payment) -> None:
        """Stages the payment and keeps it as the current one."""
        self.payment = payment
        self.tx.put(payment)

    async def checkout(self) -> Checkout:
        """The payment's checkout, locked."""
        checkout = await self.tx.load(CHECKOUTS.lock(self.payment.checkout_id))
        if checkout is None:
            raise AssertionError(f"payment {self.payment.id} has no checkout")
        return checkout

    async def stage(self) -> Stage:
        """The conversation, its session locked."""
        return await stage(self.tx, self.payment.session_id, self.payment.user_id, self.payment.partner_id)

    async def answer(self, object_id: str, **objects: object) -> None:
        """Stores the final answer of every request that waits for `object_id`."""
        await answer_waiting(self.tx, object_id, objects)
