"""Writing down what a provider is to do, before it is asked."""

from __future__ import annotations

from comptoir_server.app.deps import Deps
from comptoir_server.app.ports import Instruction, OperationKind
from comptoir_server.domain.operations import Operation, OperationState
from comptoir_server.domain.payments import Payment
from comptoir_server.runtime import MICROSECONDS
from comptoir_server.store.tables import WALLETS
from comptoir_server.store.tx import Tx

CHARGES = frozenset({OperationKind.CHARGE, OperationKind.AUTHORIZE})
"""Operations that a person pays with a wallet."""


def begin(
    deps: Deps,
    tx: Tx,
    kind: OperationKind,
    payment: Payment,
    object_id: str,
    amount: int,
    *,
    target: str = "",
    final: bool = True,
    descriptor: str = "",
    queued: bool = False,
) -> Operation:
    """A new operation, put in this transaction; leased to this process, or `queued` for the reconciler to start.

    Raises OVERLOADED where it would be sent at once and its provider has as much to answer as it may.
    """
    if not queued:
        deps.lines.require_room(payment.provider)
    limit = int(deps.providers[payment.provider].capabilities.call_limit_seconds * MICROSECONDS)
    send_before = tx.now + 2 * limit
    lease_until = 0 if queued else send_before + limit
    operation = Operation(
        id=tx.new_id("opn"),
        kind=kind,
        state=OperationState.PROCESSING,
        payment_id=payment.id,
        object_id=object_id,
        provider=payment.provider,
        wallet_id=payment.wallet_id,
        currency_code=payment.currency_code,
        amount=amount,
        final=final,
        order_reference=payment.order_reference,
        target_reference=target,
        statement_descriptor=descriptor,
        send_before=send_before,
        sends=0 if queued else 1,
        last_send_time=send_before,
        watch_clock="",
        watch_start=0,
        lease_owner="" if queued else deps.settings.worker_name,
        lease_until=lease_until,
        next_time=tx.now if queued else lease_until,
        tries=0,
        evidence="",
        outcome="",
        provider_code="",
        debug_id="",
        create_time=tx.now,
        update_time=tx.now,
    )
    tx.put(operation)
    return operation


async def instruction_of(deps: Deps, operation: Operation) -> Instruction:
    """What the provider is told, with the wallet's token where the person pays."""
    wallet = await deps.store.get(WALLETS.get(operation.wallet_id))
    charges = operation.kind in CHARGES
    token = deps.vault.open_token(wallet.id, wallet.token_sealed) if charges and wallet and wallet.token_sealed else ""
    return Instruction(
        kind=OperationKind(operation.kind),
        key=operation.id,
        object_id=operation.object_id,
        payment_id=operation.payment_id,
        amount=operation.amount,
        currency_code=operation.currency_code,
        wallet_token=token,
        order_reference=operation.order_reference,
        target_reference=operation.target_reference,
        final=operation.final,
        statement_descriptor=operation.statement_descriptor,
        return_url=f"{deps.settings.public_url}/done",
    )
