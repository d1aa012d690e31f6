"""Defects in whose the money is: of which attempt, of which try, and what is owed for what nobody wanted."""

from __future__ import annotations

from comptoir_server.app import charges, checkouts, holds, once, operations, payments, refunding, settlement, webhooks
from comptoir_server.transport.boundary import Boundary
from tests.defects.planting import rewrite
from tests.defects.registry import Kind, defect

ATTEMPTS = "integration/test_attempts.py::test_"
OWED = "integration/test_owed.py::test_"


@defect(Kind.OWN, f"{OWED}a_refund_that_is_owed_is_asked_for_under_new_keys_until_it_is_taken[sqlite-refused]")
def owed_refund_is_given_up() -> None:
    """What a provider refuses once to give back is kept for ever."""
    rewrite(refunding.failed, "if refund.origin == RefundOrigin.PLATFORM and still_owed(case):", "if False:")


@defect(Kind.OWN, f"{OWED}a_refund_that_was_executed_late_is_found_when_asking_for_it_anew_is_refused[sqlite]")
def refusal_of_what_was_done_is_believed() -> None:
    """A refund is refused because an earlier one was executed late, and nobody looks whether it was."""
    rewrite(
        operations._start, "if (operation.kind, found.kind) in FINAL or found.kind == OutcomeKind.PENDING:", "if False:"
    )


@defect(
    Kind.DROPPED_WEBHOOK,
    f"{OWED}what_somebody_gives_back_by_hand_is_no_longer_owed[sqlite-before it was sent-all of it]",
)
def owed_refund_and_refund_by_hand_wait_for_each_other() -> None:
    """A refund made by hand waits for ours, which is refused because of it."""
    rewrite(webhooks._unsent, " or operation.sends:", " or True:")


@defect(Kind.OWN, f"{OWED}a_refund_that_is_told_without_our_id_waits_while_ours_is_on_its_way[sqlite]")
def own_refund_is_taken_for_a_foreign_one() -> None:
    """A refund of ours that is told before its answer has come is counted as somebody else's, and again as ours."""
    rewrite(webhooks._unsent, " or operation.state != OperationState.PROCESSING or operation.sends:", ":")


@defect(
    Kind.OWN,
    f"{OWED}a_hold_that_nobody_wants_is_not_released_beyond_its_time_and_never_captured[sqlite]",
)
def called_off_hold_can_be_captured() -> None:
    """The partner takes money for a purchase that was called off."""
    rewrite(payments._require_wanted, "if not await is_wanted(tx, payment):", "if False:")


@defect(
    Kind.OWN,
    f"{OWED}a_hold_that_nobody_wants_is_released_although_that_was_refused_and_cannot_be_captured[sqlite]",
)
def refused_void_is_forgotten() -> None:
    """A hold that nobody wants stays where its release was refused once."""
    rewrite(holds.void_refused, "if still_owed(case) and", "if False and")


@defect(Kind.OWN, f"{OWED}a_release_says_nothing_of_a_capture_that_is_in_doubt[sqlite-a void that was not sent]")
def release_wipes_a_capture_in_doubt() -> None:
    """A hold that is released at the provider ends what is under way on it, although money was taken."""
    rewrite(
        webhooks._operation,
        "and (operation.kind != OperationKind.VOID or operation.state != OperationState.DONE)",
        "",
    )
    rewrite(settlement._after_the_end, "if kind == OperationKind.VOID and case", "if False and case")


@defect(Kind.OWN, f"{ATTEMPTS}a_late_success_is_given_back_and_leaves_the_attempt_that_is_under_way_alone[sqlite]")
def late_success_ends_another_attempt() -> None:
    """Giving back what came late ends the checkout that another attempt is paying by then."""
    rewrite(charges._unwanted, " and checkout.payment_ids[-1] == case.payment.id", "")


@defect(
    Kind.STUCK_OR_GUESSED,
    f"{ATTEMPTS}a_checkout_that_is_replaced_while_its_person_is_to_act_takes_its_payment_along[sqlite]",
)
def replaced_checkout_leaves_its_payment() -> None:
    """A payment waits for its person for ever although its checkout was replaced."""
    rewrite(checkouts._moved, "if waiting:", "if False:")


@defect(
    Kind.COMPLETED_TWICE,
    f"{ATTEMPTS}what_a_slow_look_up_of_the_first_try_finds_is_the_success_of_the_second[sqlite]",
)
def second_try_is_undone_by_the_first() -> None:
    """What a look-up of the first try finds is taken for another payment than the second try's, and given back."""
    rewrite(settlement.settle, "if heir is not None:", "if False:")


@defect(Kind.OWN, f"{ATTEMPTS}nobody_is_asked_to_act_for_what_was_called_off_meanwhile[sqlite]")
def person_is_asked_after_calling_it_off() -> None:
    """A cancellation while the provider is asked is forgotten where it asks for the person."""
    rewrite(settlement.settle, "(await case.checkout()).cancel_requested", "False")


@defect(
    Kind.OWN,
    "integration/test_request_ids.py::"
    "test_one_outcome_answers_so_many_requests_and_refuses_others_without_keeping_them",
)
def any_number_waits_for_one_outcome() -> None:
    """Whoever repeats a yes under new ids makes settling it as large as they like."""
    rewrite(once.begin, "if begun.operation is None:", "if False:")


@defect(Kind.OWN, "unit/test_boundary.py::test_a_caller_that_hangs_up_leaves_its_turn_to_its_work")
def turn_ends_before_its_work() -> None:
    """Whoever hangs up has another turn at once, however many of its works are under way."""
    rewrite(Boundary._kept, "task.add_done_callback(lambda _: over())", "over()")
