"""Orders v2: making an order, and paying it in one step (capture) or by a hold (authorize)."""

from __future__ import annotations

from comptoir_server.standins.paypal.accounts import Account
from comptoir_server.standins.paypal.amounts import read_money
from comptoir_server.standins.paypal.books import Order, Unit
from comptoir_server.standins.paypal.errors import BAD_REQUEST, Refusal, not_found
from comptoir_server.standins.paypal.payments import add_hold, take
from comptoir_server.standins.paypal.shapes import BREAKDOWN
from comptoir_server.standins.paypal.state import State
from comptoir_server.standins.paypal.wire import Call, Json, Result, micros, whole

WITHOUT_DECIMALS = "DECIMAL_PRECISION"
DEFAULT_REFERENCE = "default"
_DISCOUNTS = ("shipping_discount", "discount")


def create_order(state: State, call: Call) -> Result:
    """POST /v2/checkout/orders: moves nothing, unless a saved wallet comes with it: then it is paid at once."""
    source = call.body.get("payment_source", {})
    if source and not call.request_id:
        raise Refusal("PAYPAL_REQUEST_ID_REQUIRED", status=BAD_REQUEST)
    units = _read_units(call.body)
    context = source.get("paypal", {}).get("experience_context") or call.body.get("application_context", {})
    order = Order(
        id=state.new_id(),
        intent=call.body["intent"],
        units=units,
        create_time=call.now,
        update_time=call.now,
        expire_time=call.now + micros(state.config.order_seconds),
        return_url=context.get("return_url", ""),
        cancel_url=context.get("cancel_url", ""),
    )
    account = _payer_named(state, source, "BILLING_AGREEMENT_NOT_FOUND") if source else None
    if account and not account.needs_action:
        _pay(state, call, order, account)
    elif source:
        order.status = "PAYER_ACTION_REQUIRED"
    state.books.orders[order.id] = order
    return Result(201, lambda full: state.views.order(order, full))


def get_order(state: State, call: Call) -> Result:
    """GET /v2/checkout/orders/{id}: always the whole order."""
    return Result(200, whole(state.views.order(live_order(state, call.ids["id"], call.now), True)))


def capture_order(state: State, call: Call) -> Result:
    """POST /v2/checkout/orders/{id}/capture."""
    order = live_order(state, call.ids["id"], call.now)
    if order.status == "COMPLETED":
        raise Refusal("ORDER_ALREADY_CAPTURED")
    if order.intent != "CAPTURE":
        raise Refusal("INCOMPATIBLE_PARAMETER_VALUE", "/intent", order.intent)
    return _complete(state, call, order)


def authorize_order(state: State, call: Call) -> Result:
    """POST /v2/checkout/orders/{id}/authorize."""
    order = state.books.orders.get(call.ids["id"])
    if order is None:
        raise not_found("id", call.ids["id"])
    if order.expired(call.now):
        raise Refusal("ORDER_EXPIRED")
    if order.status == "COMPLETED":
        raise Refusal("ORDER_ALREADY_AUTHORIZED")
    if order.intent != "AUTHORIZE":
        raise Refusal("ACTION_DOES_NOT_MATCH_INTENT")
    return _complete(state, call, order)


def live_order(state: State, order_id: str, now: int) -> Order:
    """The order. One that nobody paid in time is gone, as at PayPal. Raises Refusal (404)."""
    order = state.books.orders.get(order_id)
    if order is None or order.expired(now):
        raise not_found("id", order_id)
    return order


def approve_order(state: State, order: Order, account: Account, now: int) -> None:
    """The payer agrees to pay this very order, as `account`; then there is as much time again to complete it."""
    if order.status not in {"CREATED", "PAYER_ACTION_REQUIRED"}:
        return
    order.status, order.account, order.update_time = "APPROVED", account, now
    order.expire_time = now + micros(state.config.order_seconds)
    state.webhooks.emit(
        now,
        "CHECKOUT.ORDER.APPROVED",
        "checkout-order",
        "An order has been approved by buyer",
        state.views.order(order, True),
    )


def _complete(state: State, call: Call, order: Order) -> Result:
    source = call.body.get("payment_source", {})
    account = _payer_named(state, source, "TOKEN_ID_NOT_FOUND") if source else None
    if order.status == "APPROVED" and order.account:
        account = order.account
    elif account is None:
        raise Refusal("ORDER_NOT_APPROVED")
    elif account.needs_action:
        context = source.get("paypal", {}).get("experience_context", {})
        order.return_url = context.get("return_url", order.return_url)
        order.cancel_url = context.get("cancel_url", order.cancel_url)
        order.status = "PAYER_ACTION_REQUIRED"
        raise Refusal("PAYER_ACTION_REQUIRED", links=[state.views.payer_link(order.id, "payer-action")])
    _pay(state, call, order, account)
    return Result(201, lambda full: state.views.order(order, full))


