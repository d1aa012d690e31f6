"""Faults by order: rules that a test sets, matched in the order in which they were set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from decimal import Decimal
from enum import StrEnum
from typing import Any

from comptoir_server.standins.paypal.wire import Answer, Call, Json, Travel, dump


class FaultKind(StrEnum):
    """What goes wrong."""

    LATENCY = "latency"
    """The effect happens at once, the answer comes `seconds` later; until then the request is "in progress"."""
    LOST_REQUEST = "lost_request"
    """No effect; the connection closes without an answer."""
    LOST_ANSWER = "lost_answer"
    """The effect happens; the connection closes without an answer."""
    LATE_EFFECT = "late_effect"
    """The connection closes without an answer; the effect happens `seconds` later."""
    ERROR_BEFORE = "error_before"
    """500 without effect."""
    ERROR_AFTER = "error_after"
    """500 after the effect."""
    GARBAGE = "garbage"
    """The effect happens; the body cannot be read."""
    HALF_BODY = "half_body"
    """The effect happens; the connection closes in the middle of the body."""
    HUNG = "hung"
    """The effect happens; the answer never comes."""
    WRONG_AMOUNT = "wrong_amount"
    """The effect is right; every amount in the answer is one too many."""
    WRONG_CURRENCY = "wrong_currency"
    """The effect is right; every amount in the answer is in another currency."""
    THROTTLED = "throttled"
    """429 without effect."""
    EXPIRED_TOKEN = "expired_token"  # noqa: S105 - a name
    """401 without effect, as for an access token that expired."""
    DECLINE = "decline"
    """Refused without effect, with `issue`."""


BEFORE_EFFECT = frozenset(
    {
        FaultKind.LOST_REQUEST,
        FaultKind.LATE_EFFECT,
        FaultKind.ERROR_BEFORE,
        FaultKind.THROTTLED,
        FaultKind.EXPIRED_TOKEN,
        FaultKind.DECLINE,
    }
)
SECONDS_MAX = 30 * 86_400
EVERY = "*"
ALWAYS = 0


_TEXT = (str,)
_TYPES: Mapping[str, tuple[type, ...]] = {
    "operation": _TEXT,
    "kind": _TEXT,
    "times": (int,),
    "seconds": (int, float),
    "issue": _TEXT,
    "request_id": _TEXT,
    "resource_id": _TEXT,
}


class FaultMalformed(ValueError):
    """A rule that cannot be set; the text says why."""


@dataclass(slots=True)
class Fault:
    """One rule. `operation` is a name such as `orders.capture`, or `*`; `times` 0 is "until deleted".

    `request_id` and `resource_id` (the id in the path: of an order, an authorization, a capture)
    narrow it down when they are set.
    """

    operation: str
    kind: FaultKind
    times: int = 1
    seconds: float = 0.0
    issue: str = ""
    request_id: str = ""
    resource_id: str = ""
    hits: int = 0

    def fits(self, call: Call) -> bool:
        """Whether the rule strikes this call."""
        return (
            self.operation in {EVERY, call.operation}
            and (self.times == ALWAYS or self.hits < self.times)
            and self.request_id in {"", call.request_id}
            and (not self.resource_id or self.resource_id in call.ids.values())
        )


@dataclass(slots=True)
class Faults:
    """The rules that are set."""

    rules: list[Fault] = field(default_factory=list)

    def add(self, rule: Mapping[str, Any], operations: frozenset[str]) -> Fault:
        """Sets a rule given as JSON. Raises FaultMalformed."""
        if {"operation", "kind"} - rule.keys() or any(type(rule[name]) not in _TYPES.get(name, ()) for name in rule):
            raise FaultMalformed(
                "A fault has the texts operation and kind, and optionally times (a whole number), seconds (a number), "
                "issue, request_id and resource_id (texts)."
            )
        if rule["operation"] not in operations | {EVERY}:
            known = ", ".join(sorted(operations))
            raise FaultMalformed(f"There is no operation {rule['operation']!r}: use * or {known}.")
        if rule["kind"] not in list(FaultKind):
            raise FaultMalformed(f"kind is one of {', '.join(FaultKind)}.")
        fault = Fault(**{**rule, "kind": FaultKind(rule["kind"])})
        if fault.times < 0 or not 0 <= fault.seconds <= SECONDS_MAX:
            raise FaultMalformed(f"times is from 0 (until deleted), seconds from 0 to {SECONDS_MAX}.")
        if fault.kind is FaultKind.DECLINE and not fault.issue:
            raise FaultMalformed("A decline needs an issue, such as INSTRUMENT_DECLINED.")
        self.rules.append(fault)
        return fault

    def strike(self, call: Call) -> Fault | None:
        """The first rule that fits, used up by one."""
        fault = next((rule for rule in self.rules if rule.fits(call)), None)
        if fault:
            fault.hits += 1
        return fault

    def listed(self) -> list[Json]:
        """The rules with how often each struck."""
        return [asdict(rule) for rule in self.rules]


def distort(fault: Fault, answer: Answer, view: Json | None) -> Answer:
    """The answer as `fault` lets it arrive; `view` is what its body says."""
    kind = fault.kind
    if kind is FaultKind.LATENCY:
        return replace(answer, delay_seconds=answer.delay_seconds + fault.seconds)
    if kind in {FaultKind.LOST_ANSWER, FaultKind.HUNG, FaultKind.HALF_BODY}:
        travel = {FaultKind.LOST_ANSWER: Travel.CLOSED, FaultKind.HUNG: Travel.NEVER}.get(kind, Travel.HALF)
        return replace(answer, travel=travel)
    if kind is FaultKind.GARBAGE:
        return replace(answer, body=b"<html><body>Bad gateway \xff\xfe{")
    if kind in {FaultKind.WRONG_AMOUNT, FaultKind.WRONG_CURRENCY} and view is not None:
        return replace(answer, body=dump(_with_wrong_money(view, kind)))
    return answer


def _with_wrong_money(value: Any, kind: FaultKind) -> Any:
    if isinstance(value, list):
        return [_with_wrong_money(item, kind) for item in value]
    if not isinstance(value, dict):
        return value
    changed = {name: _with_wrong_money(item, kind) for name, item in value.items()}
    if {"currency_code", "value"} <= changed.keys():
        if kind is FaultKind.WRONG_AMOUNT:
            changed["value"] = str(Decimal(changed["value"]) + 1)
        else:
            changed["currency_code"] = "CHF" if changed["currency_code"] != "CHF" else "EUR"
    return changed
