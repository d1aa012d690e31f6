"""A payment provider for tests: in memory, with books of its own, that does what it is told.

It keeps every promise of the `Provider` protocol (the same key gives the same answer and moves money once) and refuses
what no real provider would do, so that a mistake of ours shows as a refusal or in its books.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import urlencode

from comptoir_server.app.ports import (
    Capabilities,
    DeclineCode,
    Instruction,
    LinkedWallet,
    LinkRefused,
    LinkStart,
    Notice,
    NoticeKind,
    OperationKind,
    Outcome,
    OutcomeKind,
    PrepareRefused,
    ProviderUnavailable,
    WebhookRefused,
)

SIGNATURE = "scripted-signature"
"""The header of a delivery."""

SUCCESS = {
    OperationKind.CHARGE: OutcomeKind.CAPTURED,
    OperationKind.AUTHORIZE: OutcomeKind.AUTHORIZED,
    OperationKind.CAPTURE: OutcomeKind.CAPTURED,
    OperationKind.VOID: OutcomeKind.VOIDED,
    OperationKind.REFUND: OutcomeKind.REFUNDED,
}
"""What each kind of operation comes to when nothing is in its way."""


def capabilities(name: str = "paypal", display_name: str = "PayPal", *, prepares: bool = True) -> Capabilities:
    """What the provider promises: keys are remembered for three hours, absence is proven after a minute."""
    return Capabilities(
        name=name,
        display_name=display_name,
        key_ttl_seconds=dict.fromkeys(OperationKind, 3 * 3600),
        settle_seconds=60,
        call_limit_seconds=5.0,
        prepares=prepares,
        currencies={"USD": 2, "EUR": 2, "JPY": 0},
    )


@dataclass
class ScriptedLink:
    """A link as the provider knows it."""

    reference: str
    return_url: str
    cancel_url: str
    account: str = ""
    """Who approved it; empty before."""
    token: str = ""
    """What it was exchanged for; empty before."""


@dataclass(frozen=True)
class Reply:
    """What the next `execute` does: whether it is carried out, and what is answered instead of the truth."""

    executed: bool
    answered: Outcome | None = None


OK = Reply(executed=True)
LOST_REQUEST = Reply(executed=False, answered=Outcome(OutcomeKind.IN_DOUBT, provider_code="TIMEOUT"))
LOST_REPLY = Reply(executed=True, answered=Outcome(OutcomeKind.IN_DOUBT, provider_code="TIMEOUT"))
NOT_SENT = Reply(executed=False, answered=Outcome(OutcomeKind.NOT_SENT, provider_code="CONNECT"))
THROTTLED = Reply(executed=False, answered=Outcome(OutcomeKind.THROTTLED, provider_code="429"))


def declined(code: DeclineCode = DeclineCode.INSUFFICIENT_FUNDS) -> Reply:
    """A final refusal, which the provider remembers under the key."""
    return Reply(executed=False, answered=Outcome(OutcomeKind.DECLINED, decline_code=code, provider_code=str(code)))


def answering(kind: OutcomeKind, *, executed: bool = True, **fields: str) -> Reply:
    """Any other answer, such as PENDING or REQUIRES_ACTION with an `action_url`."""
    return Reply(executed=executed, answered=Outcome(kind, **fields))  # type: ignore[arg-type]


@dataclass
class Books:
    """The provider's own count of what moved, in minor units, by its own references."""

    held: dict[str, int] = field(default_factory=dict)
    captured: dict[str, int] = field(default_factory=dict)
    refunded: dict[str, int] = field(default_factory=dict)
    hold_of: dict[str, str] = field(default_factory=dict)
    moved: list[tuple[OperationKind, str, int, str]] = field(default_factory=list)
    """(kind, object id, amount, currency) of all that was carried out, in order."""

    def total(self, kind: OperationKind) -> int:
        """What all operations of a kind moved."""
        return sum(amount for moved, _, amount, _ in self.moved if moved == kind)


