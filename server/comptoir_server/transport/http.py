"""HTTP from the outside: the pages of a wallet link, what providers tell us, and a sign of life."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from comptoir_server.app import link_approvals, link_secrets, webhooks
from comptoir_server.app.deps import Deps
from comptoir_server.app.link_approvals import LinkPage, Step
from comptoir_server.app.ports import ProviderUnavailable, WebhookRefused
from comptoir_server.store.errors import StorageUnavailable
from comptoir_server.transport import pages

WEBHOOK_BYTES_MAX = 256 * 1024
FORM_BYTES_MAX = 4 * 1024

COOKIE_SECONDS = 3600
"""Longer than any link works, so that the cookie never ends one early."""

_RANDOM = re.compile(r"[0-9A-Za-z_-]{43}")
"""An address's secret or a cookie, as we make them."""

_WITH_COOKIE = frozenset({Step.INVITATION, Step.COOKIE_MISSING, Step.PROVIDER_SILENT})

Handler = Callable[[Request], Awaitable[Response]]


def create_http(deps: Deps) -> ASGIApp:
    """The application; `deps` must be open. It sets one cookie, on the pages of wallet links alone."""
    links = _LinkPages(deps)
    routes = [
        _route("/link/{secret}", links.show, "GET"),
        _route("/link/{secret}/continue", links.leave, "POST"),
        _route("/link/{secret}/return", links.come_back, "GET"),
        _route("/link/{secret}/cancel", links.give_up, "GET"),
        _route("/webhooks/{provider}", _webhook_handler(deps), "POST"),
        _route("/healthz", _healthy, "GET"),
    ]
    handlers = {StorageUnavailable: _unavailable, _TooLarge: _too_large, ClientDisconnect: _too_late}
    return _Headers(Starlette(routes=routes, exception_handlers=handlers), _policy(deps))


class _LinkPages:
    """The steps of a link in a browser; what they mean is in `link_approvals.py`."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self._secure = deps.settings.public_url.startswith("https:")
        # __Host-: no other host of the same domain can plant a cookie whose value it knows.
        self._cookie = "__Host-comptoir-link" if self._secure else "comptoir-link"

    async def show(self, request: Request) -> Response:
        secret, browser = _secret(request), self._browser(request)
        return self._answer(secret, browser, await link_approvals.open_link(self._deps, secret, browser))

    async def leave(self, request: Request) -> Response:
        secret, browser = _secret(request), self._browser(request)
        nonce = _form_value(await _body(request, FORM_BYTES_MAX), "nonce")
        return self._answer(secret, browser, await link_approvals.continue_link(self._deps, secret, browser, nonce))

    async def come_back(self, request: Request) -> Response:
        secret, browser = _secret(request), self._browser(request)
        proof = request.query_params.get("state", "")
        page = await link_approvals.return_to_link(self._deps, secret, browser, proof)
        if page.step == Step.CODE:  # loading the page again must not show the proof, nor exchange again
            return RedirectResponse(self._address(secret), status_code=303)
        return self._answer(secret, browser, page)

    async def give_up(self, request: Request) -> Response:
        secret, browser = _secret(request), self._browser(request)
        return self._answer(secret, browser, await link_approvals.abandon_link(self._deps, secret, browser))

    def _address(self, secret: str) -> str:
        return link_secrets.page_url(self._deps.settings.public_url, secret)

    def _browser(self, request: Request) -> str:
        """What the cookie says; a new random value for a browser without one."""
        browser = request.cookies.get(self._cookie, "")
        if _RANDOM.fullmatch(browser):
            return browser
        return link_secrets.encode(self._deps.runtime.random_bytes(link_secrets.SECRET_BYTES))

    def _answer(self, secret: str, browser: str, page: LinkPage) -> Response:
        if page.step == Step.LEAVE:
            return RedirectResponse(page.url, status_code=303)
        status, document = pages.draw(page, f"{self._address(secret)}/continue")
        response = HTMLResponse(document, status_code=status)
        if page.step in _WITH_COOKIE:
            response.set_cookie(
                self._cookie, browser, max_age=COOKIE_SECONDS, httponly=True, samesite="lax", secure=self._secure
            )
        return response


def _webhook_handler(deps: Deps) -> Handler:
    async def take(request: Request) -> Response:
        """2xx only once the delivery is committed: the provider repeats what it did not see acknowledged."""
        name = request.path_params["provider"]
        provider = deps.providers.get(name)
        if provider is None:
            return PlainTextResponse("no such provider\n", status_code=404)
        try:
            body = await _body(request, WEBHOOK_BYTES_MAX)
            notice = await provider.read_webhook(request.headers, body)
            await webhooks.receive(deps, name, notice)
        except WebhookRefused:
            return PlainTextResponse("refused\n", status_code=400)
        except (ProviderUnavailable, StorageUnavailable):
            return PlainTextResponse("try again later\n", status_code=503)
        return Response(status_code=204)

    return take


async def _healthy(_request: Request) -> Response:
    return PlainTextResponse("ok\n")


async def _unavailable(_request: Request, _error: Exception) -> Response:
    status, document = pages.draw_unavailable()
    return HTMLResponse(document, status_code=status, headers={"retry-after": "5"})


async def _too_large(_request: Request, _error: Exception) -> Response:
    return PlainTextResponse("too large\n", status_code=413)


async def _too_late(_request: Request, _error: Exception) -> Response:
    return PlainTextResponse("the request ended early\n", status_code=400)


class _TooLarge(Exception):
    """A body beyond its limit."""


async def _body(request: Request, limit: int) -> bytes:
    """The raw body, read no further than `limit` bytes. Raises _TooLarge."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise _TooLarge
    return bytes(body)


def _form_value(body: bytes, name: str) -> str:
    """The one value of a form's field; empty for a body that is no such form."""
    try:
        values = parse_qs(body.decode("ascii"), max_num_fields=8).get(name, [])
    except ValueError:
        return ""
    return values[0] if len(values) == 1 else ""


def _secret(request: Request) -> str:
    """The secret of the address; empty, which is nobody's, where it has not the form of one."""
    secret = request.path_params["secret"]
    return secret if _RANDOM.fullmatch(secret) else ""


def _route(path: str, handler: Handler, method: str) -> Route:
    route = Route(path, handler, methods=[method])
    route.methods = {method}  # no HEAD: looking at a return address must not spend the approval
    return route


def _policy(deps: Deps) -> str:
    """The content security policy. Browsers hold `form-action` against redirects too, and a provider's page is one."""
    schemes = "https:" if deps.settings.public_url.startswith("https:") else "https: http:"
    return (
        f"default-src 'none'; style-src 'sha256-{pages.STYLE_DIGEST}'; form-action 'self' {schemes}; "
        "base-uri 'none'; frame-ancestors 'none'"
    )


class _Headers:
    """Sets the security headers on every answer, those to unknown paths and failures among them."""

    def __init__(self, app: ASGIApp, policy: str) -> None:
        self._app = app
        self._headers = {
            "content-security-policy": policy,
            "referrer-policy": "no-referrer",
            "cache-control": "no-store",
            "x-content-type-options": "nosniff",
            "x-frame-options": "DENY",
            "cross-origin-opener-policy": "same-origin",
            "x-robots-tag": "noindex",
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(self._headers)
            await send(message)

        await self._app(scope, receive, send_with_headers)
