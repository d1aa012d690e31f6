"""PayPal's own documents as the judge of what is sent to PayPal and of what a stand-in answers.

    judge = Judge(specs_folder() / "paypal")
    client = httpx.AsyncClient(transport=JudgedTransport(inner, judge), base_url=...)

Every request and every answer is then held against the document of its path, and the first that it
does not allow raises `Violation`, which names it. `judge.judged` counts them; a suite that judged nothing
has shown nothing.

What the documents do not know cannot be judged and is listed in `judge.unjudged`: the token endpoint,
429, and 401 at the vault. Known defect, repaired in memory: the vault document lacks SETUP_TOKEN.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
from openapi_core import OpenAPI
from openapi_core.exceptions import OpenAPIError
from openapi_core.testing import MockRequest, MockResponse

REPOSITORY = Path(__file__).resolve().parents[2]
DOCUMENTS = {
    "/v2/checkout/": "checkout_orders_v2.json",
    "/v2/payments/": "payments_payment_v2.json",
    "/v3/vault/": "vault_payment_tokens_v3.json",
    "/v1/notifications/": "notifications_webhooks_v1.json",
}
SERVER = "https://api-m.sandbox.paypal.com"
THROTTLED, UNAUTHORIZED = 429, 401


class Violation(AssertionError):
    """A request or an answer that PayPal's document does not allow."""


def specs_folder() -> Path:
    """Where the specifications are: COMPTOIR_SPECS, or `shared/specs` beside the repository. May not exist."""
    return Path(os.environ.get("COMPTOIR_SPECS") or REPOSITORY.parent / "shared" / "specs")


class Judge:
    """Holds requests and answers against PayPal's documents in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.judged = 0
        self.unjudged: list[str] = []

    def request(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> None:
        """Raises Violation unless the documents allow the request; notes it where there is no document."""
        document = self._document(url)
        if document is None:
            self.unjudged.append(f"{method} {urlsplit(url).path}")
            return
        try:
            with _without_warnings():
                document.validate_request(_asked(method, url, headers, body))
        except OpenAPIError as problem:
            raise Violation(f"request {method} {url}: {_explain(problem)}") from problem
        self.judged += 1

    def response(
        self,
        method: str,
        url: str,
        request_headers: Mapping[str, str],
        status: int,
        headers: Mapping[str, str],
        body: bytes,
    ) -> None:
        """Raises Violation unless the documents allow the answer; notes it where they do not speak of it."""
        document = self._document(url)
        if document is None:
            return
        if status == THROTTLED or (status == UNAUTHORIZED and urlsplit(url).path.startswith("/v3/vault/")):
            self.unjudged.append(f"{status} {method} {urlsplit(url).path}")
            return
        content_type = headers.get("content-type", "").partition(";")[0]
        answer = MockResponse(body, status_code=status, content_type=content_type)
        try:
            with _without_warnings():
                document.validate_response(_asked(method, url, request_headers, b""), answer)
        except OpenAPIError as problem:
            raise Violation(f"answer {status} to {method} {url}: {_explain(problem)}\n{body!r}") from problem
        self.judged += 1

    def _document(self, url: str) -> OpenAPI | None:
        path = urlsplit(url).path
        for prefix, name in DOCUMENTS.items():
            if path.startswith(prefix) and "/certs/" not in path:
                return _load(self._folder / name)
        return None


class JudgedTransport(httpx.AsyncBaseTransport):
    """Passes requests on to `inner`, and has each one and each answer judged on its way."""

    def __init__(self, inner: httpx.AsyncBaseTransport, judge: Judge) -> None:
        self._inner = inner
        self._judge = judge

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Raises Violation in the caller's hands."""
        url = str(request.url)
        self._judge.request(request.method, url, request.headers, await request.aread())
        answer = await self._inner.handle_async_request(request)
        body = await answer.aread()
        self._judge.response(request.method, url, request.headers, answer.status_code, answer.headers, body)
        stream = httpx.ByteStream(body)
        return httpx.Response(answer.status_code, headers=answer.headers, stream=stream, request=request)

    async def aclose(self) -> None:
        await self._inner.aclose()


@contextmanager
def _without_warnings() -> Iterator[None]:
    """openapi-core warns of every OAuth 2.0 scheme, which it does not check."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


@cache
def _load(path: Path) -> OpenAPI:
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    schemas = document["components"]["schemas"]
    if "token_id_request" in schemas:
        schemas["token_id_request"]["properties"]["type"]["enum"].append("SETUP_TOKEN")
    return OpenAPI.from_dict(document)


def _asked(method: str, url: str, headers: Mapping[str, str], body: bytes) -> MockRequest:
    parts = urlsplit(url)
    content_type = headers.get("content-type", "").partition(";")[0]
    return MockRequest(
        SERVER,
        method.lower(),
        parts.path,
        args=dict(parse_qsl(parts.query)),
        headers=dict(headers),
        data=body or None,
        content_type=content_type,
    )


def _explain(problem: BaseException) -> str:
    """The problem with the reasons under it: openapi-core says what is wrong only in the cause."""
    text, cause = repr(problem), problem.__cause__ or problem.__context__
    reasons = [getattr(error, "message", str(error)) for error in getattr(cause, "schema_errors", ())]
    return "; ".join([text, *reasons[:3], *([] if reasons or cause is None else [str(cause)])])[:2_000]