class ScriptedProvider:
    """The double. Queue replies in `replies` and outages with `fail`; read `links`, `tokens`, `books` and `calls`."""

    def __init__(self, promised: Capabilities | None = None) -> None:
        self._capabilities = promised or capabilities()
        self.links: dict[str, ScriptedLink] = {}
        """Links by our key."""
        self.tokens: dict[str, str] = {}
        """Live tokens, and the account that each charges."""
        self.deleted: list[str] = []
        """Tokens that were deleted, in order."""
        self.orders: dict[str, Instruction] = {}
        """Prepared orders by reference."""
        self.outcomes: dict[str, Outcome] = {}
        """The truth, by our key."""
        self.objects: dict[str, Outcome] = {}
        """The truth, by our object id."""
        self.facts: dict[str, Notice] = {}
        """The truth as its API tells it, by its own reference; what `confirm` answers."""
        self.books = Books()
        self.replies: deque[Reply] = deque()
        """What the next calls of `execute` do; the truth is answered when it is empty."""
        self.unseen = 0
        """How many of the next look-ups find nothing, although there may be something already."""
        self.deliveries: dict[bytes, Notice] = {}
        self.calls: list[tuple[str, str]] = []
        """(method, key or token or reference) of every call."""
        self._outages: dict[str, deque[tuple[bool, Exception]]] = {}
        self._gates: dict[str, asyncio.Event] = {}
        self._numbers = 0

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    # What a test does to it.

    def fail(self, method: str, times: int = 1, *, after: bool = False, error: Exception | None = None) -> None:
        """The next calls of `method` raise ProviderUnavailable (or `error`), before their work or `after` it."""
        outage = (after, error or ProviderUnavailable("scripted"))
        self._outages.setdefault(method, deque()).extend([outage] * times)

    def recover(self) -> None:
        """No call fails any more."""
        self._outages.clear()

    def hold(self, method: str) -> asyncio.Event:
        """Calls of `method` wait, once they have done their work, until the event that this answers is set."""
        return self._gates.setdefault(method, asyncio.Event())

    def let_through(self, method: str) -> None:
        """Later calls of `method` wait no more; those that wait already go on waiting."""
        self._gates.pop(method, None)

    def approve(self, reference: str, account: str = "payer@example.com", **appended: str) -> str:
        """The payer approves the link; answers where their browser is sent."""
        link = self.link(reference)
        link.account = account
        joint = "&" if "?" in link.return_url else "?"
        return f"{link.return_url}{joint}{urlencode({'approval_token_id': reference, **appended})}"

    def link(self, reference: str) -> ScriptedLink:
        """The link of that reference."""
        return next(link for link in self.links.values() if link.reference == reference)

    def forget(self) -> None:
        """Keys are forgotten, as they are after a while."""
        self.outcomes.clear()

    def new_token(self, account: str = "payer@example.com") -> str:
        """A token as if it had been linked before."""
        token = self._next("token")
        self.tokens[token] = account
        return token

    def act(self, payment_id: str) -> Notice:
        """The person does what was asked of them; answers what the provider tells of it."""
        order_reference = next(ref for ref, order in self.orders.items() if order.object_id == payment_id)
        if self.objects[payment_id].kind != OutcomeKind.REQUIRES_ACTION:
            raise AssertionError("nothing is asked of the person")
        approved = Outcome(OutcomeKind.APPROVED, order_reference)
        self.objects[payment_id] = approved
        return self._tell(replace(self.orders[order_reference], order_reference=order_reference), approved)

    def give_back(self, capture_reference: str, amount: int) -> Notice:
        """Somebody refunds at the provider's own pages, or it takes the money back; answers what it tells of it."""
        capture = self.facts[capture_reference]
        assert capture.outcome is not None
        if amount > self.books.captured[capture_reference] - self.books.refunded.get(capture_reference, 0):
            raise AssertionError("no provider gives back more than was taken")
        self.books.refunded[capture_reference] = self.books.refunded.get(capture_reference, 0) + amount
        self.books.moved.append((OperationKind.REFUND, "", amount, capture.outcome.currency_code))
        outcome = Outcome(OutcomeKind.REFUNDED, self._next("refund"), amount, capture.outcome.currency_code)
        return self._know(
            replace(capture, object_id="", parent_reference=capture_reference), outcome, OperationKind.REFUND
        )

    def release(self, hold_reference: str) -> Notice:
        """A hold ends at the provider; answers what it tells of it."""
        self.books.held[hold_reference] = 0
        outcome = Outcome(OutcomeKind.VOIDED, hold_reference)
        return self._know(self.facts[hold_reference], outcome, OperationKind.VOID)

    def notice(self, object_id: str) -> Notice:
        """What the provider tells by itself of the payment, capture or refund with this id of ours."""
        return next(
            replace(fact, event_id=self._next("event"))
            for fact in reversed(self.facts.values())
            if fact.object_id == object_id
        )

    def sign(self, notice: Notice) -> tuple[dict[str, str], bytes]:
        """Headers and body of a genuine delivery of `notice`."""
        body = f"delivery of {notice.event_id}".encode()
        self.deliveries[body] = notice
        return {SIGNATURE: "genuine"}, body

    # The protocol.

    async def begin_link(self, key: str, return_url: str, cancel_url: str) -> LinkStart:
        await self._enter("begin_link", key)
        if key not in self.links:
            self.links[key] = ScriptedLink(self._next("setup"), return_url, cancel_url)
        link = self.links[key]
        if (link.return_url, link.cancel_url) != (return_url, cancel_url):
            raise AssertionError("the same key came with other addresses: a provider would refuse it")
        await self._leave("begin_link")
        return LinkStart(link.reference, f"https://provider.example/approve/{link.reference}")

    async def complete_link(self, key: str, reference: str) -> LinkedWallet:
        await self._enter("complete_link", key)
        link = self.links.get(key)
        if link is None or link.reference != reference or not link.account:
            raise LinkRefused("not approved")
        if not link.token:
            link.token = self.new_token(link.account)
        await self._leave("complete_link")
        return LinkedWallet(link.token, f"{link.account[0]}•••@{link.account.partition('@')[2]}")

    async def revoke_link(self, token: str) -> None:
        await self._enter("revoke_link", token)
        if self.tokens.pop(token, None) is not None:
            self.deleted.append(token)
        await self._leave("revoke_link")

    async def prepare(self, instruction: Instruction) -> str:
        await self._enter("prepare", instruction.key)
        if instruction.currency_code not in self._capabilities.currencies:
            raise PrepareRefused(Outcome(OutcomeKind.DECLINED, decline_code=DeclineCode.DO_NOT_HONOR))
        reference = next((ref for ref, order in self.orders.items() if order.key == instruction.key), "")
        if not reference:
            reference = self._next("order")
            self.orders[reference] = instruction
        await self._leave("prepare")
        return reference

    async def execute(self, instruction: Instruction) -> Outcome:
        await self._enter("execute", instruction.key)
        reply = self.replies.popleft() if self.replies else OK
        if instruction.key not in self.outcomes:
            known = self.objects.get(instruction.object_id)
            if known is not None and known.kind == SUCCESS[instruction.kind]:
                self.outcomes[instruction.key] = known  # done under another key, or one that was forgotten
            elif reply.executed:
                self._settle(instruction, self._carry_out(instruction))
            elif reply.answered is not None and reply.answered.kind == OutcomeKind.DECLINED:
                self._settle(instruction, reply.answered)
            elif reply.answered is not None and reply.answered.kind == OutcomeKind.REQUIRES_ACTION:
                self.objects[instruction.object_id] = reply.answered
        await self._leave("execute")
        return reply.answered or self.outcomes[instruction.key]

    async def look_up(self, instruction: Instruction) -> Outcome:
        await self._enter("look_up", instruction.key)
        await self._leave("look_up")
        if self.unseen:
            self.unseen -= 1
            return Outcome(OutcomeKind.ABSENT)
        return self.objects.get(instruction.object_id, Outcome(OutcomeKind.ABSENT))

    async def read_webhook(self, headers: Mapping[str, str], body: bytes) -> Notice:
        await self._enter("read_webhook", "")
        if headers.get(SIGNATURE) != "genuine" or body not in self.deliveries:
            raise WebhookRefused("not ours")
        await self._leave("read_webhook")
        return self.deliveries[body]

    async def confirm(self, notice: Notice) -> Notice | None:
        await self._enter("confirm", notice.reference or notice.wallet_token)
        await self._leave("confirm")
        if notice.kind == NoticeKind.WALLET_REVOKED:
            return None if notice.wallet_token in self.tokens else notice
        if notice.kind == NoticeKind.OTHER:
            return notice
        fact = self.facts.get(notice.reference)
        return fact and replace(fact, event_id=notice.event_id, event_type=notice.event_type)

    async def close(self) -> None:
        self.calls.append(("close", ""))

    # Its insides.

    async def _enter(self, method: str, name: str) -> None:
        self.calls.append((method, name))
        await asyncio.sleep(0)
        outages = self._outages.get(method)
        if outages and not outages[0][0]:
            raise outages.popleft()[1]

    async def _leave(self, method: str) -> None:
        gate = self._gates.get(method)
        if gate is not None:
            await gate.wait()
        outages = self._outages.get(method)
        if outages:
            raise outages.popleft()[1]

    def _next(self, kind: str) -> str:
        self._numbers += 1
        return f"{kind}-{self._numbers}"

    def _settle(self, instruction: Instruction, outcome: Outcome) -> None:
        self.outcomes[instruction.key] = outcome
        self.objects[instruction.object_id] = outcome
        if outcome.reference:
            self._tell(instruction, outcome)

    def _tell(self, instruction: Instruction, outcome: Outcome) -> Notice:
        about = Notice(
            "",
            "",
            NoticeKind.OUTCOME,
            object_id=instruction.object_id,
            order_reference=instruction.order_reference,
            parent_reference=instruction.target_reference,
        )
        return self._know(about, outcome, instruction.kind)

    def _know(self, about: Notice, outcome: Outcome, kind: OperationKind) -> Notice:
        """Remembers the truth about `outcome.reference`, and answers the notice that tells of it."""
        fact = replace(about, operation=kind, outcome=outcome, reference=outcome.reference)
        self.facts[fact.reference] = fact
        event_id = self._next("event")
        return replace(fact, event_id=event_id, event_type=f"{kind} {outcome.kind}")

    def _carry_out(self, instruction: Instruction) -> Outcome:
        """Moves the money, or refuses as a real provider would."""
        refusal = self._refusal(instruction)
        if refusal is not None:
            return Outcome(OutcomeKind.DECLINED, decline_code=refusal, provider_code=str(refusal))
        reference = self._next(instruction.kind.lower())
        books, amount, target = self.books, instruction.amount, instruction.target_reference
        match instruction.kind:
            case OperationKind.CHARGE:
                books.captured[reference] = amount
            case OperationKind.AUTHORIZE:
                books.held[reference] = amount
            case OperationKind.CAPTURE:
                books.captured[reference] = amount
                books.hold_of[reference] = target
                books.held[target] = 0 if instruction.final else books.held[target] - amount
            case OperationKind.VOID:
                reference, books.held[target] = target, 0
            case OperationKind.REFUND:
                books.refunded[target] = books.refunded.get(target, 0) + amount
        books.moved.append((instruction.kind, instruction.object_id, amount, instruction.currency_code))
        truth = Outcome(SUCCESS[instruction.kind], reference, amount, instruction.currency_code)
        if instruction.kind == OperationKind.VOID:
            truth = replace(truth, amount=None, currency_code="")
        return truth

    def _refusal(self, instruction: Instruction) -> DeclineCode | None:
        target, amount = instruction.target_reference, instruction.amount
        match instruction.kind:
            case OperationKind.CHARGE | OperationKind.AUTHORIZE:
                if self._capabilities.prepares:
                    order = self.orders.get(instruction.order_reference)
                    if order is None or (order.amount, order.currency_code) != (amount, instruction.currency_code):
                        return DeclineCode.DO_NOT_HONOR
                if self._approved(instruction):
                    return DeclineCode.DO_NOT_HONOR if instruction.wallet_token else None
                if instruction.wallet_token not in self.tokens:
                    return DeclineCode.WALLET_REVOKED
            case OperationKind.CAPTURE:
                if amount > self.books.held.get(target, 0):
                    return DeclineCode.LIMIT_REACHED
            case OperationKind.VOID:
                if target not in self.books.held:
                    return DeclineCode.DO_NOT_HONOR
            case OperationKind.REFUND:
                if amount > self.books.captured.get(target, 0) - self.books.refunded.get(target, 0):
                    return DeclineCode.REFUND_NOT_POSSIBLE
        return None

    def _approved(self, instruction: Instruction) -> bool:
        """Whether its person approved this very order; what pays it is settled then."""
        truth = self.objects.get(instruction.object_id)
        return truth is not None and truth.kind == OutcomeKind.APPROVED
