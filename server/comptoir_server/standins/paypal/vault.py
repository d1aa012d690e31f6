"""Vault v3: asking a payer for permission, and the permissions given."""

from __future__ import annotations

import re

from comptoir_server.standins.paypal.accounts import Account
from comptoir_server.standins.paypal.books import PaymentToken, SetupToken
from comptoir_server.standins.paypal.errors import BAD_REQUEST, UNPROCESSABLE, Refusal, not_found
from comptoir_server.standins.paypal.state import State
from comptoir_server.standins.paypal.wire import Call, Json, Result, micros, whole

SETUP_TOKEN_SECONDS = 3 * 24 * 3_600
PAGE_SIZE = 5
_KEPT = ("description", "usage_type", "customer_type", "permit_multiple_payment_tokens")


def create_setup_token(state: State, call: Call) -> Result:
    """POST /v3/vault/setup-tokens: the payer must now approve at the link `approve`."""
    wallet = call.body["payment_source"]["paypal"]
    context = wallet["experience_context"]
    token = SetupToken(
        id=state.new_id(),
        customer_id=_customer_id(state, call),
        wallet={name: wallet[name] for name in _KEPT if name in wallet},
        return_url=context["return_url"],
        cancel_url=context["cancel_url"],
        create_time=call.now,
    )
    state.books.setup_tokens[token.id] = token
    return Result(201, lambda _full: state.views.setup_token(token))


def get_setup_token(state: State, call: Call) -> Result:
    """GET /v3/vault/setup-tokens/{id}."""
    return Result(200, whole(state.views.setup_token(live_setup_token(state, call.ids["id"], call.now))))


def create_payment_token(state: State, call: Call) -> Result:
    """POST /v3/vault/payment-tokens: an approved setup token becomes a permanent one, once."""
    setup = live_setup_token(state, call.body["payment_source"]["token"]["id"], call.now)
    if setup.account is None:
        raise Refusal("PAYER_ACTION_REQUIRED", "/payment_source/token/id", setup.id, status=UNPROCESSABLE)
    if setup.status == "VAULTED":
        raise not_found("/payment_source/token/id", setup.id)
    setup.status = "VAULTED"
    token_id = state.new_id().lower()
    token = PaymentToken(token_id, setup.customer_id, setup.wallet, setup.account, call.now)
    state.books.payment_tokens[token.id] = token
    state.webhooks.emit(
        call.now,
        "VAULT.PAYMENT-TOKEN.CREATED",
        "payment_token",
        "A payment token has been created.",
        state.views.payment_token(token),
    )
    return Result(201, lambda _full: state.views.payment_token(token))


def get_payment_token(state: State, call: Call) -> Result:
    """GET /v3/vault/payment-tokens/{id}."""
    token = state.books.payment_tokens.get(call.ids["id"])
    if token is None or token.deleted:
        raise not_found("id", call.ids["id"])
    return Result(200, whole(state.views.payment_token(token)))


def list_payment_tokens(state: State, call: Call) -> Result:
    """GET /v3/vault/payment-tokens?customer_id=..., with page and page_size."""
    customer_id = call.query.get("customer_id", "")
    if not customer_id:
        raise Refusal("MISSING_REQUIRED_PARAMETER", "customer_id", status=BAD_REQUEST)
    page, size = _number(call, "page", 1), _number(call, "page_size", PAGE_SIZE)
    tokens = [
        token for token in state.books.payment_tokens.values() if token.customer_id == customer_id and not token.deleted
    ]
    shown = tokens[(page - 1) * size : page * size]
    view: Json = {
        "customer": {"id": customer_id},
        "payment_tokens": [state.views.payment_token(token) for token in shown],
        "links": [state.views.link(f"{call.path}?customer_id={customer_id}", "self")],
    }
    if call.query.get("total_required") == "true":
        view |= {"total_items": len(tokens), "total_pages": -(-len(tokens) // size)}
    return Result(200, whole(view))


def delete_payment_token(state: State, call: Call) -> Result:
    """DELETE /v3/vault/payment-tokens/{id}: 204 also when there is none, the documents know no 404 here."""
    token = state.books.payment_tokens.get(call.ids["id"])
    if token and not token.deleted:
        revoke(state, token, call.now)
    return Result(204, lambda _full: None)


def revoke(state: State, token: PaymentToken, now: int) -> None:
    """Ends a permission, by the merchant's call or at the payer's own settings."""
    token.deleted = True
    resource: Json = {"id": token.id, "customer": {"id": token.customer_id}}
    state.webhooks.emit(
        now, "VAULT.PAYMENT-TOKEN.DELETED", "payment_token", "A payment token has been deleted.", resource
    )


def approve_setup_token(token: SetupToken, account: Account) -> None:
    """The payer agrees, as `account`. Agreeing again changes nothing."""
    if token.status == "PAYER_ACTION_REQUIRED":
        token.status, token.account = "APPROVED", account


def live_setup_token(state: State, token_id: str, now: int) -> SetupToken:
    """The setup token, for the three days that it lives. Raises Refusal (404)."""
    token = state.books.setup_tokens.get(token_id)
    if token is None or now >= token.create_time + micros(SETUP_TOKEN_SECONDS):
        raise not_found("id", token_id)
    return token


def _customer_id(state: State, call: Call) -> str:
    return str(call.body.get("customer", {}).get("id") or state.new_id(10))


def _number(call: Call, name: str, default: int) -> int:
    text = call.query.get(name, str(default))
    if not re.fullmatch("[1-9][0-9]{0,3}", text):
        raise Refusal("INVALID_PARAMETER_SYNTAX", name, text, status=BAD_REQUEST)
    return int(text)
