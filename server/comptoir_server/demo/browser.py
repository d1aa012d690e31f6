"""A person's browser without a screen: pages, forms, redirects and cookies, and no other way in."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from types import TracebackType
from typing import Self
from urllib.parse import urljoin

import httpx

from comptoir_server.demo.failure import Failure
from comptoir_server.runtime import Runtime

PAGE_SECONDS = 15.0
REDIRECTS_MAX = 10


@dataclass(slots=True)
class Form:
    """A form as a person finds it: what is filled in already, what can be chosen, and the buttons by their text."""

    action: str
    values: dict[str, str] = field(default_factory=dict)
    choices: set[tuple[str, str]] = field(default_factory=set)
    buttons: dict[str, tuple[str, str]] = field(default_factory=dict)


@dataclass(slots=True)
class Page:
    """What is on the screen. `output` is what the page holds out to be copied."""

    url: str
    status: int
    title: str
    output: str
    forms: list[Form]


class Browser:
    """Opens pages and presses buttons; keeps its cookies until it is closed."""

    def __init__(self, runtime: Runtime) -> None:
        self._client: httpx.AsyncClient = runtime.http_client("", PAGE_SECONDS)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def open(self, url: str) -> Page:
        """The page at an address, wherever that leads. Raises Failure where there is none."""
        return await self._go("GET", url, {})

    async def press(self, page: Page, button: str, **choices: str) -> Page:
        """Chooses in the page's form, presses its button of that text, and answers the page that comes.

        Raises Failure where the page offers no such button or choice.
        """
        form = next((form for form in page.forms if button in form.buttons), None)
        if form is None:
            raise Failure(f"The page “{page.title}” ({page.status}) has no button “{button}”.")
        missing = set(choices.items()) - form.choices
        if missing:
            raise Failure(f"The page “{page.title}” does not offer {sorted(missing)}.")
        name, value = form.buttons[button]
        sent = {**form.values, **choices, **({name: value} if name else {})}
        return await self._go("POST", urljoin(page.url, form.action), sent)

    async def _go(self, method: str, url: str, sent: dict[str, str]) -> Page:
        for _ in range(REDIRECTS_MAX):
            try:
                answer = await self._client.request(method, url, data=sent or None)
            except httpx.HTTPError as error:
                raise Failure(f"The browser cannot load {url.partition('?')[0]}: {error!r}.") from error
            if not answer.has_redirect_location:
                return _read(str(answer.url), answer.status_code, answer.text)
            method, url, sent = "GET", urljoin(str(answer.url), answer.headers["location"]), {}
        raise Failure(f"The browser was sent in circles, at last to {url.partition('?')[0]}.")


def _read(url: str, status: int, text: str) -> Page:
    reader = _Reader()
    reader.feed(text)
    reader.close()
    return Page(url, status, reader.texts["h1"].strip(), reader.texts["output"].strip(), reader.forms)


class _Reader(HTMLParser):
    """Reads what a person needs of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self.texts = {"h1": "", "output": "", "button": ""}
        self._reading = ""
        self._pressed = ("", "")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.forms.append(Form(found.get("action", "")))
        elif tag == "input" and self.forms:
            self._take_input(self.forms[-1], found)
        elif tag in self.texts:
            self._reading = tag
            if tag == "button":
                self.texts[tag] = ""
                self._pressed = (found.get("name", ""), found.get("value", ""))

    def handle_endtag(self, tag: str) -> None:
        if tag == self._reading:
            self._reading = ""
            if tag == "button" and self.forms:
                self.forms[-1].buttons[self.texts[tag].strip()] = self._pressed

    def handle_data(self, data: str) -> None:
        if self._reading:
            self.texts[self._reading] += data

    @staticmethod
    def _take_input(form: Form, found: dict[str, str]) -> None:
        name, value = found.get("name", ""), found.get("value", "")
        if found.get("type") == "radio":
            form.choices.add((name, value))
        if found.get("type") != "radio" or "checked" in found:
            form.values[name] = value
