"""A stand-in for PayPal: a local server that speaks PayPal's own wire protocol, and keeps books of its own.

For tests of bots, for demonstrations, and for our own tests. What it accepts and answers is held
against PayPal's published documents (orders v2, payments v2, vault v3, notifications v1). It keeps
everything in memory, in a process of its own: its books survive whatever happens to its callers.

Covered: `POST /v1/oauth2/token`; setup tokens and payment tokens; orders (create, get, capture,
authorize); authorizations (get, capture, reauthorize, void); captures (get, refund); refunds (get);
webhooks (register, list, get, delete, verify-webhook-signature). Not covered: changing an order
(PATCH, confirm-payment-source), cards and other payment sources, tracking, disputes, payouts.

Payers (the same table is at `GET /_standin/accounts` and on the approval page):

    pays             ada.pays@example.com         pays
    pays-too         blaise.pays@example.com      pays: another payer
    declined         carl.declined@example.com    INSTRUMENT_DECLINED (PAYER_CANNOT_PAY for a hold)
    closed           dora.closed@example.com      PAYER_ACCOUNT_LOCKED_OR_CLOSED
    restricted       emil.restricted@example.com  PAYER_ACCOUNT_RESTRICTED
    echeck           frida.echeck@example.com     capture PENDING, then COMPLETED by webhook
    echeck-bounces   georg.bounces@example.com    capture PENDING, then DECLINED by webhook
    action           hedy.action@example.com      PAYER_ACTION_REQUIRED until the payer approves the order
    capture-declined ida.declined@example.com     order COMPLETED, its capture DECLINED
    slow-refund      jean.slow@example.com        pays; refunds PENDING, then COMPLETED by webhook
    failed-refund    kurt.failed@example.com      pays; refunds PENDING, then FAILED by webhook

A payer opens the link `approve` (or `payer-action`), `/checkoutnow?token=...`, in a browser, chooses one of
these accounts and presses Agree or Cancel; a program posts the form fields `token`, `account`, `action`
(`agree`, `cancel`) there, or uses the control `approve`.

Controls, JSON in and out, errors as `{"error": ...}`:

    GET    /_standin/accounts           the payers
    POST   /_standin/approve            {"token": setup token or order, "account": "pays"}: approve without a browser
    GET    /_standin/books              the truth: everything there is, every effect on money, sums per currency,
                                        per custom_id and per invoice_id; ISO 4217 minor units, microseconds
    GET    /_standin/ca.pem             the authority that webhook certificates chain to (also state_dir/ca.pem)
    POST   /_standin/dashboard/refund   {"capture_id", "amount"?}: a refund made at PayPal's own pages
    POST   /_standin/dashboard/reverse  {"capture_id", "amount"?}: a chargeback
    POST   /_standin/dashboard/revoke   {"token": payment token}: the payer withdraws the permission at PayPal
    POST   /_standin/dashboard/settle   {"capture_id"}: decide a pending capture now
    GET    /_standin/faults             the faults set, with how often each struck
    POST   /_standin/faults             {"operation", "kind", "times"?, "seconds"?, "issue"?, "request_id"?,
                                        "resource_id"?}
    DELETE /_standin/faults             no more faults
    POST   /_standin/forget             {"what": "keys" or "access_tokens"}: as after PayPal's lifetimes
    GET    /_standin/requests           the last 10,000 API requests: time, method, path, request id, status, fault
    GET    /_standin/webhooks           subscriptions, events, deliveries with attempts and answers
    POST   /_standin/webhooks           {"mode", "seconds"? (2), "event_type"? (*)}: how new events travel:
                                        normal, dropped, duplicate, late, reordered

A fault strikes `times` requests (1; 0 is until deleted) to `operation`: a name from PayPal's documents
(`orders.capture`, `captures.refund`, `setup-tokens.create`, ...), `oauth2.token`, or `*`; `request_id` and
`resource_id` (the id in the path) narrow it down. Kinds:

    latency        the effect at once, the answer `seconds` later; meanwhile the request is in progress (409)
    lost_request   no effect, connection closed             lost_answer    effect, connection closed
    late_effect    connection closed, effect `seconds` later
    error_before   500 without effect                       error_after    500 after the effect
    garbage        effect, unreadable body                  half_body      effect, connection closed in the body
    hung           effect, the answer never comes
    wrong_amount   effect, the answer says one unit more    wrong_currency effect, the answer names another currency
    throttled      429 without effect                       expired_token  401 without effect
    decline        refused with `issue`, without effect

The header `PayPal-Mock-Response: {"mock_application_codes": "INSTRUMENT_DECLINED"}` works as at PayPal.

Webhooks are signed as PayPal's are (SHA256withRSA over `id|time|webhook id|CRC-32`) by a certificate that names
`messageverificationcerts.sandbox.paypal.com`, served below `/v1/notifications/certs/`, chaining to an authority
made at the start. What is not answered with 2xx comes again after 1, 2, 4, ... 600 seconds, 25 times at most.

PayPal-Request-Id is remembered 6 hours for orders, 45 days for payments, 3 hours for the vault, once a request
succeeded; a repetition gets the resource as it is now, with 200 (201 at payments, whose document knows no 200).
An order that nobody paid is gone (404) three hours after it was made or approved. Minimal answers hold id,
status and links alone: ask for `Prefer: return=representation`.

`Paypal` is the machine itself, with neither socket nor clock; `PaypalTransport` puts it under an httpx client;
`create_app` and `serve` put it behind HTTP.
"""

from __future__ import annotations

from comptoir_server.standins.paypal.app import create_app, serve
from comptoir_server.standins.paypal.config import PaypalStandinConfig
from comptoir_server.standins.paypal.model import Paypal
from comptoir_server.standins.paypal.signing import make_signer
from comptoir_server.standins.paypal.transport import PaypalTransport, received

__all__ = ["Paypal", "PaypalStandinConfig", "PaypalTransport", "create_app", "make_signer", "received", "serve"]
