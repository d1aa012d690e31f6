"""Hostile HTTP: the webhook endpoint and the link pages, called below any client that would put a request right."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import unquote, urlsplit

from comptoir.v1 import StartWalletLinkRequest, StartWalletLinkResponse
from comptoir_server.app.call import Caller
from comptoir_server.app.ports import Provider
from comptoir_server.transport.http import WEBHOOK_BYTES_MAX, create_http
from tests.hostile.inputs import valid
from tests.hostile.place import Place, send
from tests.hostile.values import TEXTS
from tests.hostile.visit import session
from tests.support import door, linking, paypal_deliveries, paypal_wire

Rng = random.Random
Headers = list[tuple[bytes, bytes]]

METHODS = (
    "GET",
    "POST",
    "HEAD",
    "PUT",
    "DELETE",
    "OPTIONS",
    "TRACE",
    "PATCH",
    "CONNECT",
    "G E T",
    "",
    "get",
    "PROPFIND",
)
PATIENCE_SECONDS = 30.0
EACH = 5
"""How many hostile requests are made before each valid one."""

SECURITY = ("content-security-policy", "referrer-policy", "cache-control", "x-content-type-options", "x-frame-options")
"""Headers that stand on every answer."""

EVENTS = (
    "PAYMENT.CAPTURE.COMPLETED",
    "PAYMENT.CAPTURE.REFUNDED",
    "PAYMENT.AUTHORIZATION.CREATED",
    "CHECKOUT.ORDER.APPROVED",
    "VAULT.PAYMENT-TOKEN.DELETED",
    "SOMETHING.ELSE",
)
JSON_VALUES: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    1.5,
    10**400,
    "",
    "x" * 5_000,
    "\ud800",
    "\x00",
    [],
    {},
    [[]],
    {"": {}},
    [{}] * 600,
    *TEXTS[:12],
)


@dataclass(frozen=True, slots=True)
class Request:
    """One request as a server hands it to the application; `body` comes in the given pieces, perhaps never whole."""

    method: str
    target: str
    headers: Headers
    body: tuple[bytes, ...] = (b"",)
    broken: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What the application answered; no status where it said nothing, to somebody who had hung up."""

    status: int
    headers: dict[str, str]
    body: bytes


async def ask(app: Any, request: Request) -> Answer:
    """Hands one request to the application. Raises whatever the application raises."""
    parts = urlsplit(request.target)
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": "https",
        "path": unquote(parts.path),
        "raw_path": parts.path.encode("utf-8", "surrogateescape"),
        "query_string": parts.query.encode("utf-8", "surrogateescape"),
        "root_path": "",
        "headers": [(name.lower(), value) for name, value in request.headers],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }
    waiting: list[dict[str, Any]] = [{"type": "http.request", "body": each, "more_body": True} for each in request.body]
    waiting.append({"type": "http.disconnect"} if request.broken else {"type": "http.request", "more_body": False})
    said: list[Any] = []

    async def receive() -> dict[str, Any]:
        return waiting.pop(0) if waiting else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        said.append(message)

    await app(scope, receive, send)
    if not said:
        return Answer(0, {}, b"")
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in said[0]["headers"]}
    return Answer(said[0]["status"], headers, b"".join(each.get("body", b"") for each in said[1:]))


class Pages:
    """The application of a place; to the deliveries of PayPal it listens with a connector that our signatures fool."""

    def __init__(self, place: Place) -> None:
        self._place = place
        connector, _ = paypal_deliveries.receiver()
        providers: dict[str, Provider] = {"paypal": connector}
        self._deliveries = create_http(replace(place.world.deps, providers=providers))

    def app(self, request: Request) -> Any:
        """The application that a request is for."""
        return self._deliveries if request.target.startswith("/webhooks/paypal") else self._place.world.app

    async def visit(self) -> list[Request]:
        """Valid requests, in an order in which they are made: the pages of a new link, and deliveries."""
        path, nonce, cookie, returning = await self._link()
        headers = [(b"host", b"pay.example"), (b"cookie", cookie.encode())]
        form = [*headers, (b"content-type", b"application/x-www-form-urlencoded")]
        return [
            Request("GET", path, headers),
            Request("POST", f"{path}/continue", form, (f"nonce={nonce}".encode(),)),
            Request("GET", returning, headers),
            Request("GET", f"{path}/cancel", headers),
            Request("GET", "/healthz", headers),
            *[_delivery(name) for name in EVENTS],
        ]

    async def _link(self) -> tuple[str, str, str, str]:
        """A new link of a new visitor that is approved: path, form's nonce, cookie, and where the browser returns."""
        place, world = self._place, self._place.world
        place.leave()
        async with aclosing(session(place)) as steps:
            step = await anext(steps)
            while step.method != "ConfirmWalletLink":
                given = valid(step, place)
                raws = await send(place.boundary, given.method, given.metadata, given.requests, None, PATIENCE_SECONDS)
                answers = [door.METHODS[step.method].response.FromString(raw) for raw in raws]
                for each in answers:
                    place.remember(each)
                step = await steps.asend(answers[-1])
        link_url = await self._start()
        async with world.browser() as browser:
            nonce = linking.nonce_in(await browser.get(link_url))
            cookie = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
            reference = await linking.press_continue(browser, link_url)
            returning = urlsplit(world.provider.approve(reference))
        return urlsplit(link_url).path, nonce, cookie, f"{returning.path}?{returning.query}"

    async def _start(self) -> str:
        """The address of another link of the same person."""
        metadata = self._place.credentials[Caller.USER].metadata
        request = StartWalletLinkRequest(request_id="pages", provider="paypal").SerializeToString()
        [raw] = await send(self._place.boundary, "StartWalletLink", metadata, [request], None)
        return StartWalletLinkResponse.FromString(raw).wallet_link.link_url


