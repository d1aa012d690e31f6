"""The PayPal connector against the stand-in: linking, paying, giving back, and what webhooks tell.

What the connector says is held against the stand-in's books.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import httpx
import pytest
import pytest_asyncio

from comptoir_server.app.ports import (
    DeclineCode,
    LinkRefused,
    Notice,
    NoticeKind,
    OperationKind,
    Outcome,
    OutcomeKind,
    PrepareRefused,
    ProviderUnavailable,
    WebhookRefused,
)
from comptoir_server.standins.paypal import make_signer
from comptoir_server.standins.paypal.signing import Signer
from tests.support.paypal_judge import Judge, JudgedTransport, Violation, specs_folder
from tests.support.paypal_world import (
    AUTHORIZE,
    CANCEL_URL,
    CAPTURE,
    CHARGE,
    MINUTE,
    NOW,
    REFUND,
    RETURN_URL,
    STANDIN,
    VOID,
    World,
    open_world,
)


@pytest.fixture(scope="module")
def signer() -> Signer:
    return make_signer(NOW)


@pytest_asyncio.fixture
async def world(signer: Signer) -> AsyncIterator[World]:
    async for made in open_world(signer):
        yield made


# --- The judge -------------------------------------------------------------------------------------


async def test_the_judge_refuses_a_request_with_a_null(world: World) -> None:
    await world.wallet()
    transport = JudgedTransport(httpx.MockTransport(lambda _: httpx.Response(500)), Judge(specs_folder() / "paypal"))
    unit = {"amount": {"currency_code": "EUR", "value": "12.50"}, "custom_id": None}
    async with httpx.AsyncClient(transport=transport, base_url=STANDIN.base_url) as client:
        with pytest.raises(Violation, match="None"):
            await client.post("/v2/checkout/orders", json={"intent": "CAPTURE", "purchase_units": [unit]})
        with pytest.raises(Violation):
            await client.post("/v3/vault/payment-tokens", json={"payment_source": {}})
    assert await world.effects() == []


# --- Linking ---------------------------------------------------------------------------------------


async def test_a_wallet_is_linked_once_the_payer_approved_it(world: World) -> None:
    start = await world.provider.begin_link("key_1", RETURN_URL, CANCEL_URL)
    assert start.approve_url.startswith(f"{STANDIN.base_url}/checkoutnow?token=")
    with pytest.raises(LinkRefused):
        await world.provider.complete_link("key_1", start.reference)
    await world.control("POST", "approve", token=start.reference, account="pays")
    wallet = await world.provider.complete_link("key_1", start.reference)
    assert wallet.label == "a•••@example.com"
    assert wallet.customer_reference
    assert await world.provider.complete_link("key_1", start.reference) == wallet
    assert [token["id"] for token in (await world.control("GET", "books"))["payment_tokens"]] == [wallet.token]


async def test_a_link_that_paypal_does_not_know_is_refused(world: World) -> None:
    with pytest.raises(LinkRefused):
        await world.provider.complete_link("key_1", "5C991763VB2781612")


async def test_a_lost_answer_to_a_link_is_asked_for_again_and_makes_one_wallet(world: World) -> None:
    start = await world.provider.begin_link("key_1", RETURN_URL, CANCEL_URL)
    await world.control("POST", "approve", token=start.reference, account="pays")
    await world.fault("payment-tokens.create", "lost_answer")
    with pytest.raises(ProviderUnavailable):
        await world.provider.complete_link("key_1", start.reference)
    wallet = await world.provider.complete_link("key_1", start.reference)
    assert [token["id"] for token in (await world.control("GET", "books"))["payment_tokens"]] == [wallet.token]


async def test_an_unlinked_wallet_cannot_be_charged_and_unlinking_again_is_fine(world: World) -> None:
    instruction = await world.prepared(CHARGE)
    await world.provider.revoke_link(instruction.wallet_token)
    await world.provider.revoke_link(instruction.wallet_token)
    outcome = await world.provider.execute(instruction)
    assert (outcome.kind, outcome.decline_code) == (OutcomeKind.DECLINED, DeclineCode.WALLET_REVOKED)
    assert await world.effects() == []


# --- Paying ----------------------------------------------------------------------------------------


async def test_preparing_moves_nothing_and_charging_takes_the_money_once(world: World) -> None:
    instruction = await world.prepared(CHARGE)
    assert await world.effects() == []
    assert (await world.provider.look_up(instruction)).kind is OutcomeKind.ABSENT
    outcome = await world.provider.execute(instruction)
    assert (outcome.kind, outcome.amount, outcome.currency_code) == (OutcomeKind.CAPTURED, 1250, "EUR")
    assert replace(await world.provider.execute(instruction), debug_id="") == replace(outcome, debug_id="")
    assert replace(await world.provider.look_up(instruction), debug_id="") == replace(outcome, debug_id="")
    assert await world.effects() == [("capture", 1250)]
    assert await world.sent("orders.create") == ["key_1:order"]
    assert await world.sent("orders.capture") == ["key_1:execute"] * 2


@pytest.mark.parametrize(("amount", "currency_code"), [(1250, "JPY"), (125_000, "HUF"), (12_500, "TWD"), (1, "USD")])
async def test_a_currency_without_decimals_is_paid_to_the_unit(world: World, amount: int, currency_code: str) -> None:
    instruction = await world.prepared(CHARGE, amount=amount, currency_code=currency_code)
    outcome = await world.provider.execute(instruction)
    assert (outcome.kind, outcome.amount, outcome.currency_code) == (OutcomeKind.CAPTURED, amount, currency_code)
    assert await world.effects() == [("capture", amount)]


async def test_a_hold_is_captured_in_parts_until_the_final_one(world: World) -> None:
    first = await world.prepared(CAPTURE, amount=500, final=False)
    assert await world.effects() == [("authorization", 1250)]
    outcome = await world.provider.execute(first)
    assert (outcome.kind, outcome.amount) == (OutcomeKind.CAPTURED, 500)
    last = replace(first, key="key_3", object_id="cap_2", amount=700, final=True)
    assert (await world.provider.look_up(last)).kind is OutcomeKind.ABSENT
    assert (await world.provider.execute(last)).amount == 700
    assert (await world.provider.look_up(first)).amount == 500
    assert (await world.provider.look_up(last)).amount == 700
    beyond = replace(first, key="key_4", object_id="cap_3", amount=50)
    outcome = await world.provider.execute(beyond)
    assert outcome.kind is OutcomeKind.IN_DOUBT, "AUTHORIZATION_ALREADY_CAPTURED, but by none of ours"
    assert (await world.provider.look_up(beyond)).kind is OutcomeKind.ABSENT
    assert await world.effects() == [("authorization", 1250), ("capture", 500), ("capture", 700)]


async def test_more_than_the_hold_allows_is_declined(world: World) -> None:
    instruction = await world.prepared(CAPTURE, amount=1250 * 2)
    outcome = await world.provider.execute(instruction)
    assert (outcome.kind, outcome.decline_code) == (OutcomeKind.DECLINED, DeclineCode.LIMIT_REACHED)
    assert await world.effects() == [("authorization", 1250)]


async def test_a_hold_says_when_it_ends_and_is_released_once(world: World) -> None:
    hold = await world.prepared(AUTHORIZE)
    outcome = await world.provider.execute(hold)
    assert outcome.expire_time == NOW + 29 * 86_400 * 1_000_000
    void = replace(hold, kind=VOID, key="key_2", target_reference=outcome.reference)
    assert (await world.provider.look_up(void)).kind is OutcomeKind.ABSENT
    assert (await world.provider.execute(void)).kind is OutcomeKind.VOIDED
    assert (await world.provider.look_up(void)).kind is OutcomeKind.VOIDED
    assert (await world.provider.execute(void)).kind is OutcomeKind.VOIDED
    assert (await world.provider.look_up(hold)).kind is OutcomeKind.DECLINED, "a released hold holds nothing"
    assert await world.effects() == [("authorization", 1250), ("void", 1250)]


async def test_a_captured_hold_cannot_be_released(world: World) -> None:
    capture = await world.prepared(CAPTURE)
    await world.provider.execute(capture)
    void = replace(capture, kind=VOID, key="key_3", object_id="pay_1")
    assert (await world.provider.execute(void)).kind is OutcomeKind.DECLINED
    assert await world.effects() == [("authorization", 1250), ("capture", 1250)]


async def test_a_hold_that_expired_cannot_be_captured(world: World) -> None:
    instruction = await world.prepared(CAPTURE)
    world.at(NOW + 30 * 86_400 * 1_000_000)
    outcome = await world.provider.execute(instruction)
    assert (outcome.kind, outcome.provider_code) == (OutcomeKind.DECLINED, "AUTHORIZATION_EXPIRED")
    assert await world.effects() == [("authorization", 1250), ("void", 1250)]


async def test_refunds_come_in_parts_and_never_exceed_what_was_taken(world: World) -> None:
    part = await world.prepared(REFUND, amount=500)
    outcome = await world.provider.execute(part)
    assert (outcome.kind, outcome.amount) == (OutcomeKind.REFUNDED, 500)
    over = replace(part, key="key_3", object_id="ref_2", amount=751)
    outcome = await world.provider.execute(over)
    assert (outcome.kind, outcome.decline_code) == (OutcomeKind.DECLINED, DeclineCode.REFUND_NOT_POSSIBLE)
    rest = replace(part, key="key_4", object_id="ref_3", amount=750)
    assert (await world.provider.execute(rest)).kind is OutcomeKind.REFUNDED
    again = replace(part, key="key_5", object_id="ref_4", amount=1)
    outcome = await world.provider.execute(again)
    assert (outcome.kind, outcome.provider_code) == (OutcomeKind.DECLINED, "CAPTURE_FULLY_REFUNDED")
    looked_up = [(await world.provider.look_up(item)).kind for item in (part, over, rest, again)]
    found, absent = OutcomeKind.REFUNDED, OutcomeKind.ABSENT
    assert looked_up == [found, absent, found, absent]
    assert await world.effects() == [("capture", 1250), ("refund", 500), ("refund", 750)]


@pytest.mark.parametrize(
    ("account", "kind", "decline_code"),
    [
        ("declined", CHARGE, DeclineCode.INSTRUMENT_DECLINED),
        ("declined", AUTHORIZE, DeclineCode.INSTRUMENT_DECLINED),
        ("closed", CHARGE, DeclineCode.ACCOUNT_CLOSED),
        ("restricted", AUTHORIZE, DeclineCode.ACCOUNT_RESTRICTED),
    ],
)
async def test_a_declined_payment_moves_nothing(
    world: World, account: str, kind: OperationKind, decline_code: DeclineCode
) -> None:
    outcome = await world.provider.execute(await world.prepared(kind, account))
    assert (outcome.kind, outcome.decline_code) == (OutcomeKind.DECLINED, decline_code)
    assert outcome.debug_id
    assert await world.effects() == []


async def test_a_completed_order_with_a_declined_capture_is_declined(world: World) -> None:
    instruction = await world.prepared(CHARGE, "capture-declined")
    outcome = await world.provider.execute(instruction)
    assert (outcome.kind, outcome.provider_code) == (OutcomeKind.DECLINED, "DECLINED")
    assert (await world.provider.look_up(instruction)).kind is OutcomeKind.DECLINED
    books = await world.control("GET", "books")
    assert books["orders"][0]["status"] == "COMPLETED"
    assert await world.effects() == [("capture_declined", 1250)]


@pytest.mark.parametrize(
    ("account", "settled"), [("echeck", OutcomeKind.CAPTURED), ("echeck-bounces", OutcomeKind.DECLINED)]
)
async def test_a_pending_payment_is_decided_later(world: World, account: str, settled: OutcomeKind) -> None:
    instruction = await world.prepared(CHARGE, account)
    outcome = await world.provider.execute(instruction)
    assert (outcome.kind, outcome.provider_code) == (OutcomeKind.PENDING, "PENDING:ECHECK")
    assert (await world.provider.look_up(instruction)).kind is OutcomeKind.PENDING
    world.at(NOW + MINUTE)
    assert (await world.provider.look_up(instruction)).kind is settled


async def test_a_payer_who_must_act_is_sent_to_paypal_and_another_call_then_takes_the_money_once(world: World) -> None:
    instruction = await world.prepared(CHARGE, "action", return_url=RETURN_URL)
    outcome = await world.provider.execute(instruction)
    assert outcome.kind is OutcomeKind.REQUIRES_ACTION
    assert outcome.action_url == f"{STANDIN.base_url}/checkoutnow?token={instruction.order_reference}"
    assert (await world.provider.look_up(instruction)).action_url == outcome.action_url
    assert await world.effects() == []
    await world.control("POST", "approve", token=instruction.order_reference, account="action")
    assert (await world.provider.look_up(instruction)).kind is OutcomeKind.APPROVED
    again = replace(instruction, key="key_2", wallet_token="")
    assert (await world.provider.execute(again)).kind is OutcomeKind.CAPTURED
    assert (await world.provider.execute(instruction)).kind is OutcomeKind.CAPTURED, "told, not done again"
    assert await world.effects() == [("capture", 1250)]


async def test_an_order_that_paypal_will_not_make_is_refused_and_one_that_broke_is_not(world: World) -> None:
    order = replace(await world.prepared(CHARGE), key="key_2", object_id="pay_2", payment_id="pay_2")
    await world.fault("orders.create", "decline", issue="PAYEE_ACCOUNT_RESTRICTED")
    with pytest.raises(PrepareRefused) as refusal:
        await world.provider.prepare(order)
    assert refusal.value.outcome.decline_code is DeclineCode.MERCHANT_ACCOUNT
    for kind in ("lost_answer", "error_after", "throttled", "garbage", "wrong_amount", "wrong_currency"):
        await world.fault("orders.create", kind)
        with pytest.raises(ProviderUnavailable):
            await world.provider.prepare(order)
    reference = await world.provider.prepare(order)
    assert len((await world.control("GET", "books"))["orders"]) == 2, "the same key, the same order"
    assert reference == (await world.control("GET", "books"))["orders"][1]["id"]
    assert await world.effects() == []


# --- Webhooks --------------------------------------------------------------------------------------


def said(notices: list[Notice]) -> list[tuple[str, str, OutcomeKind | None]]:
    return [(item.event_type, item.object_id, item.outcome.kind if item.outcome else None) for item in notices]


async def test_a_charge_is_told_with_our_ids_and_paypals(world: World) -> None:
    instruction = await world.prepared(CHARGE)
    await world.delivered()
    outcome = await world.provider.execute(instruction)
    notices = await world.delivered()
    told = next(item for item in notices if item.event_type == "PAYMENT.CAPTURE.COMPLETED")
    assert (told.kind, told.operation, told.object_id) == (NoticeKind.OUTCOME, CHARGE, "pay_1")
    assert (told.order_reference, told.reference) == (instruction.order_reference, outcome.reference)
    assert told.outcome == replace(outcome, debug_id="")


async def test_a_hold_its_capture_and_a_refund_are_told_with_their_parents(world: World) -> None:
    capture = await world.prepared(CAPTURE, amount=1000, final=False)
    captured = await world.provider.execute(capture)
    refund = replace(
        capture, kind=REFUND, key="key_3", object_id="ref_1", amount=400, target_reference=captured.reference
    )
    await world.provider.execute(refund)
    await world.provider.execute(replace(capture, kind=VOID, key="key_4", object_id="pay_1"))
    notices = [item for item in await world.delivered() if item.kind is NoticeKind.OUTCOME]
    assert said(notices) == [
        ("PAYMENT.AUTHORIZATION.CREATED", "pay_1", OutcomeKind.AUTHORIZED),
        ("PAYMENT.CAPTURE.COMPLETED", "cap_1", OutcomeKind.CAPTURED),
        ("PAYMENT.CAPTURE.REFUNDED", "ref_1", OutcomeKind.REFUNDED),
        ("PAYMENT.AUTHORIZATION.VOIDED", "pay_1", OutcomeKind.VOIDED),
    ]
    assert [item.operation for item in notices] == [AUTHORIZE, CAPTURE, REFUND, VOID]
    assert notices[1].parent_reference == capture.target_reference
    assert notices[2].parent_reference == captured.reference
    amounts = [item.outcome.amount for item in notices if item.outcome]
    assert amounts == [1250, 1000, 400, None]
    confirmed = [await world.provider.confirm(notice) for notice in notices]
    assert notices[1].outcome is not None
    since = replace(notices[1].outcome, provider_code="PARTIALLY_REFUNDED")
    assert confirmed[1] == replace(notices[1], outcome=since)
    assert confirmed[2] == replace(notices[2], order_reference=capture.order_reference)
    assert confirmed[3] == notices[3]
    assert confirmed[0] == replace(notices[3], event_id=notices[0].event_id, event_type=notices[0].event_type)


async def test_a_pending_charge_is_told_twice(world: World) -> None:
    instruction = await world.prepared(CHARGE, "echeck-bounces")
    await world.provider.execute(instruction)
    first = [item for item in await world.delivered() if item.kind is NoticeKind.OUTCOME]
    world.at(NOW + MINUTE)
    second = [item for item in await world.delivered() if item.kind is NoticeKind.OUTCOME]
    assert [kind for _, _, kind in said(first + second)] == [OutcomeKind.PENDING, OutcomeKind.DECLINED]
    assert {item.object_id for item in first + second} == {"pay_1"}


async def test_what_is_done_at_paypals_own_pages_is_told_without_an_id_of_ours(world: World) -> None:
    refund = await world.prepared(REFUND)
    await world.delivered()
    await world.control("POST", "dashboard/reverse", capture_id=refund.target_reference)
    (told,) = await world.delivered()
    assert (told.event_type, told.operation, told.object_id) == ("PAYMENT.CAPTURE.REVERSED", REFUND, "")
    assert told.parent_reference == refund.target_reference
    assert told.outcome == Outcome(OutcomeKind.REFUNDED, told.reference, 1250, "EUR", provider_code="COMPLETED")
    assert await world.provider.confirm(told) == replace(told, order_reference=refund.order_reference)


async def test_a_permission_taken_back_is_told_and_confirmed_once_it_is_gone(world: World) -> None:
    token = (await world.wallet()).token
    early = Notice("WH-1", "VAULT.PAYMENT-TOKEN.DELETED", NoticeKind.WALLET_REVOKED, wallet_token=token)
    assert await world.provider.confirm(early) is None
    await world.delivered()
    await world.control("POST", "dashboard/revoke", token=token)
    (told,) = await world.delivered()
    assert (told.kind, told.wallet_token) == (NoticeKind.WALLET_REVOKED, token)
    assert await world.provider.confirm(told) == told


async def test_an_approval_is_told_with_our_payment_and_confirmed_until_the_order_is_paid(world: World) -> None:
    instruction = await world.prepared(CHARGE, "action", return_url=RETURN_URL)
    await world.provider.execute(instruction)
    await world.control("POST", "approve", token=instruction.order_reference, account="action")
    told = (await world.delivered())[-1]
    assert (told.event_type, told.operation, told.object_id) == ("CHECKOUT.ORDER.APPROVED", CHARGE, "pay_1")
    assert told.outcome is not None
    assert (told.outcome.kind, told.order_reference) == (OutcomeKind.APPROVED, instruction.order_reference)
    assert await world.provider.confirm(told) == told
    await world.provider.execute(replace(instruction, key="key_2", wallet_token=""))
    paid = await world.provider.confirm(told)
    assert paid is not None
    assert paid.kind is NoticeKind.OTHER


async def test_what_paypal_does_not_have_is_not_confirmed(world: World) -> None:
    refund = await world.prepared(REFUND)
    for notice in (
        Notice("WH-1", "PAYMENT.CAPTURE.COMPLETED", NoticeKind.OUTCOME, CHARGE, reference="9ZZ"),
        Notice("WH-2", "PAYMENT.CAPTURE.REFUNDED", NoticeKind.OUTCOME, REFUND, reference=refund.target_reference),
        Notice("WH-3", "PAYMENT.CAPTURE.COMPLETED", NoticeKind.OUTCOME, CHARGE, reference="../orders"),
    ):
        assert await world.provider.confirm(notice) is None
    await world.fault("captures.get", "error_before")
    with pytest.raises(ProviderUnavailable):
        await world.provider.confirm(Notice("WH-4", "PAYMENT.CAPTURE.COMPLETED", NoticeKind.OUTCOME, reference="9ZZ"))


async def test_a_delivery_for_another_subscription_or_with_another_body_is_refused(world: World) -> None:
    await world.provider.execute(await world.prepared(CHARGE))
    world.paypal.advance(world.now)
    transmission = world.paypal.state.webhooks.take_due(world.now)[-1]
    assert (await world.provider.read_webhook(transmission.headers, transmission.body)).event_id
    with pytest.raises(WebhookRefused):
        await world.provider.read_webhook(transmission.headers, transmission.body + b" ")
    foreign = {**transmission.headers, "paypal-cert-url": "http://127.0.0.1:7611/v1/notifications/certs/CERT-1"}
    with pytest.raises(WebhookRefused):
        await world.provider.read_webhook(foreign, transmission.body)
    world.at(NOW + 4 * 24 * 60 * MINUTE)
    with pytest.raises(WebhookRefused):
        await world.provider.read_webhook(transmission.headers, transmission.body)
