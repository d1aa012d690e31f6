"""Calls over a bad line: one try, or as many as it takes, with the same request id and the same bytes."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.message import Message

from comptoir.v1 import (
    Capture,
    ConfirmCheckoutResponse,
    CreateApiKeyResponse,
    CreateCaptureResponse,
    CreateRefundResponse,
    Payment,
    Refund,
    StartWalletLinkResponse,
    VoidPaymentResponse,
)
from comptoir_server.domain.errors import Reason
from comptoir_server.transport import policy
from comptoir_server.transport.failures import Failed
from tests.simulation.servers import Process, Unreachable

METHODS = {method.name: method for method in policy.methods()}

LATENCY_SECONDS = 0.03
DEADLINE_SECONDS = 25.0
AGAIN_SECONDS = 0.5
AGAIN_SECONDS_MAX = 30.0

LATER = frozenset(
    {Reason.REQUEST_IN_PROGRESS, Reason.PROVIDER_UNAVAILABLE, Reason.DRAINING, Reason.OVERLOADED, Reason.RATE_LIMITED}
)
"""Reasons to send the same request again."""


@dataclass
class Credential:
    """A credential, and whom it names; its secret may be replaced. `owner` is behind whom request ids are counted."""

    secret: str
    owner: str
    user_id: str = ""

    @property
    def metadata(self) -> list[tuple[str, str | bytes]]:
        """What travels with each call."""
        entries: list[tuple[str, str | bytes]] = [("authorization", f"Bearer {self.secret}")]
        return [*entries, ("comptoir-user", self.user_id)] if self.user_id else entries


_DECIDED = frozenset({Payment.STATE_AUTHORIZED, Payment.STATE_CAPTURED, Payment.STATE_DECLINED, Payment.STATE_FAILED})


def is_final(answer: Any) -> bool:
    """Whether the answer says that nothing is left to wait for."""
    match answer:
        case ConfirmCheckoutResponse(payment=payment):
            return payment.state in _DECIDED and not payment.HasField("pending_operation")
        case CreateCaptureResponse(capture=capture):
            return capture.state not in {Capture.STATE_PROCESSING, Capture.STATE_IN_DOUBT}
        case CreateRefundResponse(refund=refund):
            return refund.state not in {Refund.STATE_PROCESSING, Refund.STATE_IN_DOUBT}
        case VoidPaymentResponse(payment=payment):
            return payment.state == Payment.STATE_VOIDED
        case _:
            return True


def _without_secrets(answer: Any) -> bytes:
    """The answer without what it holds the first time only."""
    copy = type(answer).FromString(answer.SerializeToString())
    match copy:
        case StartWalletLinkResponse():
            copy.wallet_link.ClearField("link_url")
        case CreateApiKeyResponse():
            copy.ClearField("secret")
    return bytes(copy.SerializeToString(deterministic=True))


@dataclass(frozen=True)
class Told:
    """A request, whose it was, and the last word on it."""

    credential: Credential
    request: Any
    answer: bytes


@dataclass
class Network:
    """The way to the servers. `rates` gives how often a call, or its answer, is lost."""

    draw: random.Random
    rates: Mapping[str, float]
    processes: Callable[[], Sequence[Process]]
    failed: Callable[[str], None]
    note: Callable[[str], None]
    final: dict[tuple[str, str, str], Told] = field(default_factory=dict)
    """The final answer of each request, by owner, method and request id."""
    struck: Counter[str] = field(default_factory=Counter)

    async def reach(self) -> Process:
        """A server, after the way to it. Raises Unreachable."""
        await asyncio.sleep(self.latency())
        up = self.processes()
        if not up or self.strikes("call.lost"):
            await asyncio.sleep(self.latency())
            raise Unreachable("nobody answers")
        return up[int(self.draw.random() * len(up))]

    async def once(
        self, credential: Credential, name: str, request: Message, seconds: float = DEADLINE_SECONDS
    ) -> bytes:
        """One try. Raises Failed, Unreachable; TimeoutError where the caller's patience ends."""
        process = await self.reach()
        raw = request.SerializeToString()
        reply = process.unary(METHODS[name].path, credential.metadata, raw, seconds)
        try:
            async with asyncio.timeout(seconds):
                answer = await reply
        except Failed as failed:
            self._refused(name, failed)
            raise
        await asyncio.sleep(self.latency())
        if self.strikes("answer.lost"):
            raise Unreachable("the answer was lost")
        self.note(f"{name} {len(answer)}")
        return answer

    async def insist(
        self, credential: Credential, name: str, request: Any, seconds: float = DEADLINE_SECONDS, tries: int = 40
    ) -> Any:
        """The answer, however many tries it takes. Raises Failed where it is a refusal, Unreachable in the end."""
        wait = AGAIN_SECONDS
        for _ in range(tries):
            secret = credential.secret
            try:
                raw = await self.once(credential, name, request, seconds)
            except Failed as failed:
                replaced = failed.reason is Reason.CREDENTIAL_INVALID and credential.secret != secret
                if failed.reason not in LATER and not replaced:
                    raise
            except (Unreachable, TimeoutError):
                pass
            else:
                answer = METHODS[name].response.FromString(raw)
                self._keep(credential, name, request, answer)
                return answer
            await asyncio.sleep(wait * self.draw.uniform(0.5, 1.0))
            wait = min(2 * wait, AGAIN_SECONDS_MAX)
        raise Unreachable(f"{name} was not answered in {tries} tries")

    def _keep(self, credential: Credential, name: str, request: Any, answer: Any) -> None:
        """Holds an answer against the one that was given before, where either says that it is the last."""
        if "request_id" not in request.DESCRIPTOR.fields_by_name or not is_final(answer):
            return
        key, said = (credential.owner, name, request.request_id), _without_secrets(answer)
        told = self.final.setdefault(key, Told(credential, request, said))
        if told.answer != said:
            self.failed(f"C11 {name} {request.request_id}: another answer than before")

    def latency(self) -> float:
        """One way."""
        return self.draw.expovariate(1 / LATENCY_SECONDS)

    def strikes(self, kind: str) -> bool:
        """Whether a fault strikes now."""
        rate = self.rates.get(kind, 0.0)
        if rate and self.draw.random() < rate:
            self.struck[kind] += 1
            return True
        return False

    def _refused(self, name: str, failed: Failed) -> None:
        self.note(f"{name} {failed.outcome}")
        if failed.reason is Reason.INTERNAL:
            self.failed(f"{name} was answered INTERNAL")
