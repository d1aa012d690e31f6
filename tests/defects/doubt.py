"""Defects in how doubt is met: what is asked of a provider, how often, and what counts as proof."""

from __future__ import annotations

from comptoir_server.app import charges, confirmations, instructions, operations, refunding, settlement
from comptoir_server.domain.checkouts import CheckoutState
from comptoir_server.domain.operations import OPERATION_TRANSITIONS, OperationCommand, OperationState
from comptoir_server.domain.payments import PAYMENT_TRANSITIONS, PaymentCommand, PaymentState
from comptoir_server.store.reads import due
from tests.defects.planting import put, rewrite, swap
from tests.defects.registry import Kind, defect

CONFIRM = "integration/test_confirm.py::test_"
DOUBT = "integration/test_doubt.py::test_"
EVIDENCE = "integration/test_evidence.py::test_"
LOST_REPLY = f"{CONFIRM}a_lost_reply_is_resolved_by_a_look_up_and_charged_once[sqlite]"


def _doubt_means(kind: str) -> None:
    rewrite(
        settlement.judge,
        "    asked = (",
        f"    if outcome.kind == OutcomeKind.IN_DOUBT:\n        return replace(outcome, kind=OutcomeKind.{kind})\n"
        "    asked = (",
    )


@defect(Kind.STUCK_OR_GUESSED, LOST_REPLY)
def timeout_is_a_failure() -> None:
    """An answer that is lost is taken for proof that nothing was executed."""
    _doubt_means("NOT_SENT")


@defect(Kind.OWN, LOST_REPLY)
def timeout_is_a_decline() -> None:
    """An answer that is lost is taken for a refusal."""
    _doubt_means("DECLINED")


@defect(Kind.STUCK_OR_GUESSED, LOST_REPLY)
def nobody_looks_again() -> None:
    """The reconciler finds nothing that is due: what is in doubt stays so."""
    rewrite(due.operations, "table.next_time <= now", "table.next_time < 0")


@defect(Kind.ERROR_AFTER_SUCCESS, f"{CONFIRM}a_second_yes_while_the_first_is_in_doubt_joins_it[sqlite]", "Refused")
def doubt_opens_the_checkout_again() -> None:
    """While an answer is sought the person may pay again."""
    rewrite(
        charges.doubted,
        "    checkout = await case.checkout()\n",
        "    await _reopen(case, NoticeKind.NOT_CHARGED, '')\n    checkout = await case.checkout()\n",
    )


@defect(Kind.ERROR_AFTER_SUCCESS, f"{CONFIRM}a_yes_after_it_was_paid_is_answered_with_the_payment[sqlite]", "Refused")
def success_is_an_error_to_whoever_says_yes_again() -> None:
    """A second yes to what is paid gets an error in place of the payment."""
    swap(confirmations, "_ATTEMPTED", frozenset({CheckoutState.PROCESSING, CheckoutState.REQUIRES_ACTION}))


@defect(Kind.NO_KEY, f"{CONFIRM}a_lost_request_is_sent_again_under_the_same_key_while_its_person_waits[sqlite]")
def new_key_on_retry() -> None:
    """Every send has a key of its own, so that a provider cannot know it again."""
    rewrite(instructions.instruction_of, "key=operation.id", "key=deps.runtime.new_id('opn')")


@defect(Kind.NO_KEY, f"{CONFIRM}our_key_is_stored_before_the_provider_is_asked_for_anything[sqlite]")
def key_is_stored_after_sending() -> None:
    """What we ask for is written down only once it was asked for."""
    rewrite(instructions.begin, "    tx.put(operation)\n", "")
    rewrite(
        operations.drive,
        '    await _settle(deps, operation, outcome, "reply")',
        "    async def store(tx):\n        tx.put(operation)\n"
        "    await deps.store.write(store)\n"
        '    await _settle(deps, operation, outcome, "reply")',
    )
    rewrite(operations._prepare, "if not await deps.store.write(remember):", "if False:")


