"""The books' objects as PayPal writes them in its answers and webhooks."""

from __future__ import annotations

from comptoir_server.standins.paypal.accounts import Account
from comptoir_server.standins.paypal.amounts import fee_of, write_money
from comptoir_server.standins.paypal.books import Authorization, Capture, Order, PaymentToken, Refund, SetupToken, Unit
from comptoir_server.standins.paypal.config import PaypalStandinConfig
from comptoir_server.standins.paypal.wire import Json, iso

ORDERS = "/v2/checkout/orders"
AUTHORIZATIONS = "/v2/payments/authorizations"
CAPTURES = "/v2/payments/captures"
REFUNDS = "/v2/payments/refunds"
SETUP_TOKENS = "/v3/vault/setup-tokens"
PAYMENT_TOKENS = "/v3/vault/payment-tokens"
APPROVAL = "/checkoutnow"

_SELLER_PROTECTION: Json = {
    "status": "ELIGIBLE",
    "dispute_categories": ["ITEM_NOT_RECEIVED", "UNAUTHORIZED_TRANSACTION"],
}
_ECHOED = ("description", "custom_id", "invoice_id", "soft_descriptor", "items", "shipping")


class Views:
    """Writes the books' objects; the configuration names the merchant and the address in links."""

    def __init__(self, config: PaypalStandinConfig) -> None:
        self._config = config
        self._payee: Json = {"email_address": config.merchant_email, "merchant_id": config.merchant_id}

    def link(self, path: str, relation: str, method: str = "GET") -> Json:
        """A HATEOAS link to a path of ours."""
        return {"href": f"{self._config.base_url}{path}", "rel": relation, "method": method}

    def payer_link(self, token: str, relation: str) -> Json:
        """The link that a payer opens to approve an order or a setup token."""
        return self.link(f"{APPROVAL}?token={token}", relation)

    def order(self, order: Order, full: bool) -> Json:
        """An order; the minimal answer is its id, status and links."""
        path = f"{ORDERS}/{order.id}"
        links = [self.link(path, "self")]
        if order.status != "COMPLETED":
            relation = "payer-action" if order.status == "PAYER_ACTION_REQUIRED" else "approve"
            if order.status != "APPROVED":
                links.append(self.payer_link(order.id, relation))
            links.append(self.link(f"{path}/{order.intent.lower()}", order.intent.lower(), "POST"))
        view: Json = {"id": order.id, "status": order.status, "links": links}
        if not full:
            return view
        view |= {
            "intent": order.intent,
            "create_time": iso(order.create_time),
            "update_time": iso(order.update_time),
            "purchase_units": [self._unit(unit) for unit in order.units],
        }
        if order.account:
            view |= {"payment_source": {"paypal": _wallet(order.account)}, "payer": _payer(order.account)}
        return view

    def authorization(self, hold: Authorization) -> Json:
        """A hold, with the order it belongs to."""
        path = f"{AUTHORIZATIONS}/{hold.id}"
        actions = ("capture", "void", "reauthorize") if hold.status in {"CREATED", "PARTIALLY_CAPTURED"} else ()
        return _references(hold.unit, hold.unit.invoice_id) | {
            "id": hold.id,
            "status": hold.status,
            "amount": write_money(hold.minor_units, hold.unit.currency_code),
            "seller_protection": _SELLER_PROTECTION,
            "expiration_time": iso(hold.expire_time),
            "create_time": iso(hold.create_time),
            "update_time": iso(hold.update_time),
            "payee": self._payee,
            "supplementary_data": {"related_ids": {"order_id": hold.order.id}},
            "links": [
                self.link(path, "self"),
                *(self.link(f"{path}/{action}", action, "POST") for action in actions),
                self.link(f"{ORDERS}/{hold.order.id}", "up"),
            ],
        }

    def capture(self, capture: Capture) -> Json:
        """Money taken, with the order and the hold it belongs to."""
        path, code = f"{CAPTURES}/{capture.id}", capture.unit.currency_code
        related = {"order_id": capture.order.id}
        up = f"{ORDERS}/{capture.order.id}"
        if capture.authorization:
            related["authorization_id"] = capture.authorization.id
            up = f"{AUTHORIZATIONS}/{capture.authorization.id}"
        view = _references(capture.unit, capture.invoice_id) | {
            "id": capture.id,
            "status": capture.status,
            "amount": write_money(capture.minor_units, code),
            "final_capture": capture.final,
            "seller_protection": _SELLER_PROTECTION,
            "create_time": iso(capture.create_time),
            "update_time": iso(capture.update_time),
            "payee": self._payee,
            "supplementary_data": {"related_ids": related},
            "links": [self.link(path, "self"), self.link(f"{path}/refund", "refund", "POST"), self.link(up, "up")],
        }
        if capture.reason:
            view["status_details"] = {"reason": capture.reason}
        if capture.status not in {"PENDING", "DECLINED"}:
            fee = fee_of(capture.minor_units, code)
            view["seller_receivable_breakdown"] = {
                "gross_amount": write_money(capture.minor_units, code),
                "paypal_fee": write_money(fee, code),
                "net_amount": write_money(capture.minor_units - fee, code),
            }
        return view

    def refund(self, refund: Refund) -> Json:
        """Money given back, with a link up to the capture."""
        code = refund.capture.unit.currency_code
        amount = write_money(refund.minor_units, code)
        given_back = sum(item.minor_units for item in refund.capture.refunds if item.status == "COMPLETED")
        view: Json = {
            "id": refund.id,
            "status": refund.status,
            "amount": amount,
            "seller_payable_breakdown": {
                "gross_amount": amount,
                "paypal_fee": write_money(0, code),
                "net_amount": amount,
                "total_refunded_amount": write_money(given_back, code),
            },
            "create_time": iso(refund.create_time),
            "update_time": iso(refund.update_time),
            "links": [
                self.link(f"{REFUNDS}/{refund.id}", "self"),
                self.link(f"{CAPTURES}/{refund.capture.id}", "up"),
            ],
        }
        if refund.status == "PENDING":
            view["status_details"] = {"reason": "ECHECK"}
        own = {"custom_id": refund.custom_id, "invoice_id": refund.invoice_id, "note_to_payer": refund.note}
        return view | {name: text for name, text in own.items() if text}

    def setup_token(self, token: SetupToken) -> Json:
        """A permission being asked for, with the link that the payer must open."""
        path = f"{SETUP_TOKENS}/{token.id}"
        links = [self.link(path, "self"), self.link(PAYMENT_TOKENS, "confirm", "POST")]
        if token.status == "PAYER_ACTION_REQUIRED":
            links.insert(0, self.payer_link(token.id, "approve"))
        wallet = token.wallet | (_vaulted(token.account) if token.account else {})
        return {
            "id": token.id,
            "status": token.status,
            "customer": {"id": token.customer_id},
            "payment_source": {"paypal": wallet},
            "links": links,
        }

    def payment_token(self, token: PaymentToken) -> Json:
        """A permission given, and whose wallet it opens."""
        path = f"{PAYMENT_TOKENS}/{token.id}"
        return {
            "id": token.id,
            "customer": {"id": token.customer_id},
            "payment_source": {"paypal": token.wallet | _vaulted(token.account)},
            "links": [self.link(path, "self"), self.link(path, "delete", "DELETE")],
        }

    def _unit(self, unit: Unit) -> Json:
        amount = write_money(unit.minor_units, unit.currency_code)
        if breakdown := unit.asked["amount"].get("breakdown"):
            amount["breakdown"] = breakdown
        payments = {
            "authorizations": [self._within_order(self.authorization(item)) for item in unit.authorizations],
            "captures": [self._within_order(self.capture(item)) for item in unit.captures],
            "refunds": [self.refund(item) for item in unit.refunds],
        }
        view: Json = {"reference_id": unit.reference_id, "amount": amount, "payee": self._payee}
        view |= {name: unit.asked[name] for name in _ECHOED if name in unit.asked}
        if made := {name: items for name, items in payments.items() if items}:
            view["payments"] = made
        return view

    def _within_order(self, view: Json) -> Json:
        """A payment as its order lists it: without what the order says already."""
        return {name: value for name, value in view.items() if name not in {"payee", "supplementary_data"}}


def minimal(view: Json) -> Json:
    """The minimal answer: id, status and links."""
    return {name: view[name] for name in ("id", "status", "links")}


def _references(unit: Unit, invoice_id: str) -> Json:
    own = {"custom_id": unit.custom_id, "invoice_id": invoice_id}
    return {name: text for name, text in own.items() if text}


def _wallet(account: Account) -> Json:
    return {
        "email_address": account.email,
        "account_id": account.payer_id,
        "account_status": "VERIFIED",
        "name": {"given_name": account.given_name, "surname": account.surname},
    }


def _vaulted(account: Account) -> Json:
    name = {"given_name": account.given_name, "surname": account.surname}
    return {"email_address": account.email, "account_id": account.payer_id, "name": name}


def _payer(account: Account) -> Json:
    name = {"given_name": account.given_name, "surname": account.surname}
    return {"email_address": account.email, "payer_id": account.payer_id, "name": name}
