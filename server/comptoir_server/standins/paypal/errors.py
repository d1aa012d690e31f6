"""PayPal's refusals: the status, the issue, and the body they are written in.

Sources: the error schemas and the `issue` enumerations of the orders v2 and payments v2 documents.
Only `issue` is stable at PayPal. The documents word some descriptions differently from operation to
operation; those are left out, which the documents allow.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

from comptoir_server.standins.paypal.wire import Json

BAD_REQUEST = 400
UNAUTHORIZED = 401
FORBIDDEN = 403
NOT_FOUND = 404
CONFLICT = 409
UNPROCESSABLE = 422
THROTTLED = 429
SERVER_ERROR = 500

NAMES = MappingProxyType(
    {
        BAD_REQUEST: (
            "INVALID_REQUEST",
            "Request is not well-formed, syntactically incorrect, or violates schema.",
        ),
        UNAUTHORIZED: (
            "AUTHENTICATION_FAILURE",
            "Authentication failed due to missing authorization header, or invalid authentication credentials.",
        ),
        FORBIDDEN: ("NOT_AUTHORIZED", "Authorization failed due to insufficient permissions."),
        NOT_FOUND: ("RESOURCE_NOT_FOUND", "The specified resource does not exist."),
        CONFLICT: ("RESOURCE_CONFLICT", "The server has detected a conflict while processing this request."),
        UNPROCESSABLE: (
            "UNPROCESSABLE_ENTITY",
            "The requested action could not be performed, semantically incorrect, or failed business validation.",
        ),
        THROTTLED: ("RATE_LIMIT_REACHED", "Too many requests. Blocked due to rate limiting."),
        SERVER_ERROR: ("INTERNAL_SERVER_ERROR", "An internal server error occurred."),
    }
)
"""Status to the `name` and `message` of its body."""

_STATUS_OF = {
    BAD_REQUEST: """
        FIELD_NOT_PATCHABLE INVALID_ARRAY_MAX_ITEMS INVALID_ARRAY_MIN_ITEMS INVALID_COUNTRY_CODE
        INVALID_PARAMETER_SYNTAX INVALID_PARAMETER_VALUE INVALID_PATCH_OPERATION INVALID_STRING_LENGTH
        INVALID_STRING_MAX_LENGTH MALFORMED_REQUEST_JSON MISSING_REQUIRED_PARAMETER NOT_SUPPORTED
        PAYPAL_REQUEST_ID_REQUIRED
    """,
    UNAUTHORIZED: "INVALID_ACCOUNT_STATUS",
    FORBIDDEN: """
        CONSENT_NEEDED NOT_ELIGIBLE_FOR_TOKEN_PROCESSING PERMISSION_DENIED PERMISSION_DENIED_FOR_DONATION_ITEMS
    """,
    NOT_FOUND: "INVALID_RESOURCE_ID",
    CONFLICT: "PREVIOUS_REQUEST_IN_PROGRESS",
    SERVER_ERROR: "INTERNAL_SERVER_ERROR",
}
STATUS_OF = MappingProxyType({issue: status for status, issues in _STATUS_OF.items() for issue in issues.split()})
"""Issue to its status, where that is not 422."""

DESCRIPTIONS = MappingProxyType(
    {
        "AGREEMENT_ALREADY_CANCELLED": "The requested agreement is already canceled.",
        "AMOUNT_MISMATCH": (
            "Should equal item_total + tax_total + shipping + handling + insurance - shipping_discount - discount."
        ),
        "AUTHORIZATION_ALREADY_CAPTURED": "Authorization has previously been captured.",
        "AUTHORIZATION_EXPIRED": "An expired authorization cannot be captured.",
        "AUTHORIZATION_VOIDED": "A voided authorization cannot be captured or reauthorized. ",
        "BILLING_AGREEMENT_NOT_FOUND": "The requested Billing Agreement token was not found.",
        "CANNOT_BE_VOIDED": "A reauthorization cannot be voided. Please void the original parent authorization.",
        "CAPTURE_FULLY_REFUNDED": "The capture has already been fully refunded",
        "INSTRUMENT_DECLINED": (
            "The instrument presented  was either declined by the processor or bank, "
            "or it can't be used for this payment."
        ),
        "INVALID_RESOURCE_ID": "Specified resource ID does not exist. Please check the resource ID and try again.",
        "MALFORMED_REQUEST_JSON": "The request JSON is not well formed.",
        "MULTI_CURRENCY_ORDER": (
            "Multiple differing values of currency_code are not supported. "
            "Entire Order request must have the same currency_code."
        ),
        "PAYER_ACCOUNT_LOCKED_OR_CLOSED": "The payer account cannot be used for this transaction.",
        "PAYER_ACTION_REQUIRED": "Transaction cannot complete successfully, instruct the buyer to return to PayPal.",
        "PREVIOUSLY_CAPTURED": "Authorization has been previously captured and hence cannot be voided.",
        "PREVIOUSLY_VOIDED": "Authorization has been previously voided and hence cannot be voided again.",
        "PREVIOUS_REQUEST_IN_PROGRESS": (
            "A previous request on this resource is currently in progress. Please wait for sometime and try again. "
            "It is best to space out the initial and the subsequent request(s) to avoid receiving this error."
        ),
        "REFUND_AMOUNT_EXCEEDED": (
            "The refund amount must be less than or equal to the capture amount that has not yet been refunded."
        ),
        "REFUND_CAPTURE_CURRENCY_MISMATCH": "Refund must be in the same currency as the capture",
        "REFUND_NOT_ALLOWED": "Capture cannot be refunded.",
        "REFUND_TIME_LIMIT_EXCEEDED": "You are over the time limit to perform a refund on this capture",
        "TOKEN_ID_NOT_FOUND": "Specified token was not found. Verify the token and try the request again.",
    }
)
"""Issue to its description, for issues that the documents describe in one way only."""


class Refusal(Exception):
    """PayPal refuses, and nothing has happened. `field` is the JSON pointer at fault, "" for none."""

    def __init__(
        self, issue: str, field: str = "", value: object = None, *, status: int = 0, links: Sequence[Json] = ()
    ) -> None:
        super().__init__(issue)
        self.issue = issue
        self.status = status or STATUS_OF.get(issue, UNPROCESSABLE)
        self.field = field
        self.value = value
        self.links = tuple(links)

    def body(self, debug_id: str) -> Json:
        """The body in PayPal's words."""
        name, message = NAMES[self.status]
        body: Json = {"name": name, "message": message, "debug_id": debug_id}
        if self.issue and self.issue != name:
            detail: Json = {"issue": self.issue}
            if self.issue in DESCRIPTIONS:
                detail["description"] = DESCRIPTIONS[self.issue]
            if self.field:
                detail |= {"field": self.field, "location": "body" if self.field.startswith("/") else "path"}
            if isinstance(self.value, str):
                detail["value"] = self.value
            body["details"] = [detail]
        information = {
            "href": f"https://developer.paypal.com/api/rest/reference/orders/v2/errors/#{self.issue or name}",
            "rel": "information_link",
            "method": "GET",
        }
        body["links"] = [*self.links, information]
        return body


def not_found(field: str, value: str) -> Refusal:
    """A resource that does not exist, named in the path."""
    return Refusal("INVALID_RESOURCE_ID", field, value)
