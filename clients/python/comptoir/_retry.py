"""When a call is sent again, and after how long: decided here, waited for by the two clients."""

from __future__ import annotations

import logging

import grpc

from comptoir._failure import error_from
from comptoir._method import Method
from comptoir._runtime import Runtime
from comptoir.errors import ComptoirError

logger = logging.getLogger("comptoir")

FIRST_SECONDS = 0.1
CALL_CAP_SECONDS = 5.0
STREAM_CAP_SECONDS = 30.0

UNANSWERED = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED})
"""Nobody answered: the request was lost, or its answer was."""

FATAL_TO_STREAMS = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.ALREADY_EXISTS,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.UNIMPLEMENTED,
    }
)
"""What opening a stream again cannot mend: the caller must change something first."""


def worth_repeating(error: ComptoirError) -> bool:
    """Whether the same request may succeed later: nobody answered, or the server says so."""
    return error.retryable or error.code in UNANSWERED or error.retry_after_seconds is not None


def worth_reopening(error: ComptoirError) -> bool:
    """Whether a broken stream may succeed when it is opened again."""
    return worth_repeating(error) or error.code not in FATAL_TO_STREAMS


class Backoff:
    """Exponential delays with full jitter, never shorter than the server asked for.

    >>> Backoff(Runtime(uniform=lambda low, high: high), cap_seconds=5.0).after(None)
    0.1
    """

    def __init__(self, runtime: Runtime, cap_seconds: float, first_seconds: float = FIRST_SECONDS) -> None:
        self._runtime = runtime
        self._cap_seconds = cap_seconds
        self._first_seconds = first_seconds
        self._failures = 0

    @property
    def failures(self) -> int:
        """How often something failed since it last succeeded."""
        return self._failures

    def after(self, retry_after_seconds: float | None) -> float:
        """The delay in seconds after one more failure."""
        ceiling = min(self._cap_seconds, self._first_seconds * 2.0 ** min(self._failures, 30))
        self._failures += 1
        return (retry_after_seconds or 0.0) + self._runtime.uniform(0.0, ceiling)

    def reset(self) -> None:
        """Starts from the shortest delay again: something succeeded."""
        self._failures = 0


def delay_to_reopen(path: str, failure: grpc.RpcError | None, backoff: Backoff) -> float:
    """How many seconds to wait before a broken stream is opened again; `failure` is None where the server ended it.

    Raises ComptoirError where opening it again cannot help. Connections end now and then, because they are old or the
    server is replaced: only one that does not come back is worth a warning.
    """
    error = error_from(failure) if failure is not None else None
    if error is not None and not worth_reopening(error):
        raise error from failure
    delay = backoff.after(error.retry_after_seconds if error is not None else None)
    level = logging.INFO if backoff.failures == 1 else logging.WARNING
    logger.log(level, "%s broke (%s); opening it again in %.1f s", path, error or "the server ended it", delay)
    return delay


class Attempts:
    """The attempts of one logical call, within the time that its caller gives it in all."""

    def __init__(self, method: Method, budget_seconds: float, runtime: Runtime) -> None:
        self._method = method
        self._runtime = runtime
        self._end = runtime.monotonic() + budget_seconds
        self._backoff = Backoff(runtime, CALL_CAP_SECONDS)

    def timeout_seconds(self) -> float:
        """The deadline of the next attempt: the method's own, or what is left of the caller's time."""
        return max(0.0, min(self._method.attempt_seconds, self._end - self._runtime.monotonic()))

    def delay_after(self, error: ComptoirError) -> float | None:
        """How long to wait before the next attempt; None where the error is final or the time would run out."""
        if not (self._method.safe_to_retry and worth_repeating(error)):
            return None
        delay = self._backoff.after(error.retry_after_seconds)
        return delay if self._runtime.monotonic() + delay < self._end else None
