"""How many operations this process has with each provider: one that hangs must not hold everybody else's places."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from comptoir_server.domain.errors import Reason, Refused

AT_ONCE = 400
"""How many operations of callers one provider may have on its way at once: two thirds of the calls that may ask one."""

_RETRY_SECONDS = 2.0


class Lines:
    """What is on its way to each provider, on behalf of callers; workers have a pace of their own."""

    def __init__(self, at_once: int = AT_ONCE) -> None:
        self._at_once = at_once
        self._busy: Counter[str] = Counter()

    def require_room(self, provider: str) -> None:
        """Raises OVERLOADED where a provider has as many operations to answer as it may; nothing was begun then."""
        if self._busy[provider] >= self._at_once:
            raise Refused(
                Reason.OVERLOADED,
                f"{provider} is slow to answer, and as many payments wait for it as may. Nothing was done. Send the "
                "same request again after the delay.",
                retry_after_seconds=_RETRY_SECONDS,
            )

    @contextmanager
    def taken(self, provider: str) -> Iterator[None]:
        """Something is on its way to a provider until the block is left."""
        self._busy[provider] += 1
        try:
            yield
        finally:
            self._busy[provider] -= 1
