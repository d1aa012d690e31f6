"""The pages of a wallet link: plain HTML that works without JavaScript, on a telephone, and when read aloud.

Everything that is filled into a page is escaped, unless it is a `Html` that was itself made here.
"""

from __future__ import annotations

import base64
import hashlib
import html
from dataclasses import dataclass
from string import Template

from comptoir_server.app.link_approvals import LinkPage, Step

STYLE = """
:root { color-scheme: light dark; }
body { font: 1.125rem/1.5 system-ui, sans-serif; max-width: 34rem; margin: 0 auto; padding: 1.5rem; }
h1 { font-size: 1.5rem; line-height: 1.25; }
dl { border: 1px solid; border-radius: .5rem; padding: .75rem 1rem; }
dt { font-size: .9rem; }
dd { margin: 0 0 .5rem; font-weight: 600; overflow-wrap: anywhere; }
button { font: inherit; font-weight: 600; padding: .75rem 1.5rem; width: 100%; }
output { display: block; font: 700 2rem/1.5 ui-monospace, monospace; letter-spacing: .1em; text-align: center; }
.warning { border-inline-start: .25rem solid; padding-inline-start: .75rem; }
"""

STYLE_DIGEST = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
"""By which the content security policy knows the one style that is ours."""


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


def fill(template: str, **values: str) -> Html:
    """The template with its `$names` filled in, each escaped unless it is `Html`."""
    safe = {name: value if isinstance(value, Html) else html.escape(value) for name, value in values.items()}
    return Html(Template(template).substitute(safe))


@dataclass(frozen=True, slots=True)
class Page:
    """A title, a body, and the HTTP status that goes with them."""

    status: int
    title: str
    body: str


_DOCUMENT = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>$title</title>
<style>$style</style>
</head>
<body>
<main>
<h1>$title</h1>
$body
</main>
</body>
</html>
"""

_WHO = """<dl>
<dt>Chat</dt><dd><bdi>$channel_name</bdi></dd>
<dt>Account in that chat</dt><dd><bdi>$person_name</bdi></dd>
</dl>
"""

_INVITATION = f"""{_WHO}<p>You are about to let this chat account pay with <strong>your</strong> $provider_name.
$provider_name will ask you to approve. Then you will be shown a code, which has to be typed into the chat.</p>
<p class="warning">Is this not you? If somebody sent you this link, close this page: whoever holds that chat
account would pay with your money.</p>
<form method="post" action="$action">
<input type="hidden" name="nonce" value="$nonce">
<button type="submit">Continue to $provider_name</button>
</form>
"""

_CODE = f"""{_WHO}<p>$provider_name has approved <bdi>$label</bdi>.
Type this code into the chat named above, and nowhere else:</p>
<p><output aria-label="Code, $spelled">$code</output></p>
<p>The wallet is linked only then. The code works for ten minutes from the start, and five tries.</p>
<p class="warning">Give this code to nobody. Whoever asks you for it wants to pay with your money.
If the account above is not yours, close this page, and nothing will be linked.</p>
"""

_AGAIN = "<p>Go back to the chat and start a new link there. Nothing was linked, and nothing was charged.</p>\n"

PAGES: dict[Step, Page] = {
    Step.INVITATION: Page(200, "Link $provider_name to a chat account", _INVITATION),
    Step.COOKIE_MISSING: Page(
        403,
        "Please press Continue again",
        '<p role="alert">Your browser did not show that it opened this page. Allow cookies for this site, then '
        "continue.</p>\n" + _INVITATION,
    ),
    Step.PROVIDER_SILENT: Page(
        503,
        "$provider_name cannot be reached",
        '<p role="alert">Nothing has happened yet. Wait a moment, then press Continue again.</p>\n' + _INVITATION,
    ),
    Step.ANSWER_SILENT: Page(
        503,
        "Your approval is being checked",
        "<p>The answer has not come yet. Wait a moment, then load this page again in this browser.</p>\n",
    ),
    Step.CODE: Page(200, "One last step: type the code into the chat", _CODE),
    Step.OTHER_BROWSER: Page(
        403,
        "This link was begun in another browser",
        "<p>Open this in the browser where you began. A code is shown only there. If you have already approved in this "
        "browser, go back to the chat, start a new link, and do every step of it in one browser.</p>\n"
        '<p class="warning">Did somebody send you here? Then close this page. Nothing was linked, and nothing was '
        "charged.</p>\n",
    ),
    Step.COMPLETED: Page(200, "The wallet is linked", "<p>Go back to the chat. You can close this page.</p>\n"),
    Step.CANCELED: Page(200, "The link was cancelled", _AGAIN),
    Step.EXPIRED: Page(410, "The time for this link is over", _AGAIN),
    Step.FAILED: Page(410, "The wallet was not linked", _AGAIN),
    Step.ABSENT: Page(404, "There is no such page", "<p>Check the address, or ask for a new link in the chat.</p>\n"),
}
"""What each step shows; LEAVE shows nothing."""

UNAVAILABLE = Page(503, "Please try again in a moment", "<p>Nothing was lost. Load this page again.</p>\n")


def draw(page: LinkPage, action: str) -> tuple[int, str]:
    """The HTTP status and the document of a step; `action` is where its form goes."""
    layout = PAGES[page.step]
    names = {
        "provider_name": page.provider_name,
        "channel_name": page.channel_name,
        "person_name": page.person_name,
        "label": page.label,
        "nonce": page.nonce,
        "action": action,
        "code": f"{page.code[:4]}-{page.code[4:]}",
        "spelled": " ".join(page.code),
    }
    return layout.status, document(fill(layout.title, **names), fill(layout.body, **names))


def draw_unavailable() -> tuple[int, str]:
    """The HTTP status and the document for a moment without a database."""
    return UNAVAILABLE.status, document(UNAVAILABLE.title, Html(UNAVAILABLE.body))


def document(title: str, body: Html) -> str:
    """A whole page."""
    return fill(_DOCUMENT, title=title, body=body, style=Html(STYLE))
