"""HTTP to PayPal: the access token, one call at a time, and what a failed call proves.

Nothing is retried but a call that PayPal refused to read because of its access token (401). Whether
to ask again is decided elsewhere, with the same key.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from comptoir_server.app.ports import OutcomeKind
from comptoir_server.providers.paypal.answers import ANSWER_BYTES_MAX, Json, Unreadable, parse_object, required_text
from comptoir_server.providers.paypal.config import PaypalConfig
from comptoir_server.runtime import Runtime, fault

TOKEN_PATH = "/v1/oauth2/token"  # noqa: S105 - a path
CONNECT_SECONDS = 5.0
CONNECTIONS_MAX = 500
TOKEN_MARGIN_SECONDS = 300.0
"""A token is renewed so long before it ends, or at nine tenths of a shorter life."""

TOKEN_RETRY_SECONDS = 10.0
TOKEN_LIFETIME_MAX = 30 * 86_400

UNAUTHORIZED = 401
TOO_MANY_REQUESTS = 429

_ACCESS_TOKEN = re.compile(r"[\x21-\x7e]{1,4096}")

# Failures at which httpx has not yet had a connection to write the request on: DNS, connect, TLS
# handshake, no free connection in the pool. Every other one may have come after the request left.
_NEVER_LEFT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)


class CallFailed(Exception):
    """A call without an answer. `kind` is what that proves: NOT_SENT, THROTTLED or IN_DOUBT.

    `code` is one word for support. Neither holds anything that was sent.
    """

    def __init__(self, kind: OutcomeKind, code: str) -> None:
        super().__init__(code)
        self.kind = kind
        self.code = code


@dataclass(frozen=True, slots=True)
class Answer:
    """What PayPal answered, whole and bounded, not yet understood. `debug_id` is its own word for support."""

    status: int
    body: bytes
    debug_id: str

    @property
    def ok(self) -> bool:
        """Whether PayPal says that it did what was asked."""
        return self.status in {200, 201, 204}

    def json(self) -> Json:
        """The answer's object. Raises Unreadable."""
        return parse_object(self.body)


