"""What is kept of a call: a log line of listed fields and two metrics. Never content, never metadata, never a text
that an exception brings along."""

from __future__ import annotations

import functools
import logging

import structlog
from prometheus_client import Counter, Histogram

from comptoir_server.app.credentials import Principal
from comptoir_server.domain.errors import Reason
from comptoir_server.log import without_texts
from comptoir_server.transport.policy import Method

_log = structlog.get_logger("comptoir.calls")

_CALLS = Counter("comptoir_calls", "Calls that ended, by method and reason.", ["method", "reason"])
_SECONDS = Histogram(
    "comptoir_call_seconds", "How long unary calls took.", ["method"], buckets=(0.005, 0.025, 0.1, 0.5, 2.5, 10, 30)
)
_calls = functools.cache(_CALLS.labels)
_seconds = functools.cache(_SECONDS.labels)

OK = "OK"
CANCELED = "CANCELED"
"""The caller went away before it had its answer."""

_LOUD = frozenset({Reason.INTERNAL.value, Reason.OVERLOADED.value, Reason.PROVIDER_UNAVAILABLE.value})


def ended(method: Method, principal: Principal | None, reason: str, seconds: float) -> None:
    """A call has ended: OK, CANCELED or with a reason. Reads that succeeded are logged at level debug."""
    _calls(method.name, reason).inc()
    if not method.gives_stream:
        _seconds(method.name).observe(seconds)
    level = logging.DEBUG if reason == OK and method.reads else logging.WARNING if reason in _LOUD else logging.INFO
    if _log.is_enabled_for(level):
        duration = round(seconds * 1_000, 1)
        _log.log(level, "call", method=method.name, reason=reason, duration_ms=duration, **_caller(principal))


def unforeseen(method: Method, principal: Principal | None, reference: str, error: BaseException) -> None:
    """Something failed that nobody foresaw: of what kind, and where. Its text may hold anything and stays out."""
    _log.error(
        "unforeseen", method=method.name, reference=reference, exception=without_texts(error), **_caller(principal)
    )


def _caller(principal: Principal | None) -> dict[str, str]:
    if principal is None:
        return {}
    owner = principal.partner_id or "+".join(each for each in (principal.channel_id, principal.user_id) if each)
    found = {"caller": principal.caller.value, "owner": owner, "key_id": principal.key_id}
    return {name: value for name, value in found.items() if value}
