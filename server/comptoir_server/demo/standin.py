"""The controls of the PayPal stand-in that the play needs: what is to go wrong, and the provider's own books."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

import httpx

from comptoir_server.demo.failure import Failure
from comptoir_server.runtime import Runtime

CONTROL_SECONDS = 10.0


class Standin:
    """Speaks to `/_standin/` of a running stand-in."""

    def __init__(self, runtime: Runtime, address: str) -> None:
        self._client: httpx.AsyncClient = runtime.http_client(f"http://{address}/_standin", CONTROL_SECONDS)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def lose_next_capture_answer(self) -> None:
        """The next capture takes the money, its answer is lost, and no webhook tells of it."""
        await self._call("POST", "webhooks", {"mode": "dropped"})
        await self._call("POST", "faults", {"operation": "orders.capture", "kind": "lost_answer", "times": 1})

    async def behave(self) -> None:
        """Nothing goes wrong from now on."""
        await self._call("DELETE", "faults", None)
        await self._call("POST", "webhooks", {"mode": "normal"})

    async def totals(self, currency_code: str) -> dict[str, int]:
        """What happened to money in a currency: sums in minor units and `…_count`, by what happened."""
        books = await self._call("GET", "books", None)
        found: dict[str, int] = books["totals"].get(currency_code, {})
        return found

    async def _call(self, method: str, path: str, body: dict[str, object] | None) -> Any:
        try:
            answer = await self._client.request(method, f"/{path}", json=body)
            answer.raise_for_status()
            return answer.json()
        except httpx.HTTPError as error:
            raise Failure(f"The PayPal stand-in does not take {method} /_standin/{path}: {error!r}.") from error
