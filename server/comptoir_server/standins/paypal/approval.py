"""The page that a payer opens to approve a saved wallet or a payment: what PayPal's own site does.

`GET /checkoutnow?token=...` shows it, `POST /checkoutnow` with the form fields `token`, `account` and
`action` (`agree` or `cancel`) answers with a redirect to the merchant. It needs no script.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from comptoir_server.standins.paypal.accounts import ACCOUNTS, Account
from comptoir_server.standins.paypal.amounts import write_money
from comptoir_server.standins.paypal.books import Order, SetupToken
from comptoir_server.standins.paypal.errors import Refusal
from comptoir_server.standins.paypal.orders import approve_order, live_order
from comptoir_server.standins.paypal.state import State
from comptoir_server.standins.paypal.vault import approve_setup_token, live_setup_token
from comptoir_server.standins.paypal.views import APPROVAL
from comptoir_server.standins.paypal.wire import Answer

_HEADERS = {
    "content-type": "text/html; charset=utf-8",
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 36rem; margin: 2rem auto; padding: 0 1rem;
  color: #1a1a1a; background: #fff; }}
fieldset {{ border: 1px solid #767676; border-radius: .5rem; padding: .5rem 1rem; }}
label {{ display: block; padding: .5rem 0; }}
small {{ color: #4a4a4a; }}
button {{ font: inherit; padding: .6rem 1.4rem; margin: 1rem .5rem 0 0; border: 2px solid #0b5394;
  border-radius: .5rem; background: #fff; color: #0b5394; }}
button[value=agree] {{ background: #0b5394; color: #fff; }}
button:focus-visible, input:focus-visible {{ outline: 3px solid #e69138; outline-offset: 2px; }}
</style>
</head>
<body>
<main>
<h1>{title}</h1>
{body}
<p><small>This is a stand-in for PayPal, for tests. No money moves.</small></p>
</main>
</body>
</html>
"""

Asked = SetupToken | Order


def show(state: State, query: Mapping[str, str], now: int) -> Answer:
    """The page for the token in the query."""
    asked = find_asked(state, query.get("token", ""), now)
    if asked is None:
        return _gone()
    choices = "\n".join(
        f'<label><input type="radio" name="account" value="{escape(account.name)}"{" checked" if first else ""}> '
        f"<strong>{escape(account.email)}</strong><br><small>{escape(account.shows)}</small></label>"
        for first, account in ((name == "pays", account) for name, account in ACCOUNTS.items())
    )
    merchant = escape(state.config.merchant_name)
    if isinstance(asked, Order):
        amounts = [write_money(unit.minor_units, unit.currency_code) for unit in asked.units]
        text = " + ".join(f"{amount['value']} {amount['currency_code']}" for amount in amounts)
        purpose = f"<p><strong>{merchant}</strong> asks you to pay <strong>{escape(text)}</strong>.</p>"
    else:
        purpose = f"<p><strong>{merchant}</strong> asks to save your wallet and to charge it later.</p>"
    form = f"""{purpose}
<form method="post" action="{APPROVAL}">
<input type="hidden" name="token" value="{escape(asked.id)}">
<fieldset>
<legend>Log in as</legend>
{choices}
</fieldset>
<button type="submit" name="action" value="agree">Agree</button>
<button type="submit" name="action" value="cancel">Cancel</button>
</form>"""
    return _page(200, "Approve with PayPal", form)


def decide(state: State, form: Mapping[str, str], now: int) -> Answer:
    """What the payer chose: 303 to the merchant's return or cancel address."""
    asked = find_asked(state, form.get("token", ""), now)
    if asked is None:
        return _gone()
    if form.get("action") == "cancel":
        return _redirect(asked.cancel_url, _names(asked, None))
    account = ACCOUNTS.get(form.get("account", ""))
    if form.get("action") != "agree" or account is None:
        return _page(400, "Please choose", "<p>Go back, choose an account, and press Agree or Cancel.</p>")
    approve(state, asked, account, now)
    return _redirect(asked.return_url, _names(asked, account))


def approve(state: State, asked: Asked, account: Account, now: int) -> str:
    """The payer agrees as `account`; answers the address to which the browser returns, "" for none."""
    if isinstance(asked, Order):
        approve_order(state, asked, account, now)
    else:
        approve_setup_token(asked, account)
    return _with_query(asked.return_url, _names(asked, account))


def find_asked(state: State, token: str, now: int) -> Asked | None:
    """The order or setup token that waits for a payer; None when there is none, or none any more."""
    try:
        if token in state.books.setup_tokens:
            setup = live_setup_token(state, token, now)
            return setup if setup.status != "VAULTED" else None
        order = live_order(state, token, now)
    except Refusal:
        return None
    return order if order.status != "COMPLETED" else None


def _names(asked: Asked, account: Account | None) -> dict[str, str]:
    if isinstance(asked, SetupToken):
        return {"approval_token_id": asked.id, "approval_session_id": asked.id}
    return {"token": asked.id} | ({"PayerID": account.payer_id} if account else {})


def _with_query(url: str, names: Mapping[str, str]) -> str:
    if not url:
        return ""
    parts = urlsplit(url)
    query = urlencode([*parse_qsl(parts.query, keep_blank_values=True), *names.items()])
    return urlunsplit(parts._replace(query=query))


def _redirect(url: str, names: Mapping[str, str]) -> Answer:
    if not url:
        return _page(200, "Thank you", "<p>You can close this window and go back to the conversation.</p>")
    return Answer(303, {**_HEADERS, "location": _with_query(url, names)}, b"")


def _gone() -> Answer:
    return _page(404, "Nothing to approve", "<p>This request does not exist, has expired, or was settled already.</p>")


def _page(status: int, title: str, body: str) -> Answer:
    return Answer(status, _HEADERS, _PAGE.format(title=title, body=body).encode())