@defect(Kind.OWN, LOST_REPLY)
def order_is_not_stored_before_charging() -> None:
    """The provider's order is charged without its id having been kept, so that doubt cannot be decided."""
    rewrite(operations._prepare, "if not await deps.store.write(remember):", "if False:")


@defect(Kind.OWN, f"{CONFIRM}absence_is_believed_only_after_the_provider_has_settled[sqlite]")
def absence_is_proof_at_once() -> None:
    """What is not there at the first look is taken for never executed."""
    rewrite(operations._undone, "elif quiet_in <= 0:", "elif True:")


@defect(Kind.OWN, f"{CONFIRM}absence_is_believed_only_after_the_provider_has_settled[sqlite]")
def settle_delay_is_nothing() -> None:
    """Absence counts as soon as the last send may have arrived, without the time a provider takes to show it."""
    rewrite(operations._takes, " + capabilities.settle_seconds * MICROSECONDS", "")


@defect(Kind.OWN, f"{DOUBT}a_wall_clock_that_is_put_right_makes_nothing_absent[sqlite]")
def wall_clock_is_believed() -> None:
    """A clock that is put right by an hour makes what was sent a moment ago an hour old, and absent."""
    rewrite(operations._quiet_in, "max(written, over + takes / MICROSECONDS - deps.runtime.monotonic())", "written")


@defect(Kind.OWN, f"{DOUBT}no_watch_of_another_machine_is_believed_however_many_wall_clocks_are_wrong[sqlite]")
def watches_of_any_machine_are_believed() -> None:
    """A watch that began by the clock of another machine is held against this one's."""
    rewrite(operations._over, "operation.watch_clock == deps.runtime.monotonic_clock", "operation.watch_clock")


@defect(Kind.OWN, f"{DOUBT}what_arrives_while_it_is_looked_for_is_not_absent[sqlite]")
def absence_is_judged_after_a_slow_look() -> None:
    """The time that a provider takes to answer a look-up counts as if nothing could have arrived in it."""
    rewrite(
        operations.resolve,
        "    outcome = await provider.look_up(instruction)\n",
        "    outcome = await provider.look_up(instruction)\n    quiet_in = _quiet_in(deps, operation, over)\n",
    )


@defect(Kind.OWN, f"{DOUBT}what_was_watched_before_it_was_sent_again_proves_nothing[sqlite]")
def earlier_watches_speak_of_later_sends() -> None:
    """Since when it was watched counts although it was sent again since."""
    rewrite(operations._another_send, '        watch_clock="",\n        watch_start=0,\n', "")


@defect(Kind.NO_KEY, f"{EVIDENCE}nothing_is_repeated_once_the_provider_may_have_forgotten_the_key[sqlite]")
def repeated_beyond_the_life_of_the_key() -> None:
    """A send is repeated although the provider may have forgotten the key by then."""
    swap(operations, "_RESEND_SHARE", 100.0)


@defect(Kind.OWN, f"{DOUBT}no_answer_to_a_repetition_undoes_a_charge_that_succeeded[sqlite-declined]")
def refused_repetition_is_believed() -> None:
    """The refusal of a repetition ends what an earlier send has done."""
    rewrite(operations._send_again, "if outcome.kind == OutcomeKind.DECLINED:", "if False:")


@defect(Kind.OWN, f"{EVIDENCE}evidence_against_what_has_ended_changes_nothing[sqlite-DECLINED]")
def reducer_moves_backwards() -> None:
    """Evidence that comes after the end ends a payment again, the other way."""
    rewrite(
        settlement.settle,
        "if operation.state == OperationState.DONE:",
        "if operation.state == OperationState.DONE and outcome.kind in SUCCESSES:",
    )
    put(OPERATION_TRANSITIONS, (OperationState.DONE, OperationCommand.FINISH), OperationState.DONE)
    put(PAYMENT_TRANSITIONS, (PaymentState.CAPTURED, PaymentCommand.DECLINE), PaymentState.DECLINED)