def _delivery(name: str) -> Request:
    resource = {"CAPTURE": paypal_wire.capture(), "REFUNDED": paypal_wire.refund()}
    body = paypal_deliveries.event(name, resource.get(name.rpartition(".")[2], resource["CAPTURE"]))
    return Request("POST", "/webhooks/paypal", _signed(body), (body,))


def _signed(body: bytes) -> Headers:
    """The headers of a genuine delivery of a body, whatever it says."""
    headers = [(name.encode(), value.encode()) for name, value in paypal_deliveries.signed(body).items()]
    return [(b"host", b"pay.example"), (b"content-type", b"application/json"), *headers]


def hostile(rng: Rng, request: Request) -> Request:
    """A request that resembles a valid one."""
    if request.target == "/webhooks/paypal" and rng.random() < 0.7:
        body = _json(rng, request.body[0])
        return replace(request, headers=_signed(body), body=(body,))
    for _ in range(rng.choice((1, 1, 2, 3))):
        request = rng.choice(_SPOILERS)(rng, request)
    return request


# What can happen to a body that is genuinely signed.


def _json(rng: Rng, body: bytes) -> bytes:
    """A JSON text that is spoiled in its meaning or its form."""
    if rng.random() < 0.75:
        value = json.loads(body)
        value["id"] = f"WH-{rng.getrandbits(40)}"
        for _ in range(rng.choice((1, 1, 2, 4))):
            _spoil_value(rng, value)
        return json.dumps(value).encode()
    return rng.choice(
        (
            b"",
            b"[]",
            b"null",
            b"NaN",
            b"\xff",
            body[: rng.randint(0, len(body))],
            body.replace(b'"id"', b'"id": "x", "id"', 1),
            b"[" * 100_000,
            b'{"id":' * 5_000,
            b'{"id": 1e999999, "event_type": -Infinity}',
            body + b"\x00",
            b"\xef\xbb\xbf" + body,
            body.decode().encode("utf-16"),
            body + b" " * WEBHOOK_BYTES_MAX,
            b'{"id": "' + b"\\ud800" * 3 + b'", "event_type": "\\u0000", "resource": {}}',
        )
    )


def _spoil_value(rng: Rng, value: Any) -> None:
    """Replaces, drops or doubles one thing in a JSON object, at any depth."""
    if not isinstance(value, dict) or not value:
        return
    name = rng.choice(sorted(value))
    if isinstance(value[name], dict) and value[name] and rng.random() < 0.7:
        _spoil_value(rng, value[name])
    elif rng.random() < 0.15:
        del value[name]
    elif rng.random() < 0.15:
        value[name] = [value[name], value[name]]
    else:
        value[name] = rng.choice(JSON_VALUES)


# What can happen to any request.


def _method(rng: Rng, request: Request) -> Request:
    return replace(request, method=rng.choice(METHODS))


def _target(rng: Rng, request: Request) -> Request:
    path, _, query = request.target.partition("?")
    parts = path.split("/")
    place = rng.randrange(1, len(parts)) if len(parts) > 1 else 0
    parts[place] = rng.choice(
        (
            "",
            "..",
            ".",
            "%2e%2e",
            "%00",
            "%ff%fe",
            "%",
            "%zz",
            "paypal%0d%0aset-cookie:x",
            parts[place][:-1],
            parts[place] + "x",
            parts[place].swapcase(),
            "A" * 43,
            "x" * 9_000,
            "caf\u00e9",
        )
    )
    return replace(request, target="/".join(parts) + (f"?{query}" if query else rng.choice(("", "?", "?state=x"))))


def _query(rng: Rng, request: Request) -> Request:
    path, _, query = request.target.partition("?")
    more = rng.choice(
        (
            "",
            "state=",
            "state=%ff&state=%00",
            query.replace("state=", "state=A"),
            f"{query}&{query}",
            "&".join(f"a{number}=b" for number in range(2_000)),
            "state=" + "x" * 20_000,
            "state[]=1;state=2",
            "=&=&&",
            "state=caf\u00e9",
        )
    )
    return replace(request, target=f"{path}?{more}")


