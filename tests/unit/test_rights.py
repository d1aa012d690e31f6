"""Whose an object is: foreign and absent are one and the same refusal."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from comptoir_server.app.access import owned, personal
from comptoir_server.app.call import CallContext, Caller
from comptoir_server.domain.errors import Reason, Refused
from comptoir_server.domain.payments import Payment
from comptoir_server.domain.wallets import Wallet
from tests.support.records import some

PAYMENT = some(Payment, partner_id="prt_1", bot_id="bot_1", user_id="usr_1", channel_id="chn_1")
WALLET = some(Wallet, user_id="usr_1", channel_id="chn_1")


def call(
    caller: Caller, partner_id: str = "", bot_id: str = "", user_id: str = "", channel_id: str = ""
) -> CallContext:
    return CallContext(caller, "Test", 0.0, partner_id, bot_id, user_id, channel_id)


PARTNER = call(Caller.PARTNER, partner_id="prt_1")
BOT = call(Caller.PARTNER, partner_id="prt_1", bot_id="bot_1")
USER = call(Caller.USER, user_id="usr_1", channel_id="chn_1")
CHANNEL = call(Caller.CHANNEL, channel_id="chn_1")
CHANNEL_FOR_USER = call(Caller.CHANNEL, channel_id="chn_1", user_id="usr_1")
OPERATOR = call(Caller.OPERATOR)

STRANGERS = [
    call(Caller.PARTNER, partner_id="prt_2"),
    call(Caller.PARTNER, partner_id="prt_2", bot_id="bot_1"),
    call(Caller.PARTNER, partner_id="prt_1", bot_id="bot_2"),
    call(Caller.USER, user_id="usr_2", channel_id="chn_1"),
    call(Caller.USER, user_id="usr_1", channel_id="chn_2"),
    call(Caller.USER, channel_id="chn_1"),
    call(Caller.CHANNEL, channel_id="chn_2"),
    call(Caller.CHANNEL, channel_id="chn_2", user_id="usr_1"),
    call(Caller.CHANNEL, channel_id="chn_1", user_id="usr_2"),
]


def refused(work: Callable[[], object]) -> Reason:
    """Why something is refused."""
    with pytest.raises(Refused) as refusal:
        work()
    return refusal.value.reason


@pytest.mark.parametrize("who", [PARTNER, BOT, USER, CHANNEL, CHANNEL_FOR_USER, OPERATOR])
def test_a_payment_is_seen_by_its_partner_its_bot_its_person_its_channel_and_the_operator(who: CallContext) -> None:
    assert owned(who, PAYMENT) is PAYMENT
    assert refused(lambda: owned(who, None)) == Reason.NOT_FOUND


@pytest.mark.parametrize("who", STRANGERS)
def test_a_payment_of_anybody_else_is_as_absent_as_one_that_is_not_there(who: CallContext) -> None:
    assert refused(lambda: owned(who, PAYMENT)) == Reason.NOT_FOUND


@pytest.mark.parametrize("who", [USER, CHANNEL, CHANNEL_FOR_USER])
def test_a_wallet_is_seen_by_its_person_and_their_channel(who: CallContext) -> None:
    assert personal(who, WALLET) is WALLET
    assert refused(lambda: personal(who, None)) == Reason.NOT_FOUND


@pytest.mark.parametrize("who", [*STRANGERS, PARTNER, BOT, OPERATOR])
def test_a_wallet_is_seen_by_no_partner_nor_operator_nor_anybody_else(who: CallContext) -> None:
    assert refused(lambda: personal(who, WALLET)) == Reason.NOT_FOUND


@pytest.mark.parametrize("caller", [Caller.PARTNER, Caller.OPERATOR])
def test_the_kind_of_the_credential_decides_and_not_the_ids_beside_it(caller: Caller) -> None:
    assert refused(lambda: personal(call(caller, user_id="usr_1", channel_id="chn_1"), WALLET)) == Reason.NOT_FOUND
