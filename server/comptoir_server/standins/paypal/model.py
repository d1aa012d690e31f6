"""The stand-in as a machine: a request and the time go in, an answer comes out. No socket, no clock.

The order in which a request is treated: what was due by now happens, a fault may strike, the access
token is checked, then the body's form, then the request id, and only then is anything done.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from comptoir_server.standins.paypal import access, approval, shapes
from comptoir_server.standins.paypal.config import PaypalStandinConfig
from comptoir_server.standins.paypal.controls import PREFIX, control
from comptoir_server.standins.paypal.errors import (
    BAD_REQUEST,
    NOT_FOUND,
    SERVER_ERROR,
    THROTTLED,
    UNAUTHORIZED,
    Refusal,
)
from comptoir_server.standins.paypal.faults import BEFORE_EFFECT, Fault, FaultKind, distort
from comptoir_server.standins.paypal.keys import LONGEST
from comptoir_server.standins.paypal.routes import GRANT, GRANT_PATH, OPERATIONS, Operation
from comptoir_server.standins.paypal.signing import Signer
from comptoir_server.standins.paypal.state import State, draw_id
from comptoir_server.standins.paypal.views import APPROVAL, PAYMENT_TOKENS, Views
from comptoir_server.standins.paypal.webhooks import EVERY_EVENT, Subscription, Webhooks
from comptoir_server.standins.paypal.wire import Answer, Call, Json, Travel, json_answer, micros

CERTIFICATES = "/v1/notifications/certs/"
MOCK_HEADER = "paypal-mock-response"
_CLOSED = Answer(0, {}, b"", travel=Travel.CLOSED)


class Paypal:
    """One stand-in PayPal. `random_bytes` is asked for ids only; the same bytes make the same ids."""

    def __init__(self, config: PaypalStandinConfig, random_bytes: Callable[[int], bytes], signer: Signer) -> None:
        webhooks = Webhooks(config.base_url, signer, lambda length: draw_id(random_bytes, length))
        if config.webhook_url:
            subscription = Subscription(config.webhook_id, config.webhook_url, (EVERY_EVENT,))
            webhooks.subscriptions[subscription.id] = subscription
        self.state = State(config, random_bytes, Views(config), webhooks)

    def handle(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        body: bytes,
        now: int,
    ) -> Answer:
        """Treats one request at `now` (microseconds since the epoch). Never raises for what a caller sent."""
        self.advance(now)
        if path.startswith(PREFIX):
            return self._control(method, path, body, now)
        if path == APPROVAL:
            return self._approval(method, query, body, now)
        if path.startswith(CERTIFICATES):
            return self._certificate(path)
        lower = {name.lower(): value for name, value in headers.items()}
        call = Call(GRANT, path, now, query=query, headers=lower, request_id=lower.get("paypal-request-id", ""))
        operation: Operation | None = None
        if path != GRANT_PATH:
            found = _find(method, path)
            if found is None:
                return self._refused(Refusal("", status=NOT_FOUND))
            operation, ids = found
            call = replace(call, operation=operation.name, ids=ids)
        answer, fault = self._treat(call, operation, body)
        self._record(method, call, answer, fault)
        return replace(answer, delay_seconds=answer.delay_seconds + self.state.config.latency_seconds)

    def advance(self, now: int) -> None:
        """Lets happen what was due by `now`; called before every request, and when `next_time` has come."""
        self.state.advance(now)

    def next_time(self) -> int | None:
        """When something happens by itself, or a webhook is due; None for never."""
        agenda, delivery_time = self.state.agenda, self.state.webhooks.next_time()
        times = [agenda[0][0]] if agenda else []
        return min(times if delivery_time is None else [*times, delivery_time], default=None)

    def _treat(self, call: Call, operation: Operation | None, body: bytes) -> tuple[Answer, Fault | None]:
        fault = self.state.faults.strike(call)
        if fault and fault.kind in BEFORE_EFFECT:
            return self._prevented(fault, call, operation, body), fault
        if operation is None:
            answer, view = access.grant(self.state, call, body), None
        else:
            answer, view = self._perform(call, operation, body, fault)
        if fault and fault.kind is FaultKind.ERROR_AFTER:
            return self._refused(Refusal("", status=SERVER_ERROR)), fault
        return (distort(fault, answer, view) if fault else answer), fault

    def _prevented(self, fault: Fault, call: Call, operation: Operation | None, body: bytes) -> Answer:
        if fault.kind is FaultKind.LATE_EFFECT:
            late = micros(fault.seconds)
            if operation is not None:
                self.state.plan(call.now + late, lambda time: self._later(replace(call, now=time), operation, body))
            return _CLOSED
        if fault.kind is FaultKind.LOST_REQUEST:
            return _CLOSED
        statuses = {
            FaultKind.ERROR_BEFORE: SERVER_ERROR,
            FaultKind.THROTTLED: THROTTLED,
            FaultKind.EXPIRED_TOKEN: UNAUTHORIZED,
        }
        if fault.kind in statuses:
            return self._refused(Refusal("", status=statuses[fault.kind]))
        return self._refused(Refusal(fault.issue))

    def _later(self, call: Call, operation: Operation, body: bytes) -> None:
        self._perform(call, operation, body, None)

    def _perform(
        self, call: Call, operation: Operation, body: bytes, fault: Fault | None
    ) -> tuple[Answer, Json | None]:
        """Does what is asked, once; answers with what its body says."""
        late_seconds = fault.seconds if fault and fault.kind is FaultKind.LATENCY else 0.0
        try:
            access.require(self.state, call)
            _require_mock_free(call)
            call = replace(call, body=_read_body(operation, body))
            _require_request_id(operation, call)
            again = None
            if operation.memory_seconds:
                again = self.state.keys.recall(call, strict=operation.needs_request_id)
            result = again or operation.run(self.state, call)
        except Refusal as refusal:
            return self._refused(refusal), None
        if again is None and operation.memory_seconds:
            busy_seconds = self.state.config.latency_seconds + late_seconds
            self.state.keys.keep(call, result, operation.memory_seconds, busy_seconds)
        status = result.again_status if again else result.status
        view = result.view(call.wants_all)
        return self._answer(status, view), view

    def _answer(self, status: int, view: Json | None) -> Answer:
        debug_id = self.state.new_id(13).lower()
        if view is None:
            return Answer(204, {"paypal-debug-id": debug_id}, b"")
        return json_answer(status, view, **{"paypal-debug-id": debug_id})

    def _refused(self, refusal: Refusal) -> Answer:
        debug_id = self.state.new_id(13).lower()
        return json_answer(refusal.status, refusal.body(debug_id), **{"paypal-debug-id": debug_id})

    def _control(self, method: str, path: str, body: bytes, now: int) -> Answer:
        try:
            value = json.loads(body) if body.strip() else {}
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            return json_answer(BAD_REQUEST, {"error": "The body is a JSON object, or nothing."})
        return control(self.state, method, path, value, now)

    def _approval(self, method: str, query: Mapping[str, str], body: bytes, now: int) -> Answer:
        if method == "POST":
            return approval.decide(self.state, access.read_form(body), now)
        return approval.show(self.state, query, now)

    def _certificate(self, path: str) -> Answer:
        signer = self.state.webhooks.signer
        if path.removeprefix(CERTIFICATES) != signer.certificate_id:
            return self._refused(Refusal("", status=NOT_FOUND))
        return Answer(200, {"content-type": "application/x-pem-file"}, signer.chain_pem)

    def _record(self, method: str, call: Call, answer: Answer, fault: Fault | None) -> None:
        secret = call.path.startswith(f"{PAYMENT_TOKENS}/")
        self.state.requests.append(
            {
                "time": call.now,
                "method": method,
                "path": f"{PAYMENT_TOKENS}/..." if secret else call.path,
                "operation": call.operation,
                "request_id": call.request_id,
                "status": answer.status,
                "travel": answer.travel,
                "fault": fault.kind if fault else "",
            }
        )


def _find(method: str, path: str) -> tuple[Operation, Mapping[str, str]] | None:
    for operation in OPERATIONS:
        if operation.method == method:
            ids = operation.match(path)
            if ids is not None:
                return operation, ids
    return None


def _read_body(operation: Operation, body: bytes) -> Json:
    if operation.body is None:
        return {}
    try:
        value: Any = json.loads(body) if body.strip() else {}
    except (ValueError, RecursionError):
        raise Refusal(operation.malformed_issue, "/", status=BAD_REQUEST) from None
    shapes.check(operation.body, value)
    checked: Json = value
    return checked


def _require_request_id(operation: Operation, call: Call) -> None:
    if operation.needs_request_id and not call.request_id:
        raise Refusal("MISSING_REQUIRED_PARAMETER", "PayPal-Request-Id", status=BAD_REQUEST)
    if len(call.request_id) > LONGEST:
        raise Refusal("INVALID_STRING_LENGTH", "PayPal-Request-Id", call.request_id)


def _require_mock_free(call: Call) -> None:
    """PayPal-Mock-Response: `{"mock_application_codes": "INSTRUMENT_DECLINED"}` forces that issue."""
    if MOCK_HEADER not in call.headers or not call.path.startswith("/v2/"):
        return
    try:
        wanted = json.loads(call.headers[MOCK_HEADER])
        codes = wanted["mock_application_codes"]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise Refusal("INVALID_PARAMETER_SYNTAX", "PayPal-Mock-Response") from None
    code = codes[0] if isinstance(codes, list) and codes else codes
    raise Refusal(str(code))
