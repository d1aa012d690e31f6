"""OAuth 2.0 client credentials: `POST /v1/oauth2/token`, and the bearer token on every other call."""

from __future__ import annotations

from base64 import b64decode
from binascii import Error as Base64Error
from hmac import compare_digest
from urllib.parse import parse_qsl

from comptoir_server.standins.paypal.errors import BAD_REQUEST, UNAUTHORIZED, Refusal
from comptoir_server.standins.paypal.state import State
from comptoir_server.standins.paypal.wire import Answer, Call, json_answer, micros

_SCOPES = (
    "https://uri.paypal.com/services/payments/payment https://uri.paypal.com/services/vault/payment-tokens/readwrite"
)


def grant(state: State, call: Call, body: bytes) -> Answer:
    """An access token for HTTP Basic credentials and `grant_type=client_credentials`."""
    config = state.config
    expected = f"{config.client_id}:{config.client_secret}".encode()
    if not compare_digest(_basic_credentials(call.headers.get("authorization", "")), expected):
        problem = {"error": "invalid_client", "error_description": "Client Authentication failed"}
        return json_answer(UNAUTHORIZED, problem)
    if read_form(body).get("grant_type") != "client_credentials":
        problem = {"error": "unsupported_grant_type", "error_description": "Grant Type is NULL or unsupported"}
        return json_answer(BAD_REQUEST, problem)
    token = f"A21AA{state.new_id(40)}"
    state.access_tokens[token] = call.now + micros(config.access_token_seconds)
    view = {
        "scope": _SCOPES,
        "access_token": token,
        "token_type": "Bearer",
        "app_id": "APP-80W284485P519543T",
        "expires_in": config.access_token_seconds,
        "nonce": state.new_id(20),
    }
    return json_answer(200, view)


def require(state: State, call: Call) -> None:
    """Raises Refusal (401) unless the call carries an access token that has not expired."""
    scheme, _, token = call.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or call.now >= state.access_tokens.get(token, 0):
        raise Refusal("", status=UNAUTHORIZED)


def read_form(body: bytes) -> dict[str, str]:
    """The fields of an `application/x-www-form-urlencoded` body."""
    return dict(parse_qsl(body.decode("utf-8", errors="replace"), keep_blank_values=True))


def _basic_credentials(header: str) -> bytes:
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return b""
    try:
        return b64decode(encoded, validate=True)
    except (Base64Error, ValueError):
        return b""
