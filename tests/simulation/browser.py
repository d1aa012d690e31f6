"""A browser, as far as the pages of the server need one: requests, one cookie, no redirects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

from starlette.types import ASGIApp, Message


@dataclass(frozen=True)
class Page:
    """What a request was answered."""

    status: int
    headers: dict[str, str]
    text: str


async def request(app: ASGIApp, method: str, url: str, headers: dict[str, str], body: bytes = b"") -> Page:
    """One request to an application, without a socket."""
    parts = urlsplit(url)
    sent = False
    told: list[Message] = []

    async def receive() -> Message:
        nonlocal sent
        if sent:
            return {"type": "http.disconnect"}
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        told.append(message)

    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": parts.scheme,
        "path": parts.path,
        "raw_path": parts.path.encode(),
        "query_string": parts.query.encode(),
        "root_path": "",
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        "client": ("127.0.0.1", 1),
        "server": (parts.hostname, parts.port or 443),
    }
    await app(scope, receive, send)
    answered = {name.decode(): value.decode() for name, value in told[0]["headers"]}
    return Page(told[0]["status"], answered, b"".join(part.get("body", b"") for part in told[1:]).decode())


@dataclass
class Browser:
    """One person's browser."""

    cookie: str = ""

    async def load(self, app: ASGIApp, method: str, url: str, **form: str) -> Page:
        """A page, with the cookie that the server set."""
        headers = {"host": urlsplit(url).netloc}
        if self.cookie:
            headers["cookie"] = self.cookie
        if form:
            headers["content-type"] = "application/x-www-form-urlencoded"
        page = await request(app, method, url, headers, urlencode(form).encode())
        if "set-cookie" in page.headers:
            self.cookie = page.headers["set-cookie"].partition(";")[0]
        return page