@defect(Kind.OWN, "unit/test_transitions.py::test_what_has_ended_stays_as_it_is")
def a_captured_payment_may_fail() -> None:
    """The table has a way out of what has ended."""
    put(PAYMENT_TRANSITIONS, (PaymentState.CAPTURED, PaymentCommand.FAIL), PaymentState.FAILED)


GIVEN_UP = (
    "integration/test_webhooks.py::"
    "test_a_charge_that_succeeds_after_it_was_given_up_is_given_back_and_leaves_the_next_one_alone[sqlite]"
)


@defect(Kind.OWN, GIVEN_UP)
def late_success_is_ignored() -> None:
    """Money that moved after its payment had ended is kept, and nobody knows of it."""
    rewrite(settlement._after_the_end, "if not success or", "if True or not success or")


@defect(Kind.OWN, GIVEN_UP)
def late_success_touches_the_order() -> None:
    """Giving back what nobody wanted is counted against the order that another payment paid for."""
    rewrite(refunding.given_back, "    if refund.origin == RefundOrigin.PLATFORM:\n        return\n", "")
    rewrite(refunding.given_back, "if order is None or order.payment_id != payment.id:", "if order is None:")


@defect(Kind.OWN, f"{EVIDENCE}what_one_process_drives_nobody_else_asks_about")
def two_workers_drive_one_attempt() -> None:
    """A lease keeps nobody off."""
    rewrite(operations._claim, " or tx.now < found.lease_until:", ":")


@defect(Kind.OWN, f"{CONFIRM}a_throttled_charge_is_sent_again_and_charged_once[sqlite]")
def throttled_is_a_failure() -> None:
    """A provider that asks us to come again later is not asked again."""
    rewrite(
        operations._send,
        "        if outcome.kind != OutcomeKind.THROTTLED:\n            return outcome\n",
        "        if outcome.kind == OutcomeKind.THROTTLED:\n            return Outcome(OutcomeKind.NOT_SENT)\n"
        "        return outcome\n",
    )


@defect(Kind.OWN, f"{CONFIRM}another_amount_than_was_asked_for_is_doubt_and_never_a_success[sqlite]")
def another_amount_is_a_success() -> None:
    """What a provider says it took is not held against what was asked for."""
    rewrite(settlement.judge, "if moved and", "if False and")


@defect(Kind.OWN, f"{CONFIRM}a_cancel_during_the_charge_gives_back_what_was_taken[sqlite]")
def cancelled_money_is_kept() -> None:
    """A cancellation while the money moves is forgotten once it has moved."""
    rewrite(charges.succeeded, " and not checkout.cancel_requested", "")


@defect(
    Kind.NO_FOLLOW_UP, "integration/test_telling.py::test_what_a_look_up_decides_is_told_as_a_reply_would_be[sqlite]"
)
def look_ups_tell_nobody() -> None:
    """A payment that a look-up decides is complete, and no event says so."""
    rewrite(
        charges.succeeded,
        '    tell(case.tx, "checkout", checkout)\n    tell(case.tx, "order", order)\n',
        '    if case.evidence.source == "reply":\n'
        '        tell(case.tx, "checkout", checkout)\n        tell(case.tx, "order", order)\n',
    )


@defect(Kind.NO_FOLLOW_UP, "integration/test_telling.py::test_what_a_look_up_decides_is_stored_as_the_answer[sqlite]")
def look_ups_answer_nobody() -> None:
    """A payment that a look-up decides leaves its request without a final answer."""
    rewrite(
        charges.succeeded,
        "    await case.answer(case.payment.id, checkout=checkout, payment=case.payment)",
        '    if case.evidence.source == "reply":\n'
        "        await case.answer(case.payment.id, checkout=checkout, payment=case.payment)",
    )
