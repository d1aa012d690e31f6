"""What is kept of a call: a log line of listed fields and two metrics. Never content, never metadata, never a text
that an exception brings along."""

from __future__ import annotations

import functools
import logging
import traceback
from types import TracebackType

import structlog
from prometheus_client import Counter, Histogram

from comptoir_server.app.credentials import Principal
from comptoir_server.domain.errors import Reason
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


def ended(method: Method, principal: Principal | None, outcome: str, seconds: float) -> None:
    """A call has ended: OK, CANCELED or with a reason. Reads that succeeded are logged at level debug."""
    _calls(method.name, outcome).inc()
    if not method.gives_stream:
        _seconds(method.name).observe(seconds)
    level = logging.DEBUG if outcome == OK and method.reads else logging.WARNING if outcome in _LOUD else logging.INFO
    if not _log.is_enabled_for(level):
        return
    _log.log(
        level,
        "call",
        method=method.name,
        outcome=outcome,
        milliseconds=round(seconds * 1_000, 1),
        **(_caller(principal) if principal is not None else {}),
    )


def unforeseen(method: Method, principal: Principal | None, reference: str, error: BaseException) -> None:
    """Something failed that nobody foresaw: where, and of what kind. Its text may hold anything and stays out."""
    _log.error(
        "unforeseen",
        method=method.name,
        reference=reference,
        error=_kind(error),
        frames=_frames(error.__traceback__),
        causes=_causes(error),
        **(_caller(principal) if principal is not None else {}),
    )


def _caller(principal: Principal) -> dict[str, str]:
    ids = {
        "caller": principal.caller.value,
        "partner_id": principal.partner_id,
        "bot_id": principal.bot_id,
        "channel_id": principal.channel_id,
        "user_id": principal.user_id,
        "key_id": principal.key_id,
    }
    return {name: value for name, value in ids.items() if value}


def _causes(error: BaseException) -> list[dict[str, object]]:
    causes: list[dict[str, object]] = []
    cause = error.__cause__ or error.__context__
    while cause is not None and len(causes) < 5:
        causes.append({"error": _kind(cause), "frames": _frames(cause.__traceback__)})
        cause = cause.__cause__ or cause.__context__
    return causes


def _kind(error: BaseException) -> str:
    return f"{type(error).__module__}.{type(error).__qualname__}"


def _frames(trace: TracebackType | None) -> list[str]:
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(trace)]