def _headers(rng: Rng, request: Request) -> Request:
    odd = rng.choice(
        (
            (b"cookie", b"comptoir-link=" + b"A" * 43),
            (b"cookie", b"__Host-comptoir-link=" + b"A" * 43),
            (b"cookie", b"__Host-comptoir-link=\xff\xfe; ;;=;"),
            (b"cookie", b"a=b; " * 3_000),
            (b"content-length", b"-1"),
            (b"content-length", b"99999999999999999999"),
            (b"content-type", b"multipart/form-data; boundary="),
            (b"content-type", b"application/json; charset=utf-7"),
            (b"content-encoding", b"gzip"),
            (b"transfer-encoding", b"gzip, chunked"),
            (b"expect", b"100-continue"),
            (b"host", b"evil.example\x00"),
            (b"x-forwarded-proto", b"javascript"),
            (b"range", b"bytes=0-0,-1"),
            (b"upgrade", b"h2c"),
            (b"accept-language", b"*" * 9_000),
            (b"paypal-transmission-sig", b"!" * 100),
            (b"paypal-cert-url", b"http://127.0.0.1:1/"),
            (b"paypal-cert-url", b"https://api.paypal.com@127.0.0.1/v1/notifications/certs/CERT-1"),
            (b"paypal-transmission-time", b"9999-99-99T99:99:99Z"),
            (b"paypal-auth-algo", b"none"),
            (b"\xff", b"\x00"),
        )
    )
    kept = [header for header in request.headers if header[0] != odd[0] or rng.random() < 0.5]
    return replace(request, headers=[*kept, odd] if rng.random() < 0.8 else kept[:1])


def _body(rng: Rng, request: Request) -> Request:
    whole = b"".join(request.body)
    body = rng.choice(
        (
            b"",
            rng.randbytes(rng.choice((1, 30, 3_000))),
            whole * 2,
            whole[: len(whole) // 2],
            b"nonce=" + b"%ff" * 200,
            b"nonce=caf\xc3\xa9",
            b"&".join([b"nonce=1"] * 500),
            b"x" * 5_000,
            b"x" * (WEBHOOK_BYTES_MAX + 1),
        )
    )
    pieces = tuple(body[at : at + 1_000] for at in range(0, len(body), 1_000)) if rng.random() < 0.3 else (body,)
    return replace(request, body=pieces or (b"",))


def _hang_up(_rng: Rng, request: Request) -> Request:
    return replace(request, broken=True)


_SPOILERS: tuple[Callable[[Rng, Request], Request], ...] = (_method, _target, _query, _headers, _body, _body, _hang_up)


def complaints(request: Request, answer: Answer, *, moved: bool) -> list[str]:
    """All that is wrong with an answer to a hostile request."""
    if not answer.status and request.broken:
        return []
    found = []
    if not 200 <= answer.status < 500:
        found.append(f"the status is {answer.status}")
    missing = [name for name in SECURITY if name not in answer.headers]
    if missing:
        found.append(f"the answer lacks {missing}")
    if "traceback" in answer.body.decode("utf-8", "replace").lower():
        found.append("the answer shows a traceback")
    if moved and request.target.startswith("/webhooks/") and answer.status != 204:
        found.append(f"the status is {answer.status}, and yet something was committed")
    return found


async def attempt(place: Place, pages: Pages, request: Request) -> tuple[Answer | None, list[str]]:
    """Asks once, and what is wrong with what came of it."""
    before = place.digest()
    try:
        answer = await ask(pages.app(request), request)
    except Exception as error:  # noqa: BLE001 - whatever comes out is what is judged
        return None, [f"{type(error).__name__} came out: {error}"]
    moved = place.digest() != before
    found = complaints(request, answer, moved=moved)
    if not await place.idle():
        found.append("what it left running did not end")
    return answer, found


async def run(place: Place, visits: int, seed: int, first: int = 0) -> tuple[Counter[tuple[str, int]], list[str]]:
    """Follows so many links with hostile requests before each valid one: how they were answered, and what was wrong."""
    pages = Pages(place)
    statuses: Counter[tuple[str, int]] = Counter()
    found: list[str] = []
    for visit in range(first, first + visits):
        for step, request in enumerate(await pages.visit()):
            for number in range(EACH):
                given = hostile(random.Random(f"{seed}/{visit}/{step}/{number}"), request)
                answer, wrong = await attempt(place, pages, given)
                statuses[given.method, answer.status if answer is not None else 0] += 1
                found += [f"{each}: visit {visit}, step {step}, request {number}: {given}"[:2_000] for each in wrong]
            answer, wrong = await attempt(place, pages, request)
            found += [f"{each}: visit {visit}, step {step}: {request}"[:2_000] for each in wrong]
    return statuses, found