def _payer_named(state: State, source: Json, unknown: str) -> Account | None:
    """Whose wallet the payment source opens; None when it names no saved wallet. Raises Refusal."""
    if "card" in source:
        raise Refusal("NOT_ENABLED_FOR_CARD_PROCESSING", "/payment_source/card")
    token_id = source.get("paypal", {}).get("vault_id") or source.get("token", {}).get("id")
    if not token_id:
        return None
    token = state.books.payment_tokens.get(token_id)
    if token is None:
        raise Refusal(unknown)
    if token.deleted:
        raise Refusal("AGREEMENT_ALREADY_CANCELLED")
    return token.account


def _pay(state: State, call: Call, order: Order, account: Account) -> None:
    """Moves the money of every unit, or refuses and moves none."""
    issue = account.capture_issue if order.intent == "CAPTURE" else account.authorize_issue
    if issue:
        raise Refusal(issue)
    for unit in order.units:
        if unit.invoice_id in state.books.paid_invoice_ids:
            raise Refusal("DUPLICATE_INVOICE_ID", "/purchase_units/invoice_id", unit.invoice_id)
    order.account, order.status, order.update_time = account, "COMPLETED", call.now
    for unit in order.units:
        if order.intent == "CAPTURE":
            take(state, call, order, unit, unit.minor_units, invoice_id=unit.invoice_id)
        else:
            add_hold(state, call, order, unit, unit.minor_units)
    view = state.views.order(order, True)
    state.webhooks.emit(call.now, "CHECKOUT.ORDER.COMPLETED", "checkout-order", "Checkout order completed", view)


def _read_units(body: Json) -> list[Unit]:
    asked = body["purchase_units"]
    if len(asked) > 1 and body["intent"] == "AUTHORIZE":
        raise Refusal("UNSUPPORTED_INTENT", "/intent", "AUTHORIZE")
    if len(asked) > 1 and not all("reference_id" in unit for unit in asked):
        raise Refusal("REFERENCE_ID_REQUIRED", "/purchase_units")
    references = [unit.get("reference_id", DEFAULT_REFERENCE) for unit in asked]
    if len(set(references)) < len(references):
        raise Refusal("DUPLICATE_REFERENCE_ID", "/purchase_units")
    units = [_read_unit(unit, f"/purchase_units/{index}") for index, unit in enumerate(asked)]
    if len({unit.currency_code for unit in units}) > 1:
        raise Refusal("MULTI_CURRENCY_ORDER", "/purchase_units")
    return units


def _read_unit(asked: Json, pointer: str) -> Unit:
    minor_units, currency_code = read_money(asked["amount"], f"{pointer}/amount", without_decimals=WITHOUT_DECIMALS)
    parts = asked["amount"].get("breakdown", {})
    amounts = {
        name: _part(parts[name], f"{pointer}/amount/breakdown/{name}", currency_code)
        for name in BREAKDOWN
        if name in parts
    }
    if amounts:
        total = sum(-amount if name in _DISCOUNTS else amount for name, amount in amounts.items())
        if total != minor_units:
            raise Refusal("AMOUNT_MISMATCH", f"{pointer}/amount/value", asked["amount"]["value"])
    if items := asked.get("items"):
        _check_items(items, amounts, pointer, currency_code)
    return Unit(asked.get("reference_id", DEFAULT_REFERENCE), minor_units, currency_code, asked)


def _check_items(items: list[Json], amounts: dict[str, int], pointer: str, currency_code: str) -> None:
    """Unit prices and taxes times quantity must add up to the breakdown."""
    for name, total_name in (("unit_amount", "item_total"), ("tax", "tax_total")):
        priced = [(index, item) for index, item in enumerate(items) if name in item]
        if not priced:
            continue
        if total_name not in amounts:
            raise Refusal(f"{total_name.upper()}_REQUIRED", f"{pointer}/amount/breakdown/{total_name}")
        total = sum(
            _part(item[name], f"{pointer}/items/{index}/{name}", currency_code) * int(item["quantity"])
            for index, item in priced
        )
        if total != amounts[total_name]:
            raise Refusal(f"{total_name.upper()}_MISMATCH", f"{pointer}/amount/breakdown/{total_name}")


def _part(money: Json, pointer: str, currency_code: str) -> int:
    minor_units, code = read_money(money, pointer, zero=True, without_decimals=WITHOUT_DECIMALS)
    if code != currency_code:
        raise Refusal("MULTI_CURRENCY_ORDER", f"{pointer}/currency_code", code)
    return minor_units
