"""Defects in how a provider is listened to."""

from __future__ import annotations

from comptoir_server.app import settlement, webhooks
from comptoir_server.domain.operations import OPERATION_TRANSITIONS, OperationCommand, OperationState
from comptoir_server.domain.payments import PAYMENT_TRANSITIONS, PaymentCommand, PaymentState
from comptoir_server.providers.paypal import webhook
from comptoir_server.providers.paypal.provider import PaypalProvider
from comptoir_server.store.tables import CAPTURES, ORDERS
from tests.defects.planting import drop_constraint, put, rewrite
from tests.defects.registry import Kind, defect

HTTP = "integration/test_http.py::test_"
HOOKS = "integration/test_webhooks.py::test_"
PAYPAL = "unit/test_paypal_webhook.py::test_"


@defect(Kind.OWN, f"{PAYPAL}no_flipped_bit_of_a_genuine_delivery_is_accepted")
def signature_is_not_verified() -> None:
    """Whatever arrives is taken for the provider's."""
    rewrite(webhook.require_signature, "    try:\n", "    return\n    try:\n")


@defect(Kind.REPLAY, f"{PAYPAL}a_delivery_that_is_not_signed_for_us_now_is_refused")
def time_of_a_delivery_is_not_looked_at() -> None:
    """A genuine delivery of long ago is taken as new."""
    rewrite(PaypalProvider.read_webhook, "        webhook.require_fresh(delivery, now)\n", "")


@defect(Kind.DROPPED_WEBHOOK, f"{HTTP}a_delivery_that_cannot_be_verified_or_stored_now_comes_again[sqlite]")
def acknowledged_before_it_is_stored() -> None:
    """A delivery is acknowledged, and stored when there is time."""
    rewrite(
        webhooks.receive,
        "    fresh = await deps.store.write(keep)\n",
        '    deps.runtime.spawn(deps.store.write(keep), "keep")\n    fresh = False\n',
    )


@defect(Kind.DROPPED_WEBHOOK, f"{HOOKS}a_refund_that_is_told_before_its_capture_waits_for_it[sqlite]")
def early_delivery_is_done_with() -> None:
    """A delivery about what is not known yet counts as acted upon."""
    rewrite(
        webhooks.process,
        "and await _act(deps, tx, provider, confirmed, current.create_time):",
        "and (await _act(deps, tx, provider, confirmed, current.create_time) or True):",
    )


@defect(Kind.COMPLETED_TWICE, f"{HOOKS}a_webhook_after_the_reply_and_every_repetition_of_it_change_nothing[sqlite]")
def webhook_completes_again() -> None:
    """A webhook completes what the reply has completed."""
    rewrite(settlement.settle, "if operation.state == OperationState.DONE:", "if False:")
    put(OPERATION_TRANSITIONS, (OperationState.DONE, OperationCommand.FINISH), OperationState.DONE)
    put(PAYMENT_TRANSITIONS, (PaymentState.CAPTURED, PaymentCommand.CAPTURE_ALL), PaymentState.CAPTURED)
    drop_constraint(CAPTURES, "captures_one_reference")
    drop_constraint(CAPTURES, "captures_one_request")
    drop_constraint(ORDERS, "orders_one_checkout")


@defect(Kind.COMPLETED_TWICE, f"{HOOKS}a_delivery_that_comes_again_is_acted_upon_once[sqlite]")
def delivery_is_acted_upon_again() -> None:
    """A delivery that was stored is stored and acted upon again."""
    rewrite(
        webhooks.receive,
        "        if await tx.load(INBOX.lock((provider, notice.event_id))) is not None:\n            return False\n",
        "        await tx.load(INBOX.lock((provider, notice.event_id)))\n",
    )


@defect(Kind.OWN, f"{HOOKS}a_forged_amount_on_something_real_is_read_as_the_provider_has_it[sqlite]")
def signature_is_proof() -> None:
    """What a delivery says is believed, without asking the provider."""
    rewrite(
        webhooks.process,
        "confirmed = await deps.providers[provider].confirm(_opened(deps, delivery.notice))",
        "confirmed = _opened(deps, delivery.notice)",
    )


@defect(Kind.OWN, f"{HOOKS}a_provider_that_cannot_be_asked_now_is_asked_again_and_never_disowned[sqlite]")
def silent_provider_disowns() -> None:
    """A provider that does not answer is taken to know nothing of a delivery."""
    rewrite(
        webhooks.process,
        "    except ProviderUnavailable:\n        return\n",
        "    except ProviderUnavailable:\n        confirmed = None\n",
    )


@defect(Kind.UNKNOWN_STATUS, f"{HOOKS}a_capture_that_somebody_made_of_our_hold_is_kept_for_a_person_to_look_at[sqlite]")
def unknown_effect_is_done_with() -> None:
    """What none of our operations asked for counts as acted upon."""
    rewrite(
        webhooks._elsewhere,
        "return any(capture.reference == notice.reference for capture in captures)",
        "return bool(captures) or True",
    )