class PaypalClient:
    """One PayPal application's connections and access token."""

    def __init__(self, config: PaypalConfig, runtime: Runtime) -> None:
        self._config = config
        self._runtime = runtime
        self._http = runtime.http_client(
            config.base_url,
            config.call_limit_seconds,
            headers={"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "comptoir-server"},
            limits=httpx.Limits(max_connections=CONNECTIONS_MAX, max_keepalive_connections=CONNECTIONS_MAX // 5),
        )
        self._token = ""
        self._expire_at = 0.0
        self._renew_at = 0.0
        self._renewal: asyncio.Task[None] | None = None
        self._renewal_failure: CallFailed | None = None

    def deadline(self) -> float:
        """When an operation that begins now must have ended, on the runtime's monotonic clock."""
        return self._runtime.monotonic() + self._config.call_limit_seconds

    async def call(
        self,
        deadline: float,
        method: str,
        path: str,
        *,
        request_id: str = "",
        body: Mapping[str, Any] | None = None,
        sent: str = "",
    ) -> Answer:
        """One call with a valid access token; once more when PayPal refuses the token.

        An answer of any status but 429 is an answer. `sent` names the fault point that is reached when the
        whole request has been written. Raises CallFailed.
        """
        token = await self._access_token(deadline)
        answer = await self._send(deadline, self._request(method, path, token, request_id, body), sent)
        if answer.status == UNAUTHORIZED:
            token = await self._access_token(deadline, refused=token)
            answer = await self._send(deadline, self._request(method, path, token, request_id, body), sent)
        if answer.status == TOO_MANY_REQUESTS:
            raise CallFailed(OutcomeKind.THROTTLED, "RATE_LIMIT_REACHED")
        return answer

    async def fetch(self, deadline: float, url: str) -> Answer:
        """Reads a public document at an absolute address that the caller has checked. Raises CallFailed."""
        return await self._send(deadline, self._http.build_request("GET", url, headers={"Accept": "*/*"}))

    async def close(self) -> None:
        """Closes connections."""
        await self._http.aclose()

    def _request(
        self, method: str, path: str, token: str, request_id: str, body: Mapping[str, Any] | None
    ) -> httpx.Request:
        headers = {"Authorization": f"Bearer {token}"}
        if method == "POST":
            headers |= {
                "Content-Type": "application/json",
                "Prefer": "return=representation",
                "PayPal-Request-Id": request_id,
            }
        content = None if body is None else json.dumps(body, separators=(",", ":")).encode()
        return self._http.build_request(method, path, headers=headers, content=content)

    async def _send(self, deadline: float, request: httpx.Request, sent: str = "") -> Answer:
        """The answer to one request, read whole. Raises CallFailed with what the failure proves."""
        remaining = deadline - self._runtime.monotonic()
        if remaining <= 0:
            raise CallFailed(OutcomeKind.NOT_SENT, "OUT_OF_TIME")
        connect = min(CONNECT_SECONDS, remaining)
        timeout = httpx.Timeout(remaining, connect=connect, pool=connect)
        request.extensions["timeout"] = timeout.as_dict()
        if sent:
            request.extensions["trace"] = _reaching(sent)
        try:
            # httpx bounds each read, this bounds their sum: an answer may drip for ever.
            async with asyncio.timeout(remaining):
                return await self._read(await self._http.send(request, stream=True))
        except _NEVER_LEFT as failure:
            raise CallFailed(OutcomeKind.NOT_SENT, type(failure).__name__) from None
        except CallFailed:
            raise
        except Exception as failure:  # noqa: BLE001 - whatever broke once a byte may have left is doubt
            raise CallFailed(OutcomeKind.IN_DOUBT, type(failure).__name__) from None

    async def _read(self, response: httpx.Response) -> Answer:
        try:
            if response.headers.get("content-encoding", "identity").lower() != "identity":
                raise CallFailed(OutcomeKind.IN_DOUBT, "ENCODED_ANSWER")
            body = bytearray()
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > ANSWER_BYTES_MAX:
                    raise CallFailed(OutcomeKind.IN_DOUBT, "ANSWER_TOO_LARGE")
        finally:
            await response.aclose()
        return Answer(response.status_code, bytes(body), _debug_id(response))

    async def _access_token(self, deadline: float, refused: str = "") -> str:
        """A valid token, other than `refused`; one renewal at a time, which every caller joins.

        A token near its end is still used while it is renewed behind it. Raises CallFailed, never
        IN_DOUBT: without a token nothing was asked for.
        """
        now = self._runtime.monotonic()
        usable = self._token not in {"", refused} and now < self._expire_at
        if usable and now < self._renew_at:
            return self._token
        if self._renewal is None or self._renewal.done():
            self._renewal = self._runtime.spawn(self._renew(), "paypal-access-token")
        if usable:
            return self._token
        done, _ = await asyncio.wait({self._renewal}, timeout=max(0.0, deadline - now))
        if not done:
            raise CallFailed(OutcomeKind.NOT_SENT, "ACCESS_TOKEN_TIMEOUT")
        if self._renewal_failure is not None:
            raise CallFailed(self._renewal_failure.kind, self._renewal_failure.code)
        return self._token

    async def _renew(self) -> None:
        """Asks for a new token (RFC 6749, 4.4) and keeps it, or keeps why there is none."""
        config = self._config
        credentials = base64.b64encode(f"{config.client_id}:{config.client_secret}".encode()).decode()
        request = self._http.build_request(
            "POST",
            TOKEN_PATH,
            headers={"Authorization": f"Basic {credentials}"},
            data={"grant_type": "client_credentials"},
        )
        try:
            answer = await self._send(self.deadline(), request)
            if answer.status == TOO_MANY_REQUESTS:
                raise CallFailed(OutcomeKind.THROTTLED, "RATE_LIMIT")
            if answer.status != 200:
                raise CallFailed(OutcomeKind.NOT_SENT, "REFUSED")
            self._keep_token(answer.json())
            self._renewal_failure = None
        except (CallFailed, Unreadable) as failure:
            throttled = isinstance(failure, CallFailed) and failure.kind is OutcomeKind.THROTTLED
            kind = OutcomeKind.THROTTLED if throttled else OutcomeKind.NOT_SENT
            self._renewal_failure = CallFailed(kind, f"ACCESS_TOKEN_{failure}")
            self._renew_at = self._runtime.monotonic() + TOKEN_RETRY_SECONDS

    def _keep_token(self, grant: Json) -> None:
        token = required_text(grant, "access_token")
        lifetime = grant.get("expires_in")
        if not _ACCESS_TOKEN.fullmatch(token) or required_text(grant, "token_type").lower() != "bearer":
            raise Unreadable("UNREADABLE")
        if not isinstance(lifetime, int) or isinstance(lifetime, bool) or not 0 < lifetime <= TOKEN_LIFETIME_MAX:
            raise Unreadable("UNREADABLE")
        now = self._runtime.monotonic()
        self._token = token
        self._expire_at = now + lifetime
        self._renew_at = self._expire_at - min(TOKEN_MARGIN_SECONDS, lifetime / 10)


def _reaching(point: str) -> Callable[[str, Mapping[str, Any]], Awaitable[None]]:
    """What httpcore tells the steps of a request to: the last byte written is the fault point `point`."""

    async def trace(step: str, _details: Mapping[str, Any]) -> None:
        if step == "http11.send_request_body.complete":
            fault(point)

    return trace


def _debug_id(response: httpx.Response) -> str:
    value = response.headers.get("paypal-debug-id", "")
    return value[:64] if value.isascii() and value.isprintable() else ""
