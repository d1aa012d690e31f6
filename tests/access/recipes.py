"""How the owner of an object asks for each method: a request that is answered, with new objects for what changes them.

A method that only reads needs no recipe where ids alone make it: it asks about the side's own live objects.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from google.protobuf.message import Message

from comptoir import line_item, money, total_of
from comptoir.v1 import CaptureMode
from comptoir_server.domain.partners import BotState
from comptoir_server.transport.policy import Method
from tests.access.door import Credential
from tests.access.fields import id_fields
from tests.access.sides import Side

Recipe = Callable[[Side, Credential], Awaitable[dict[str, Any]]]
"""Makes the fields of a request about a side's objects for whoever holds the credential."""


class UnknownToTheEstateError(Exception):
    """The contract has something that the estate cannot ask for. The text says what to add, and where."""


async def nothing(side: Side, _caller: Credential) -> dict[str, Any]:
    """Nothing but the ids of the side's own objects."""
    return {}


async def register_user(side: Side, _caller: Credential) -> dict[str, Any]:
    return {"channel_user_id": f"{side.name} {side.estate.request_id()}", "display_name": "Jo", "market": "US"}


async def named(side: Side, _caller: Credential) -> dict[str, Any]:
    return {"display_name": "Something new"}


async def draft_bot(side: Side, _caller: Credential) -> dict[str, Any]:
    return {"bot_id": await side.estate.new_bot(side.tenant.secret, "A draft", until=BotState.DRAFT)}


async def bot_in_review(side: Side, _caller: Credential) -> dict[str, Any]:
    return {"bot_id": await side.estate.new_bot(side.tenant.secret, "In review", until=BotState.IN_REVIEW)}


async def owned_key(side: Side, _caller: Credential) -> dict[str, Any]:
    return {"owner_id": side.tenant.partner_id}


async def spare_key(side: Side, _caller: Credential) -> dict[str, Any]:
    return {"api_key_id": await side.new_key()}


async def own_session(side: Side, _caller: Credential) -> dict[str, Any]:
    """The side's session, which the next recipe opens again."""
    return {"session_id": side.ids["ses"]}


async def message(side: Side, _caller: Credential) -> dict[str, Any]:
    return {"content": {"text": {"text": "Where is my flight?"}}}


async def conversation(side: Side, _caller: Credential) -> dict[str, Any]:
    """A session in which something was said, or following it would bring nothing."""
    await side.say("Hello?")
    return {"session_id": side.ids["ses"]}


async def acknowledgement(side: Side, caller: Credential) -> dict[str, Any]:
    """Acknowledges the whole log: a cursor is of one, and who asks decides of which."""
    return {"consumer": "till", "cursor": (await side.estate.asked("ListEvents", caller)).next_cursor}


async def subscription(side: Side, _caller: Credential) -> dict[str, Any]:
    return {"subscribe": {"consumer": "till", "max_outstanding": 1000}}


async def market(side: Side, _caller: Credential) -> dict[str, Any]:
    return {"market": "US", "provider": "paypal", "open": True}


async def link_start(side: Side, _caller: Credential) -> dict[str, Any]:
    await side.give_up_links()
    return {"provider": "paypal"}


async def link_code(side: Side, _caller: Credential) -> dict[str, Any]:
    link_id, code = await side.new_link()
    return {"wallet_link_id": link_id, "confirmation_code": code}


async def pending_link(side: Side, _caller: Credential) -> dict[str, Any]:
    link_id, _ = await side.new_link()
    return {"wallet_link_id": link_id}


async def spare_wallet(side: Side, _caller: Credential) -> dict[str, Any]:
    return {"wallet_id": await side.new_wallet()}


async def checkout(side: Side, _caller: Credential) -> dict[str, Any]:
    return {**_price(), "session_id": side.ids["ses"], "replaces_checkout_id": await side.new_checkout()}


async def new_price(side: Side, _caller: Credential) -> dict[str, Any]:
    return {**_price(), "checkout_id": await side.new_checkout(), "version": 1}


async def yes(side: Side, _caller: Credential) -> dict[str, Any]:
    return {"checkout_id": await side.new_checkout(), "version": 1}


async def open_checkout(side: Side, _caller: Credential) -> dict[str, Any]:
    return {"checkout_id": await side.new_checkout()}


async def held_payment(side: Side, _caller: Credential) -> dict[str, Any]:
    return {"payment_id": (await side.new_payment(capture_mode=CaptureMode.CAPTURE_MODE_MANUAL)).payment_id}


async def refund(side: Side, _caller: Credential) -> dict[str, Any]:
    payment_id = (await side.new_payment()).payment_id
    found = await side.by_bot("ListCaptures", payment_id=payment_id)
    return {"payment_id": payment_id, "capture_id": found.captures[0].capture_id, "amount": money(100, "USD")}


def _price() -> dict[str, Any]:
    items = [line_item("Flight", money(12_000, "USD"))]
    return {"items": items, "total": total_of(items)}


RECIPES: dict[str, Recipe] = {
    "RegisterUser": register_user,
    "IssueUserToken": nothing,
    "CreatePartner": named,
    "CreateChannel": named,
    "CreateBot": named,
    "SubmitBot": draft_bot,
    "ApproveBot": bot_in_review,
    "CreateApiKey": owned_key,
    "ListApiKeys": owned_key,
    "RevokeApiKey": spare_key,
    "OpenSession": nothing,
    "CloseSession": own_session,
    "SendMessage": message,
    "StreamMessages": conversation,
    "StreamEvents": subscription,
    "AckEvents": acknowledgement,
    "UpdateMarket": market,
    "StartWalletLink": link_start,
    "ConfirmWalletLink": link_code,
    "CancelWalletLink": pending_link,
    "SetDefaultWallet": nothing,
    "UnlinkWallet": spare_wallet,
    "CreateCheckout": checkout,
    "UpdateCheckout": new_price,
    "ConfirmCheckout": yes,
    "CancelCheckout": open_checkout,
    "CreateCapture": held_payment,
    "VoidPayment": held_payment,
    "CreateRefund": refund,
}
"""By method: the fields beside the ids of the side's own objects, which are filled in wherever none is given."""


async def request_of(method: Method, side: Side, recipes: dict[str, Recipe], caller: Credential) -> Message:
    """A request about the side's own that `caller`, whose it is, is answered. Raises UnknownToTheEstateError."""
    recipe = recipes.get(method.name)
    if recipe is None and not method.reads:
        raise UnknownToTheEstateError(
            f"{method.path} changes something, and nobody in tests/access/recipes.py knows how to ask for it: add a "
            f"recipe for {method.name} to RECIPES that answers the fields of a request which its owner may send."
        )
    given: dict[str, Any] = {}
    if recipe is not None:
        await side.open_session()
        given = await recipe(side, caller)
    request = method.request(**given)
    for field in id_fields(method.request_type):
        if field.drawn or field.get(request):
            continue
        known = [prefix for prefix in field.rule.prefixes if prefix in side.ids]
        if not known:
            raise UnknownToTheEstateError(
                f"{method.path} has the id field {field.name}, and no side of the estate has a live object of its "
                f"kind: make one in Side.furnish of tests/access/sides.py and keep its id under "
                f"{field.rule.prefixes[0]!r}."
            )
        field.put(request, side.ids[known[0]])
    return request
