"""A provider of zero latency, in the process of the server that is measured: it keeps its books and says yes."""

from __future__ import annotations

from collections.abc import Mapping

from comptoir_server.app.ports import (
    Capabilities,
    Instruction,
    LinkedWallet,
    LinkRefused,
    LinkStart,
    Notice,
    OperationKind,
    Outcome,
    OutcomeKind,
    WebhookRefused,
)

_DONE = {
    OperationKind.CHARGE: OutcomeKind.CAPTURED,
    OperationKind.AUTHORIZE: OutcomeKind.AUTHORIZED,
    OperationKind.CAPTURE: OutcomeKind.CAPTURED,
    OperationKind.VOID: OutcomeKind.VOIDED,
    OperationKind.REFUND: OutcomeKind.REFUNDED,
}


class InstantProvider:
    """Answers at once, the same for the same key."""

    def __init__(self) -> None:
        self.books: dict[str, Outcome] = {}
        self._capabilities = Capabilities(
            name="instant",
            display_name="Instant",
            key_ttl_seconds=dict.fromkeys(OperationKind, 86_400),
            settle_seconds=1,
            call_limit_seconds=5.0,
            prepares=False,
            currencies={"USD": 2},
        )

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    async def begin_link(self, key: str, return_url: str, cancel_url: str) -> LinkStart:
        raise LinkRefused("wallets are made beforehand")

    async def complete_link(self, key: str, reference: str) -> LinkedWallet:
        raise LinkRefused("wallets are made beforehand")

    async def revoke_link(self, token: str) -> None:
        return None

    async def prepare(self, instruction: Instruction) -> str:
        return instruction.key

    async def execute(self, instruction: Instruction) -> Outcome:
        if instruction.key not in self.books:
            done = _DONE[instruction.kind]
            self.books[instruction.key] = Outcome(done, instruction.key, instruction.amount, instruction.currency_code)
        return self.books[instruction.key]

    async def look_up(self, instruction: Instruction) -> Outcome:
        return self.books.get(instruction.key, Outcome(OutcomeKind.ABSENT))

    async def confirm(self, notice: Notice) -> Notice | None:
        return None

    async def read_webhook(self, headers: Mapping[str, str], body: bytes) -> Notice:
        raise WebhookRefused("it sends none")

    async def close(self) -> None:
        return None
