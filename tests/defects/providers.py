"""Defects in how a provider's words become ours."""

from __future__ import annotations

import httpx

from comptoir_server.providers.paypal import client, convert, requests
from comptoir_server.providers.paypal.provider import PaypalProvider
from tests.defects.planting import rewrite, swap
from tests.defects.registry import Kind, defect

CLIENT = "unit/test_paypal_client.py::test_"
CONVERT = "unit/test_paypal_convert.py::test_"
PROVIDER = "unit/test_paypal_provider.py::test_"


@defect(Kind.STUCK_OR_GUESSED, f"{CLIENT}a_failure_after_a_connection_leaves_doubt")
def broken_connection_was_never_sent() -> None:
    """A connection that breaks proves that nothing arrived."""
    swap(client, "_NEVER_LEFT", (httpx.TransportError,))


@defect(Kind.UNKNOWN_STATUS, f"{CONVERT}a_completed_order_is_what_its_capture_says")
def completed_order_is_paid() -> None:
    """An order that is completed counts as paid, whatever its capture says."""
    rewrite(
        convert.order_outcome,
        "outcomes = [read(item) for item in made]",
        "outcomes = [replace(read(item), kind=OutcomeKind.CAPTURED) if text(order, 'status') == 'COMPLETED' "
        "else read(item) for item in made]",
    )


@defect(Kind.UNKNOWN_STATUS, f"{CONVERT}a_completed_order_without_a_capture_is_not_paid_and_not_absent")
def unknown_status_is_absence() -> None:
    """A status that nobody foresaw means that nothing was executed."""
    rewrite(convert._order_without_payment, 'raise Unreadable("status")', "return ABSENT")


@defect(Kind.STUCK_OR_GUESSED, f"{PROVIDER}a_look_up_that_paypal_does_not_answer_proves_nothing")
def failed_look_up_is_absence() -> None:
    """A look-up that fails means that there is nothing."""
    failed = "        except CallFailed as failure:\n            return Outcome(OutcomeKind."
    rewrite(PaypalProvider._look_up, f"{failed}IN_DOUBT", f"{failed}ABSENT")


@defect(Kind.NO_KEY, f"{PROVIDER}a_charge_names_the_saved_wallet_and_the_key_of_its_step", "KeyError")
def no_key_at_the_provider() -> None:
    """Requests that move money carry no key of ours."""
    rewrite(client.PaypalClient._request, '                "PayPal-Request-Id": request_id,\n', "")


@defect(Kind.NO_KEY, f"{CONVERT}steps_of_one_key_have_request_ids_of_their_own")
def steps_share_a_key() -> None:
    """Making an order and charging it are one request to the provider."""
    rewrite(requests.request_id, 'value = f"{key}:{step}"', "value = key")


@defect(Kind.OWN, f"{CLIENT}an_answer_that_proves_nothing_leaves_doubt[503-<html>]")
def failed_call_is_made_again() -> None:
    """The connector repeats what failed, by itself."""
    rewrite(client.PaypalClient.call, "if answer.status == UNAUTHORIZED:", "if answer.status >= 400:")
