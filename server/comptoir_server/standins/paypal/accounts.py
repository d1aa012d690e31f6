"""The payers of the stand-in: each account shows one way in which a payment can go.

The table in the package's docstring is made from the same rows; approval pages list them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Account:
    """A payer. The issues are what PayPal refuses with, empty where the account lets it happen.

    `capture_status` and `refund_status` are what a capture or refund is at first, PENDING until
    `settle_seconds` have passed; then it becomes `settled_capture` or `settled_refund`.
    """

    name: str
    email: str
    shows: str
    payer_id: str
    given_name: str
    surname: str
    capture_issue: str = ""
    authorize_issue: str = ""
    needs_action: bool = False
    capture_status: str = "COMPLETED"
    settled_capture: str = "COMPLETED"
    refund_status: str = "COMPLETED"
    settled_refund: str = "COMPLETED"


_ROWS = (
    Account("pays", "ada.pays@example.com", "Pays", "2ADAPAYSTEST2", "Ada", "Lovelace"),
    Account("pays-too", "blaise.pays@example.com", "Pays: another payer", "2BLASETESTXY2", "Blaise", "Pascal"),
    Account(
        "declined",
        "carl.declined@example.com",
        "Declined at payment: INSTRUMENT_DECLINED (PAYER_CANNOT_PAY for a hold)",
        "2CARLDECTEST2",
        "Carl",
        "Gauss",
        capture_issue="INSTRUMENT_DECLINED",
        authorize_issue="PAYER_CANNOT_PAY",
    ),
    Account(
        "closed",
        "dora.closed@example.com",
        "Closed: PAYER_ACCOUNT_LOCKED_OR_CLOSED",
        "2DRACLSDTEST2",
        "Dora",
        "Maar",
        capture_issue="PAYER_ACCOUNT_LOCKED_OR_CLOSED",
        authorize_issue="PAYER_ACCOUNT_LOCKED_OR_CLOSED",
    ),
    Account(
        "restricted",
        "emil.restricted@example.com",
        "Restricted: PAYER_ACCOUNT_RESTRICTED",
        "2EMEREST4TXT2",
        "Emil",
        "Post",
        capture_issue="PAYER_ACCOUNT_RESTRICTED",
        authorize_issue="PAYER_ACCOUNT_RESTRICTED",
    ),
    Account(
        "echeck",
        "frida.echeck@example.com",
        "Pays by e-check: the capture is PENDING, then COMPLETED by webhook",
        "2FRDECHKTEST2",
        "Frida",
        "Kahlo",
        capture_status="PENDING",
    ),
    Account(
        "echeck-bounces",
        "georg.bounces@example.com",
        "Pays by an e-check that bounces: PENDING, then DECLINED by webhook",
        "2GERGBNCTEST2",
        "Georg",
        "Cantor",
        capture_status="PENDING",
        settled_capture="DECLINED",
    ),
    Account(
        "action",
        "hedy.action@example.com",
        "Must approve each payment at PayPal first: PAYER_ACTION_REQUIRED",
        "2HEDYACTTEST2",
        "Hedy",
        "Lamarr",
        needs_action=True,
    ),
    Account(
        "capture-declined",
        "ida.declined@example.com",
        "Order COMPLETED, capture DECLINED: completed is not paid",
        "2JDADECLTEST2",
        "Ida",
        "Rhodes",
        capture_status="DECLINED",
    ),
    Account(
        "slow-refund",
        "jean.slow@example.com",
        "Pays; refunds are PENDING, then COMPLETED by webhook",
        "2JEANSLWTEST2",
        "Jean",
        "Bartik",
        refund_status="PENDING",
    ),
    Account(
        "failed-refund",
        "kurt.failed@example.com",
        "Pays; refunds are PENDING, then FAILED by webhook",
        "2KURTFALTEST2",
        "Kurt",
        "Goedel",
        refund_status="PENDING",
        settled_refund="FAILED",
    ),
)

ACCOUNTS = {account.name: account for account in _ROWS}
"""Name to account, in the order of the approval page."""
