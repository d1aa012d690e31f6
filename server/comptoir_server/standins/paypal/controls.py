"""The controls under `/_standin/`: what a test, a demonstration or a simulator may do to the stand-in.

They are described, with their bodies, in the package's docstring.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from comptoir_server.standins.paypal import shapes
from comptoir_server.standins.paypal.accounts import ACCOUNTS
from comptoir_server.standins.paypal.amounts import read_money
from comptoir_server.standins.paypal.approval import approve, find_asked
from comptoir_server.standins.paypal.books import Capture, Refund
from comptoir_server.standins.paypal.errors import Refusal
from comptoir_server.standins.paypal.faults import SECONDS_MAX, FaultMalformed
from comptoir_server.standins.paypal.payments import give_back, settle_capture
from comptoir_server.standins.paypal.report import report
from comptoir_server.standins.paypal.routes import OPERATION_NAMES
from comptoir_server.standins.paypal.state import State
from comptoir_server.standins.paypal.vault import revoke
from comptoir_server.standins.paypal.webhooks import EVERY_EVENT, Mode
from comptoir_server.standins.paypal.wire import Answer, Json, json_answer

PREFIX = "/_standin/"


class ControlRefused(Exception):
    """A control that cannot be used so; the text says how it can."""


def control(state: State, method: str, path: str, body: Json, now: int) -> Answer:
    """One call of a control: 200 with JSON, or 400, 404 with `{"error": ...}`."""
    if (method, path) == ("GET", f"{PREFIX}ca.pem"):
        return Answer(200, {"content-type": "application/x-pem-file"}, state.webhooks.signer.root_pem)
    work = CONTROLS.get((method, path.removeprefix(PREFIX)))
    if work is None:
        known = ", ".join(f"{verb} {PREFIX}{name}" for verb, name in CONTROLS)
        return json_answer(404, {"error": f"There is no such control. There are: {known}."})
    try:
        return json_answer(200, work(state, body, now))
    except (ControlRefused, FaultMalformed) as refused:
        return json_answer(400, {"error": str(refused)})
    except Refusal as refusal:
        return json_answer(400, {"error": f"PayPal would refuse that: {refusal.issue}."})


def _add_fault(state: State, body: Json, _now: int) -> Json:
    state.faults.add(body, OPERATION_NAMES)
    return {"faults": state.faults.listed()}


def _list_faults(state: State, _body: Json, _now: int) -> Json:
    return {"faults": state.faults.listed()}


def _delete_faults(state: State, _body: Json, _now: int) -> Json:
    state.faults.rules.clear()
    return {"faults": []}


def _forget(state: State, body: Json, _now: int) -> Json:
    what = body.get("what", "keys")
    if what == "keys":
        return {"forgotten": state.keys.forget()}
    if what == "access_tokens":
        count = len(state.access_tokens)
        state.access_tokens.clear()
        return {"forgotten": count}
    raise ControlRefused("what is keys (the default) or access_tokens.")


def _set_webhooks(state: State, body: Json, _now: int) -> Json:
    try:
        mode = Mode(body.get("mode", ""))
    except ValueError:
        raise ControlRefused(f"mode is one of {', '.join(Mode)}.") from None
    seconds = body.get("seconds", 2)
    if type(seconds) not in {int, float} or not 0 <= seconds <= SECONDS_MAX:
        raise ControlRefused(f"seconds is a number from 0 to {SECONDS_MAX}.")
    state.webhooks.mode, state.webhooks.mode_seconds = mode, float(seconds)
    state.webhooks.mode_event_type = str(body.get("event_type", EVERY_EVENT))
    state.webhooks.held_back = False
    return {"mode": mode, "seconds": seconds, "event_type": state.webhooks.mode_event_type}


def _list_webhooks(state: State, _body: Json, _now: int) -> Json:
    hooks = state.webhooks
    return {
        "mode": hooks.mode,
        "subscriptions": [{"id": item.id, "url": item.url} for item in hooks.subscriptions.values()],
        "events": [{"id": event.id, "event_type": event.type, "time": event.time} for event in hooks.events],
        "deliveries": [
            {
                "event_id": item.event.id,
                "event_type": item.event.type,
                "webhook_id": item.subscription.id,
                "attempts": item.attempts,
                "answers": item.answers,
                "delivered": item.delivered,
            }
            for item in hooks.deliveries
        ],
    }


def _books(state: State, _body: Json, _now: int) -> Json:
    return report(state.books)


def _requests(state: State, _body: Json, _now: int) -> Json:
    return {"requests": list(state.requests)}


def _accounts(_state: State, _body: Json, _now: int) -> Json:
    return {
        "accounts": [
            {"name": account.name, "email": account.email, "shows": account.shows} for account in ACCOUNTS.values()
        ]
    }


def _approve(state: State, body: Json, now: int) -> Json:
    account = ACCOUNTS.get(str(body.get("account", "pays")))
    if account is None:
        raise ControlRefused(f"account is one of {', '.join(ACCOUNTS)}.")
    asked = find_asked(state, str(body.get("token", "")), now)
    if asked is None:
        raise ControlRefused("token is the id of a setup token or an order that waits for its payer.")
    return {"return_url": approve(state, asked, account, now), "account": account.name, "status": asked.status}


def _dashboard_refund(state: State, body: Json, now: int) -> Json:
    return _give_back(state, body, now, reversal=False)


def _dashboard_reverse(state: State, body: Json, now: int) -> Json:
    return _give_back(state, body, now, reversal=True)


def _give_back(state: State, body: Json, now: int, *, reversal: bool) -> Json:
    capture = _capture_named(state, body)
    left = capture.minor_units - capture.given_back
    if capture.status in {"PENDING", "DECLINED"} or left <= 0:
        raise ControlRefused(f"Capture {capture.id} is {capture.status}: nothing of it can be given back.")
    amount = left
    if "amount" in body:
        shapes.check(shapes.MONEY, body["amount"], "/amount")
        amount, code = read_money(body["amount"], "/amount", without_decimals="DECIMALS_NOT_SUPPORTED")
        if amount > left or code != capture.unit.currency_code:
            raise ControlRefused(f"At most {left} minor units of {capture.unit.currency_code} are left.")
    refund = Refund(state.new_id(), capture, amount, now, now, "COMPLETED", reversal=reversal)
    give_back(state, refund, now, "")
    return state.views.refund(refund)


def _settle(state: State, body: Json, now: int) -> Json:
    capture = _capture_named(state, body)
    settle_capture(state, capture, now)
    return state.views.capture(capture)


def _revoke(state: State, body: Json, now: int) -> Json:
    token = state.books.payment_tokens.get(str(body.get("token", "")))
    if token is None or token.deleted:
        raise ControlRefused("token is the id of a payment token that is not deleted.")
    revoke(state, token, now)
    return {"id": token.id, "deleted": True}


def _capture_named(state: State, body: Json) -> Capture:
    capture = state.books.captures.get(str(body.get("capture_id", "")))
    if capture is None:
        raise ControlRefused("capture_id is the id of a capture.")
    return capture


CONTROLS: dict[tuple[str, str], Callable[[State, Any, int], Json]] = {
    ("GET", "accounts"): _accounts,
    ("POST", "approve"): _approve,
    ("GET", "books"): _books,
    ("POST", "dashboard/refund"): _dashboard_refund,
    ("POST", "dashboard/reverse"): _dashboard_reverse,
    ("POST", "dashboard/revoke"): _revoke,
    ("POST", "dashboard/settle"): _settle,
    ("GET", "faults"): _list_faults,
    ("POST", "faults"): _add_fault,
    ("DELETE", "faults"): _delete_faults,
    ("POST", "forget"): _forget,
    ("GET", "requests"): _requests,
    ("GET", "webhooks"): _list_webhooks,
    ("POST", "webhooks"): _set_webhooks,
}
