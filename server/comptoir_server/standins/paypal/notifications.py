"""Notifications v1: registering webhooks, serving the signing certificate, verifying a delivery."""

from __future__ import annotations

import json

from comptoir_server.standins.paypal.errors import BAD_REQUEST, Refusal, not_found
from comptoir_server.standins.paypal.signing import ALGORITHM, signed_text
from comptoir_server.standins.paypal.state import State
from comptoir_server.standins.paypal.webhooks import Subscription
from comptoir_server.standins.paypal.wire import Call, Json, Result, whole

WEBHOOKS = "/v1/notifications/webhooks"
WEBHOOKS_MAX = 10


def create_webhook(state: State, call: Call) -> Result:
    """POST /v1/notifications/webhooks: up to ten addresses."""
    known = state.webhooks.subscriptions
    url = call.body["url"]
    if any(item.url == url for item in known.values()):
        raise Refusal("WEBHOOK_URL_ALREADY_EXISTS", "/url", url, status=BAD_REQUEST)
    if len(known) >= WEBHOOKS_MAX:
        raise Refusal("WEBHOOK_NUMBER_LIMIT_EXCEEDED", status=BAD_REQUEST)
    subscription = Subscription(state.new_id(), url, tuple(item["name"] for item in call.body["event_types"]))
    known[subscription.id] = subscription
    return Result(201, whole(_webhook(state, subscription)))


def list_webhooks(state: State, _call: Call) -> Result:
    """GET /v1/notifications/webhooks."""
    return Result(200, whole({"webhooks": [_webhook(state, item) for item in state.webhooks.subscriptions.values()]}))


def get_webhook(state: State, call: Call) -> Result:
    """GET /v1/notifications/webhooks/{id}."""
    return Result(200, whole(_webhook(state, _subscription(state, call))))


def delete_webhook(state: State, call: Call) -> Result:
    """DELETE /v1/notifications/webhooks/{id}."""
    del state.webhooks.subscriptions[_subscription(state, call).id]
    return Result(204, lambda _full: None)


def verify_signature(state: State, call: Call) -> Result:
    """POST /v1/notifications/verify-webhook-signature: of an event of ours, sent back as it was received."""
    genuine = _is_genuine(state, call.body)
    return Result(200, whole({"verification_status": "SUCCESS" if genuine else "FAILURE"}))


def _is_genuine(state: State, asked: Json) -> bool:
    claimed = asked.get("webhook_event")
    event_id = claimed.get("id") if isinstance(claimed, dict) else None
    event = next((item for item in state.webhooks.events if item.id == event_id), None)
    if event is None or json.loads(event.body) != claimed:
        return False
    text = signed_text(
        str(asked.get("transmission_id")), str(asked.get("transmission_time")), str(asked.get("webhook_id")), event.body
    )
    return (
        asked.get("auth_algo") == ALGORITHM
        and asked.get("cert_url") == state.webhooks.certificate_url
        and asked.get("webhook_id") in state.webhooks.subscriptions
        and asked.get("transmission_sig") == state.webhooks.signer.sign(text)
    )


def _subscription(state: State, call: Call) -> Subscription:
    subscription = state.webhooks.subscriptions.get(call.ids["id"])
    if subscription is None:
        raise not_found("webhook_id", call.ids["id"])
    return subscription


def _webhook(state: State, subscription: Subscription) -> Json:
    path = f"{WEBHOOKS}/{subscription.id}"
    return {
        "id": subscription.id,
        "url": subscription.url,
        "event_types": [{"name": name} for name in subscription.event_types],
        "links": [state.views.link(path, "self"), state.views.link(path, "delete", "DELETE")],
    }
