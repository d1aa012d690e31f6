"""The PayPal stand-in before PayPal's own documents: every request of these tests and every answer is judged.

First the judge itself is tried: what it must refuse and does not would make everything after it worthless.
"""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from comptoir_server.runtime import Runtime
from comptoir_server.standins.paypal import Paypal, PaypalStandinConfig, PaypalTransport
from comptoir_server.standins.paypal.accounts import ACCOUNTS
from comptoir_server.standins.paypal.routes import OPERATIONS
from comptoir_server.standins.paypal.wire import MICROSECONDS
from tests.support.paypal_judge import Judge, JudgedTransport, Violation, specs_folder
from tests.support.paypal_standin import (
    CAPTURES,
    HOLDS,
    HOOK_URL,
    ORDERS,
    START,
    counted_bytes,
    exchange_body,
    issue_of,
    money,
    order_body,
    setup_body,
    signer,
    wallet,
)

FOLDER = specs_folder() / "paypal"
BASE = "http://127.0.0.1:7610"
DAY_SECONDS = 86_400
JSON_HEADERS = {"authorization": "Bearer x", "content-type": "application/json", "paypal-request-id": "k"}

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="PayPal's documents are not here: set COMPTOIR_SPECS")


class VirtualRuntime(Runtime):
    """A clock that a test moves; waiting costs nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.time = START

    def now(self) -> int:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.time += int(seconds * MICROSECONDS)


class Merchant:
    """A program at the stand-in whose every word, and every word it hears, goes through the judge."""

    def __init__(self) -> None:
        self.runtime = VirtualRuntime()
        self.judge = Judge(FOLDER)
        config = PaypalStandinConfig(webhook_url=HOOK_URL)
        self.paypal = Paypal(config, counted_bytes(), signer())
        transport = JudgedTransport(PaypalTransport(self.paypal, self.runtime), self.judge)
        self.client = httpx.AsyncClient(transport=transport, base_url=BASE)
        self.keys = 0

    async def log_in(self) -> None:
        answer = await self.client.post(
            "/v1/oauth2/token",
            data={"grant_type": "client_credentials"},
            auth=("standin-client", "standin-secret"),
        )
        assert answer.status_code == 200
        self.client.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    async def post(
        self, url: str, body: object = None, key: str = "", prefer: str = "return=representation", **headers: str
    ) -> tuple[int, dict[str, Any]]:
        self.keys += 1
        sent = {"PayPal-Request-Id": key or f"key-{self.keys}", "Prefer": prefer}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        answer = await self.client.post(url, json={} if body is None else body, headers=sent)
        return answer.status_code, answer.json() if answer.content else {}

    async def get(self, url: str) -> tuple[int, dict[str, Any]]:
        answer = await self.client.get(url, headers={"Content-Type": "application/json"})
        return answer.status_code, answer.json()

    async def pass_time(self, seconds: float) -> None:
        self.runtime.time += int(seconds * MICROSECONDS)
        await self.log_in()

    async def link(self, account: str = "pays") -> str:
        _, setup = await self.post("/v3/vault/setup-tokens", setup_body())
        await self.client.post("/_standin/approve", json={"token": setup["id"], "account": account})
        _, token = await self.post("/v3/vault/payment-tokens", exchange_body(setup["id"]))
        return str(token["id"])

    async def pay(self, account: str = "pays", intent: str = "CAPTURE", value: str = "100.00", **unit: Any) -> Any:
        """Makes an order and completes it; answers status and body of the completion."""
        token = await self.link(account)
        _, order = await self.post(ORDERS, order_body(value, intent=intent, **unit))
        return await self.post(f"{ORDERS}/{order['id']}/{intent.lower()}", wallet(token))

    async def capture_id(self, account: str = "pays") -> str:
        _, order = await self.pay(account)
        return str(order["purchase_units"][0]["payments"]["captures"][0]["id"])

    async def hold_id(self) -> str:
        _, order = await self.pay(intent="AUTHORIZE")
        return str(order["purchase_units"][0]["payments"]["authorizations"][0]["id"])


@pytest.fixture(scope="module", autouse=True)
def the_judge_refuses_what_is_known_to_be_bad() -> None:
    judge = Judge(FOLDER)
    for method, path, body in KNOWN_BAD_REQUESTS:
        with pytest.raises(Violation):
            judge.request(method, BASE + path, JSON_HEADERS, json.dumps(body).encode())
    for method, path, status, body in KNOWN_BAD_ANSWERS:
        with pytest.raises(Violation):
            judge.response(method, BASE + path, JSON_HEADERS, status, JSON_HEADERS, json.dumps(body).encode())
    assert judge.judged == 0


KNOWN_BAD_REQUESTS: list[tuple[str, str, object]] = [
    ("POST", ORDERS, order_body() | {"intent": "BUY"}),
    ("POST", ORDERS, {"intent": "CAPTURE", "purchase_units": [{"amount": {"currency_code": "EUR", "value": 12.5}}]}),
    ("POST", ORDERS, order_body(custom_id=None)),
    ("POST", f"{HOLDS}/A/capture", {"amount": {"value": "1.00"}}),
    ("POST", f"{CAPTURES}/A/refund", {"invoice_id": ""}),
    ("POST", "/v3/vault/payment-tokens", {"payment_source": {"token": {"id": "A"}}}),
    ("POST", "/v1/notifications/webhooks", {"url": "https://shop.example"}),
    ("GET", "/v2/checkout/orders/not_an_id", None),
]
KNOWN_BAD_ANSWERS: list[tuple[str, str, int, object]] = [
    ("GET", f"{ORDERS}/A1", 200, {"id": "A1", "status": "PAID"}),
    ("POST", f"{ORDERS}/A1/capture", 422, {"name": "UNPROCESSABLE_ENTITY", "details": [{"issue": "NO_SUCH_ISSUE"}]}),
    ("POST", f"{ORDERS}/A1/capture", 418, {"name": "TEAPOT"}),
    ("POST", f"{CAPTURES}/A1/refund", 201, {"status": "GIVEN_BACK"}),
    ("GET", "/v3/vault/payment-tokens/A123456", 200, {"id": "not an id"}),
]


@pytest.fixture
async def merchant() -> Merchant:
    made = Merchant()
    await made.log_in()
    return made


async def test_every_operation_and_its_success_conform(merchant: Merchant) -> None:
    token, capture = await merchant.link(), await merchant.capture_id()
    hold, voided, renewed = await merchant.hold_id(), await merchant.hold_id(), await merchant.hold_id()
    body = {"url": "https://shop.example/b", "event_types": [{"name": "*"}]}
    _, hook = await merchant.post("/v1/notifications/webhooks", body)
    customer = (await merchant.get(f"/v3/vault/payment-tokens/{token}"))[1]["customer"]["id"]
    _, refund = await merchant.post(f"{CAPTURES}/{capture}/refund", {"amount": money("1.00")})
    _, setup = await merchant.post("/v3/vault/setup-tokens", setup_body())
    _, order = await merchant.pay()
    captured = await merchant.post(f"{HOLDS}/{hold}/capture", {"amount": money("10.00"), "final_capture": True})
    assert captured[0] == 201
    assert (await merchant.post(f"{HOLDS}/{voided}/void", prefer="return=minimal"))[0] == 204
    for url in (
        f"{ORDERS}/{order['id']}",
        f"{CAPTURES}/{capture}",
        f"{HOLDS}/{hold}",
        f"/v2/payments/refunds/{refund['id']}",
        f"/v3/vault/setup-tokens/{setup['id']}",
        f"/v3/vault/payment-tokens?customer_id={customer}&total_required=true",
        "/v1/notifications/webhooks",
        f"/v1/notifications/webhooks/{hook['id']}",
    ):
        assert (await merchant.get(url))[0] == 200
    for url in (f"/v3/vault/payment-tokens/{token}", f"/v1/notifications/webhooks/{hook['id']}"):
        assert (await merchant.client.delete(url)).status_code == 204
    await merchant.pass_time(4 * DAY_SECONDS)
    assert (await merchant.post(f"{HOLDS}/{renewed}/reauthorize", {"amount": money("110.00")}))[0] == 201

    performed = {request["operation"] for request in merchant.paypal.state.requests if request["status"] < 300}
    # The document's own example of this one breaks the document: the event's members are marked read-only.
    assert {operation.name for operation in OPERATIONS} - performed == {"verify-webhook-signature.post"}
    assert {line.split("/")[1] for line in merchant.judge.unjudged} == {"v1", "_standin"}
    assert [line for line in merchant.judge.unjudged if "/v1/" in line] == ["POST /v1/oauth2/token"] * 2
    assert merchant.judge.judged == 2 * (len(merchant.paypal.state.requests) - 2)


@pytest.mark.parametrize("prefer", ["return=minimal", "return=representation"])
@pytest.mark.parametrize("account", ACCOUNTS)
@pytest.mark.parametrize("intent", ["CAPTURE", "AUTHORIZE"])
async def test_every_account_conforms_at_every_step(merchant: Merchant, account: str, intent: str, prefer: str) -> None:
    token = await merchant.link(account)
    body = order_body(intent=intent, custom_id="pay_1", invoice_id="inv_1", description="Two seats")
    _, order = await merchant.post(ORDERS, body, prefer=prefer)
    url = f"{ORDERS}/{order['id']}"

    for key in ("k", "k", "k2"):
        await merchant.post(f"{url}/{intent.lower()}", wallet(token), key=key, prefer=prefer)
    await merchant.client.post("/_standin/approve", json={"token": order["id"], "account": "pays"})
    await merchant.get(url)
    await merchant.post(f"{url}/{intent.lower()}", key="k3", prefer=prefer)
    await merchant.post(ORDERS, order_body(intent=intent) | wallet(token), prefer=prefer)
    for capture in list(merchant.paypal.state.books.captures):
        for _ in range(2):
            await merchant.post(f"{CAPTURES}/{capture}/refund", {"amount": money("5.00")}, prefer=prefer)
            await merchant.pass_time(3)
        await merchant.get(f"{CAPTURES}/{capture}")
    _, view = await merchant.get(url)

    assert view["status"] == "COMPLETED"
    assert view["purchase_units"][0]["custom_id"] == "pay_1"


async def test_refusals_of_orders_conform(merchant: Merchant) -> None:
    token = await merchant.link()
    revoked = await merchant.link()
    await merchant.client.delete(f"/v3/vault/payment-tokens/{revoked}")
    await merchant.pay(invoice_id="inv_1")
    _, paid = await merchant.pay()
    _, open_order = await merchant.post(ORDERS, order_body())
    _, hold_order = await merchant.post(ORDERS, order_body(intent="AUTHORIZE"))
    _, same_invoice = await merchant.post(ORDERS, order_body(invoice_id="inv_1"))
    capture = f"{ORDERS}/{open_order['id']}/capture"
    authorize = f"{ORDERS}/{hold_order['id']}/authorize"
    two = [{"reference_id": name, "amount": money("1.00")} for name in ("a", "b")]
    breakdown = {"breakdown": {"item_total": money("1.00")}}
    cases: list[tuple[str, object, str]] = [
        (f"{ORDERS}/{paid['id']}/capture", wallet(token), "ORDER_ALREADY_CAPTURED"),
        (f"{ORDERS}/{hold_order['id']}/capture", wallet(token), "INCOMPATIBLE_PARAMETER_VALUE"),
        (f"{ORDERS}/{open_order['id']}/authorize", wallet(token), "ACTION_DOES_NOT_MATCH_INTENT"),
        (f"{ORDERS}/{same_invoice['id']}/capture", wallet(token), "DUPLICATE_INVOICE_ID"),
        (f"{ORDERS}/5O190127TN364715T/capture", wallet(token), "INVALID_RESOURCE_ID"),
        (capture, {}, "ORDER_NOT_APPROVED"),
        (capture, wallet("no-such-token"), "TOKEN_ID_NOT_FOUND"),
        (capture, wallet(revoked), "AGREEMENT_ALREADY_CANCELLED"),
        (authorize, {}, "ORDER_NOT_APPROVED"),
        (authorize, wallet("no-such-token"), "TOKEN_ID_NOT_FOUND"),
        (authorize, wallet(revoked), "AGREEMENT_ALREADY_CANCELLED"),
        (ORDERS, order_body() | wallet("no-such-token"), "BILLING_AGREEMENT_NOT_FOUND"),
        (ORDERS, order_body() | wallet(revoked), "AGREEMENT_ALREADY_CANCELLED"),
        (ORDERS, order_body() | {"payment_source": {"card": {}}}, "NOT_ENABLED_FOR_CARD_PROCESSING"),
        (ORDERS, order_body("1.001"), "DECIMAL_PRECISION"),
        (ORDERS, order_body("1.5", "JPY"), "DECIMAL_PRECISION"),
        (ORDERS, order_body("0"), "CANNOT_BE_ZERO_OR_NEGATIVE"),
        (ORDERS, order_body("1", "XXX"), "INVALID_CURRENCY_CODE"),
        (ORDERS, order_body("1000000000000000"), "MAX_VALUE_EXCEEDED"),
        (ORDERS, order_body(amount=money("2.00") | breakdown), "AMOUNT_MISMATCH"),
        (ORDERS, {"intent": "AUTHORIZE", "purchase_units": two}, "UNSUPPORTED_INTENT"),
        (ORDERS, {"intent": "CAPTURE", "purchase_units": [two[0], two[0]]}, "DUPLICATE_REFERENCE_ID"),
    ]
    for url, body, issue in cases:
        assert (url, issue_of((await merchant.post(url, body))[1])) == (url, issue)
    await merchant.pass_time(4 * 3_600)
    assert issue_of((await merchant.post(authorize))[1]) == "ORDER_EXPIRED"
    assert (await merchant.get(f"{ORDERS}/{open_order['id']}"))[0] == 404


async def test_refusals_of_payments_conform(merchant: Merchant) -> None:
    capture, refunded, reversed_one = (
        await merchant.capture_id(),
        await merchant.capture_id(),
        await merchant.capture_id(),
    )
    pending, declined = await merchant.capture_id("echeck"), await merchant.capture_id("capture-declined")
    hold, voided, used = await merchant.hold_id(), await merchant.hold_id(), await merchant.hold_id()
    await merchant.post(f"{CAPTURES}/{refunded}/refund", {"invoice_id": "ref_1"})
    await merchant.client.post("/_standin/dashboard/reverse", json={"capture_id": reversed_one})
    await merchant.post(f"{HOLDS}/{voided}/void")
    await merchant.post(f"{HOLDS}/{used}/capture", {"invoice_id": "cap_1"})
    cases: list[tuple[str, object, str]] = [
        (f"{CAPTURES}/{capture}/refund", {"amount": money("100.01")}, "REFUND_AMOUNT_EXCEEDED"),
        (f"{CAPTURES}/{capture}/refund", {"amount": money("1", "USD")}, "REFUND_CAPTURE_CURRENCY_MISMATCH"),
        (f"{CAPTURES}/{capture}/refund", {"amount": money("0")}, "CANNOT_BE_ZERO_OR_NEGATIVE"),
        (f"{CAPTURES}/{capture}/refund", {"amount": money("1.001")}, "DECIMAL_PRECISION"),
        (f"{CAPTURES}/{capture}/refund", {"amount": money("1.5", "JPY")}, "DECIMALS_NOT_SUPPORTED"),
        (f"{CAPTURES}/{capture}/refund", {"invoice_id": "ref_1"}, "DUPLICATE_INVOICE_ID"),
        (f"{CAPTURES}/{refunded}/refund", {}, "CAPTURE_FULLY_REFUNDED"),
        (f"{CAPTURES}/{reversed_one}/refund", {}, "REFUND_NOT_PERMITTED_DUE_TO_CHARGEBACK"),
        (f"{CAPTURES}/{pending}/refund", {}, "PENDING_CAPTURE"),
        (f"{CAPTURES}/{declined}/refund", {}, "REFUND_NOT_ALLOWED"),
        (f"{CAPTURES}/NONE/refund", {}, "INVALID_RESOURCE_ID"),
        (f"{HOLDS}/{hold}/capture", {"amount": money("115.01")}, "MAX_CAPTURE_AMOUNT_EXCEEDED"),
        (f"{HOLDS}/{hold}/capture", {"amount": money("1", "USD")}, "AUTH_CAPTURE_CURRENCY_MISMATCH"),
        (f"{HOLDS}/{hold}/capture", {"amount": money("1.5", "JPY")}, "DECIMALS_NOT_SUPPORTED"),
        (f"{HOLDS}/{hold}/capture", {"amount": money("1", "XXX")}, "INVALID_CURRENCY_CODE"),
        (f"{HOLDS}/{hold}/capture", {"invoice_id": "cap_1"}, "DUPLICATE_INVOICE_ID"),
        (f"{HOLDS}/{voided}/capture", {}, "AUTHORIZATION_VOIDED"),
        (f"{HOLDS}/{voided}/void", {}, "PREVIOUSLY_VOIDED"),
        (f"{HOLDS}/{voided}/reauthorize", {}, "AUTHORIZATION_VOIDED"),
        (f"{HOLDS}/{used}/capture", {}, "AUTHORIZATION_ALREADY_CAPTURED"),
        (f"{HOLDS}/{used}/void", {}, "PREVIOUSLY_CAPTURED"),
        (f"{HOLDS}/NONE/void", {}, "INVALID_RESOURCE_ID"),
    ]
    for url, body, issue in cases:
        assert (url, issue_of((await merchant.post(url, body))[1])) == (url, issue)
    await merchant.pass_time(5 * DAY_SECONDS)
    _, renewed = await merchant.post(f"{HOLDS}/{hold}/reauthorize")
    assert issue_of((await merchant.post(f"{HOLDS}/{renewed['id']}/reauthorize"))[1]) == "REAUTHORIZATION_NOT_SUPPORTED"
    assert issue_of((await merchant.post(f"{HOLDS}/{renewed['id']}/void"))[1]) == "CANNOT_BE_VOIDED"
    await merchant.pass_time(30 * DAY_SECONDS)
    assert issue_of((await merchant.post(f"{HOLDS}/{renewed['id']}/capture"))[1]) == "AUTHORIZATION_EXPIRED"


async def test_faults_and_the_vaults_refusals_conform(merchant: Merchant) -> None:
    _, setup = await merchant.post("/v3/vault/setup-tokens", setup_body(), key="s")
    repeated = await merchant.post("/v3/vault/setup-tokens", setup_body(), key="s")
    other = await merchant.post("/v3/vault/setup-tokens", setup_body() | {"customer": {"id": "customer_1"}}, key="s")
    unapproved = await merchant.post("/v3/vault/payment-tokens", exchange_body(setup["id"]))
    unknown = await merchant.post("/v3/vault/payment-tokens", exchange_body("5C991763VB2781612"))
    assert [answer[0] for answer in (repeated, other, unapproved, unknown)] == [200, 422, 422, 404]

    token = await merchant.link()
    _, order = await merchant.post(ORDERS, order_body())
    url = f"{ORDERS}/{order['id']}/capture"
    mock = json.dumps({"mock_application_codes": "PAYER_CANNOT_PAY"})
    assert issue_of((await merchant.post(url, wallet(token), PayPal_Mock_Response=mock))[1]) == "PAYER_CANNOT_PAY"
    for kind, status in (("error_before", 500), ("expired_token", 401), ("error_after", 500), ("throttled", 429)):
        await merchant.client.post("/_standin/faults", json={"operation": "orders.capture", "kind": kind})
        assert (await merchant.post(url, wallet(token), key="k"))[0] == status
    await merchant.client.post(
        "/_standin/faults", json={"operation": "captures.refund", "kind": "latency", "seconds": 9}
    )
    capture = next(iter(merchant.paypal.state.books.captures))
    with pytest.raises(httpx.ReadTimeout):
        await merchant.post(f"{CAPTURES}/{capture}/refund", {"amount": money("1.00")}, key="r")
    busy = await merchant.post(f"{CAPTURES}/{capture}/refund", {"amount": money("1.00")}, key="r")

    assert (busy[0], issue_of(busy[1])) == (409, "PREVIOUS_REQUEST_IN_PROGRESS")
    assert merchant.judge.unjudged.count(f"429 POST {url}") == 1


async def test_webhook_events_conform_to_the_document_of_events(merchant: Merchant) -> None:
    await merchant.capture_id("slow-refund")
    await merchant.hold_id()
    events = merchant.paypal.state.webhooks.events

    for event in events:
        url = f"{BASE}/v1/notifications/webhooks-events/{event.id.replace('-', '')}"
        merchant.judge.response("GET", url, JSON_HEADERS, 200, {"content-type": "application/json"}, event.body)

    assert {event.type for event in events} == {
        "VAULT.PAYMENT-TOKEN.CREATED",
        "PAYMENT.CAPTURE.COMPLETED",
        "PAYMENT.AUTHORIZATION.CREATED",
        "CHECKOUT.ORDER.COMPLETED",
    }
