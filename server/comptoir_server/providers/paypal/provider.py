"""PayPal behind the `Provider` protocol: prepare, execute, look up, link, and read webhooks.

A charge is two calls. The first makes an order without a payment source, which moves nothing; its id
is stored. The second captures or authorises that order with the saved wallet. PayPal cannot be
searched by our reference, but the order can be read for as long as it lives, so doubt about the
second call can be decided after PayPal forgot our key.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from comptoir_server.app.ports import (
    Capabilities,
    DeclineCode,
    Instruction,
    LinkedWallet,
    LinkRefused,
    LinkStart,
    Notice,
    NoticeKind,
    OperationKind,
    Outcome,
    OutcomeKind,
    PrepareRefused,
    ProviderUnavailable,
)
from comptoir_server.domain.records import replace
from comptoir_server.providers.paypal import convert, requests, webhook
from comptoir_server.providers.paypal.amounts import NotRepresentable
from comptoir_server.providers.paypal.answers import Json, Unreadable, link, required_text, text
from comptoir_server.providers.paypal.capabilities import paypal_capabilities
from comptoir_server.providers.paypal.certificates import Certificates
from comptoir_server.providers.paypal.client import UNAUTHORIZED, Answer, CallFailed, PaypalClient
from comptoir_server.providers.paypal.config import PaypalConfig
from comptoir_server.providers.paypal.issues import IN_DOUBT, NAME_BY_STATUS, Problem, read_problem
from comptoir_server.providers.paypal.requests import NotAskable
from comptoir_server.runtime import Runtime

NO_CONTENT = 204
NOT_FOUND = 404
UNDONE = frozenset({OutcomeKind.ABSENT, OutcomeKind.APPROVED})
"""What reading finds where nothing was executed."""

_SENT = {kind: f"{kind.lower()}.sent" for kind in OperationKind} | {OperationKind.AUTHORIZE: "charge.sent"}
"""The fault point of each operation, reached once PayPal may have read the request."""

LINK_REFUSALS = frozenset({400, NOT_FOUND, 422})
"""Answers to an exchange which say that the payer did not approve, cancelled, or came too late."""


class PaypalProvider:
    """The connector of one PayPal application. It stores nothing but its access token and certificates."""

    def __init__(self, config: PaypalConfig, runtime: Runtime) -> None:
        self._config = config
        self._runtime = runtime
        self._client = PaypalClient(config, runtime)
        self._certificates = Certificates(config, self._client)
        self._capabilities = paypal_capabilities(config.call_limit_seconds, config.settle_seconds)

    @property
    def capabilities(self) -> Capabilities:
        """What PayPal can do and promises."""
        return self._capabilities

    async def begin_link(self, key: str, return_url: str, cancel_url: str) -> LinkStart:
        """Makes a setup token; the payer approves it at PayPal. Raises ProviderUnavailable."""
        try:
            body = requests.setup_token_body(return_url, cancel_url)
            answer = await self._post(requests.SETUP_TOKENS, requests.request_id(key, "setup"), body)
            token = _made(answer)
            reference = requests.require_token(required_text(token, "id"))
            return LinkStart(reference, self._payer_url(link(token, "approve", "payer-action")))
        except (CallFailed, Unreadable, NotAskable) as failure:
            raise ProviderUnavailable(f"PayPal did not begin the link: {failure}") from None

    async def complete_link(self, key: str, reference: str) -> LinkedWallet:
        """Exchanges an approved setup token. Raises LinkRefused, ProviderUnavailable."""
        try:
            body = requests.payment_token_body(reference)
            answer = await self._post(requests.PAYMENT_TOKENS, requests.request_id(key, "token"), body)
            if answer.status in LINK_REFUSALS:
                raise LinkRefused(f"PayPal refused the link: {read_problem(answer.status, answer.json()).issue}")
            wallet = convert.linked_wallet(_made(answer))
            requests.require_token(wallet.token)
            return wallet
        except (CallFailed, Unreadable, NotAskable) as failure:
            raise ProviderUnavailable(f"PayPal did not complete the link: {failure}") from None

    async def revoke_link(self, token: str) -> None:
        """Deletes a payment token; one that PayPal does not know is fine. Raises ProviderUnavailable."""
        try:
            path = requests.token_path(token)
        except NotAskable:
            return  # it has not the form of a token, so PayPal never gave it out
        try:
            answer = await self._client.call(self._client.deadline(), "DELETE", path)
        except CallFailed as failure:
            raise ProviderUnavailable(f"PayPal did not delete the token: {failure}") from None
        if not answer.ok and answer.status != NOT_FOUND:
            raise ProviderUnavailable(f"PayPal did not delete the token: status {answer.status}")

    async def prepare(self, instruction: Instruction) -> str:
        """Makes the order, without a payment source. Raises PrepareRefused, ProviderUnavailable."""
        try:
            body = requests.order_body(instruction)
            answer = await self._post(requests.ORDERS, requests.request_id(instruction.key, "order"), body)
            if answer.ok:
                return convert.prepared_order(answer.json(), instruction)
            problem = read_problem(answer.status, answer.json())
        except NotRepresentable:
            outcome = Outcome(OutcomeKind.DECLINED, decline_code=DeclineCode.DO_NOT_HONOR, provider_code="AMOUNT")
            raise PrepareRefused(outcome) from None
        except (CallFailed, Unreadable, NotAskable) as failure:
            raise ProviderUnavailable(f"PayPal did not make the order: {failure}") from None
        if problem.rule == IN_DOUBT:
            raise ProviderUnavailable(f"PayPal did not make the order: {problem.issue or answer.status}")
        raise PrepareRefused(_declined(problem, answer))

    async def execute(self, instruction: Instruction) -> Outcome:
        """Captures, authorises, voids or refunds, once. Never raises; what is not understood is IN_DOUBT.

        NOT_SENT and THROTTLED speak of this call alone, not of an earlier one with the same key.
        """
        deadline = self._client.deadline()
        answer = None
        try:
            path, body = requests.execution(instruction)
            key = requests.request_id(instruction.key, "execute")
            answer = await self._client.call(
                deadline, "POST", path, request_id=key, body=body, sent=_SENT[instruction.kind]
            )
            if not answer.ok:
                return await self._refused(deadline, answer, instruction)
            return self._executed(answer, instruction)
        except (NotAskable, NotRepresentable):
            return Outcome(OutcomeKind.NOT_SENT, provider_code="NOT_ASKABLE")
        except CallFailed as failure:
            return Outcome(failure.kind, provider_code=failure.code)
        except Unreadable as failure:
            return Outcome(OutcomeKind.IN_DOUBT, provider_code=f"UNREADABLE:{failure}", debug_id=_debug_id(answer))

    async def look_up(self, instruction: Instruction) -> Outcome:
        """Reads at PayPal what became of an operation. IN_DOUBT when PayPal's answer does not decide it."""
        return await self._look_up(self._client.deadline(), instruction)

    async def read_webhook(self, headers: Mapping[str, str], body: bytes) -> Notice:
        """Verifies a delivery without asking PayPal, and reads it. Raises WebhookRefused, ProviderUnavailable."""
        now = self._runtime.today()
        delivery = webhook.read_delivery(headers, body)
        webhook.require_fresh(delivery, now)
        key = await self._certificates.signing_key(delivery.certificate_url, now)
        webhook.require_signature(delivery, self._config.webhook_id, key)
        return webhook.read_notice(body)

    async def confirm(self, notice: Notice) -> Notice | None:
        """Reads the named object from PayPal's API and tells it anew. Raises ProviderUnavailable."""
        if notice.kind is NoticeKind.OTHER:
            return notice
        deadline = self._client.deadline()
        try:
            if notice.kind is NoticeKind.WALLET_REVOKED:
                token = await self._found(deadline, requests.token_path(notice.wallet_token))
                return notice if token is None else None
            resource = await self._found(deadline, webhook.path_of(notice))
            if resource is None:
                return None
            told = webhook.confirmed(notice, resource)
            if told.operation is not OperationKind.REFUND or not told.parent_reference:
                return told
            # A refund made at PayPal's own pages names nothing of ours but, by its capture, the order.
            capture = await self._get(deadline, requests.CAPTURES, told.parent_reference)
            return replace(told, order_reference=convert.related_order(capture))
        except NotAskable:
            return None  # it has not the form of an id, so PayPal never gave it out
        except (CallFailed, Unreadable) as failure:
            raise ProviderUnavailable(f"PayPal did not confirm a notice: {failure}") from None

    async def close(self) -> None:
        """Closes connections."""
        await self._client.close()

    async def _post(self, path: str, request_id: str, body: dict[str, object]) -> Answer:
        return await self._client.call(self._client.deadline(), "POST", path, request_id=request_id, body=body)

    def _executed(self, answer: Answer, instruction: Instruction) -> Outcome:
        """What a 2xx answer says. It must name what was made: an order without a payment contradicts it."""
        if instruction.kind is OperationKind.VOID and answer.status == NO_CONTENT:
            return Outcome(OutcomeKind.VOIDED, reference=instruction.target_reference, debug_id=answer.debug_id)
        made = answer.json()
        outcome = self._with_action(convert.made_outcome(made, instruction), made)
        if outcome.kind in UNDONE:
            outcome = replace(outcome, kind=OutcomeKind.IN_DOUBT)
        return replace(outcome, debug_id=answer.debug_id)

    async def _refused(self, deadline: float, answer: Answer, instruction: Instruction) -> Outcome:
        """What a non-2xx answer proves, after a read-back where the table of issues asks for one."""
        problem = _problem(answer)
        if problem.rule == IN_DOUBT:
            # Without a token that PayPal accepts it reads nothing; every other such answer proves nothing.
            kind = OutcomeKind.NOT_SENT if answer.status == UNAUTHORIZED else OutcomeKind.IN_DOUBT
            return Outcome(kind, provider_code=problem.issue or str(answer.status), debug_id=answer.debug_id)
        if problem.rule.read_back:
            found = await self._look_up(deadline, instruction)
            if found.kind not in UNDONE or problem.rule.decline is None:
                kind = OutcomeKind.IN_DOUBT if found.kind in UNDONE else found.kind
                return replace(found, kind=kind, provider_code=problem.issue, debug_id=answer.debug_id)
        declined = _declined(problem, answer)
        if declined.decline_code is DeclineCode.PAYER_ACTION_NEEDED:
            order = replace(declined, kind=OutcomeKind.REQUIRES_ACTION, reference=instruction.order_reference)
            return self._with_action(order, answer.json())
        return declined

    async def _look_up(self, deadline: float, instruction: Instruction) -> Outcome:
        if not instruction.object_id:
            return Outcome(OutcomeKind.IN_DOUBT, provider_code="NO_OBJECT_ID")
        try:
            if instruction.kind in requests.INTENTS:
                return await self._look_up_order(deadline, instruction)
            if instruction.kind is OperationKind.VOID:
                held = await self._get(deadline, requests.AUTHORIZATIONS, instruction.target_reference)
                return convert.made_outcome(held, instruction)
            return await self._look_up_in_order(deadline, instruction)
        except CallFailed as failure:
            return Outcome(OutcomeKind.IN_DOUBT, provider_code=failure.code)
        except (Unreadable, NotAskable) as failure:
            return Outcome(OutcomeKind.IN_DOUBT, provider_code=f"UNREADABLE:{failure}")

    async def _look_up_order(self, deadline: float, instruction: Instruction) -> Outcome:
        """A charge or an authorization. Without an order nothing can have been executed on it."""
        if not instruction.order_reference:
            return convert.ABSENT
        order = await self._get(deadline, requests.ORDERS, instruction.order_reference)
        return self._with_action(convert.order_outcome(order, instruction), order)

    async def _look_up_in_order(self, deadline: float, instruction: Instruction) -> Outcome:
        """A capture or a refund: listed in the order, which its authorization or capture names if we do not."""
        capturing = instruction.kind is OperationKind.CAPTURE
        reference = instruction.order_reference
        if not reference:
            collection = requests.AUTHORIZATIONS if capturing else requests.CAPTURES
            target = await self._get(deadline, collection, instruction.target_reference)
            reference = convert.related_order(target)
        order = await self._get(deadline, requests.ORDERS, reference)
        if convert.resource_id(order) != reference:
            raise Unreadable("id")
        return (convert.capture_in_order if capturing else convert.refund_in_order)(order, instruction)

    async def _get(self, deadline: float, collection: str, reference: str) -> Json:
        """A resource that must be there. A missing one proves nothing: uncompleted orders are forgotten in hours."""
        found = await self._found(deadline, requests.resource_path(collection, reference))
        if found is None:
            raise CallFailed(OutcomeKind.IN_DOUBT, f"LOOK_UP_{NOT_FOUND}")
        return found

    async def _found(self, deadline: float, path: str) -> Json | None:
        """The resource at `path`, None when PayPal has none there. Raises CallFailed for any other answer."""
        answer = await self._client.call(deadline, "GET", path)
        if answer.status == NOT_FOUND and text(answer.json(), "name") == NAME_BY_STATUS[NOT_FOUND]:
            return None
        if answer.status != 200:
            raise CallFailed(OutcomeKind.IN_DOUBT, f"LOOK_UP_{answer.status}")
        return answer.json()

    def _with_action(self, outcome: Outcome, resource: Json) -> Outcome:
        """`outcome` with the address for the payer; a step that PayPal gives no address for is a refusal."""
        if outcome.kind is not OutcomeKind.REQUIRES_ACTION:
            return outcome
        try:
            return replace(
                outcome, decline_code=None, action_url=self._payer_url(link(resource, "payer-action", "approve"))
            )
        except Unreadable:
            return replace(outcome, kind=OutcomeKind.DECLINED, decline_code=DeclineCode.PAYER_ACTION_NEEDED)

    def _payer_url(self, url: str) -> str:
        """An address that a payer may be sent to: https at PayPal, or our stand-in itself. Raises Unreadable."""
        try:
            parts = urlsplit(url)
            host = parts.hostname or ""
        except ValueError:
            raise Unreadable("approve link") from None
        ours = urlsplit(self._config.base_url)
        at_paypal = parts.scheme == "https" and parts.netloc == host and host.endswith(".paypal.com")
        at_stand_in = (parts.scheme, parts.netloc) == (ours.scheme, ours.netloc)
        if not url.isascii() or not url.isprintable() or not (at_paypal or at_stand_in):
            raise Unreadable("approve link")
        return url


def _made(answer: Answer) -> Json:
    """The object that was made. Raises Unreadable for any other answer."""
    if answer.status not in {200, 201}:
        raise Unreadable(f"status {answer.status}")
    return answer.json()


def _problem(answer: Answer) -> Problem:
    """What an answer proves that is not 2xx: nothing at all, unless it is an error as PayPal documents them."""
    try:
        return read_problem(answer.status, answer.json())
    except Unreadable:
        return Problem(f"STATUS_{answer.status}", IN_DOUBT)


def _declined(problem: Problem, answer: Answer) -> Outcome:
    return Outcome(
        OutcomeKind.DECLINED,
        decline_code=problem.rule.decline or DeclineCode.DO_NOT_HONOR,
        provider_code=problem.issue,
        debug_id=answer.debug_id,
    )


def _debug_id(answer: Answer | None) -> str:
    return answer.debug_id if answer else ""
