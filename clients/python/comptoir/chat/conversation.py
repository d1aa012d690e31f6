"""One person in one conversation, as a channel speaks for them. Nothing but the public contract is used."""

from __future__ import annotations

from collections.abc import AsyncIterator

from comptoir.aio import AsyncClient, AsyncServices
from comptoir.v1 import (
    BotProfile,
    Button,
    ConfirmCheckoutRequest,
    ConfirmCheckoutResponse,
    ConfirmWalletLinkRequest,
    GetBotProfileRequest,
    Message,
    MessageContent,
    OpenSessionRequest,
    PayButton,
    Postback,
    Referral,
    RegisterUserRequest,
    SendMessageRequest,
    Session,
    StartWalletLinkRequest,
    TextContent,
    User,
    Wallet,
    WalletLink,
)


class Conversation:
    """What a person can do: say, press, link a wallet, carry the code back, pay."""

    def __init__(self, services: AsyncServices, user: User, session: Session, bot: BotProfile) -> None:
        self._services = services
        self.user = user
        self.session = session
        self.bot = bot

    @classmethod
    async def open(
        cls, client: AsyncClient, bot_id: str, person: RegisterUserRequest, referral: Referral | None = None
    ) -> Conversation:
        """Registers the person with the channel whose key `client` has, and opens the session with the bot.

        Raises NotFound for a bot that is not live.
        """
        user = (await client.users.register_user(person)).user
        services = client.for_user(user.user_id)
        bot = (await services.partners.get_bot_profile(GetBotProfileRequest(bot_id=bot_id))).profile
        request = OpenSessionRequest(bot_id=bot_id, referral=referral)
        session = (await services.sessions.open_session(request)).session
        return cls(services, user, session, bot)

    async def messages(self, after_sequence: int = 0) -> AsyncIterator[Message]:
        """Everything that is said, from `after_sequence` on, for ever."""
        async for message in self._services.sessions.stream_messages(self.session.session_id, after_sequence):
            yield message

    async def say(self, words: str) -> Message:
        """Says words."""
        return await self._send(MessageContent(text=TextContent(text=words)))

    async def press(self, button: Button) -> Message:
        """Presses a button of the bot's."""
        return await self._send(MessageContent(postback=Postback(title=button.title, payload=button.payload)))

    async def _send(self, content: MessageContent) -> Message:
        request = SendMessageRequest(session_id=self.session.session_id, content=content)
        return (await self._services.sessions.send_message(request)).message

    async def link(self, provider: str) -> WalletLink:
        """Starts linking a wallet; the person opens `link_url`, and comes back with a code."""
        request = StartWalletLinkRequest(provider=provider, session_id=self.session.session_id)
        return (await self._services.wallets.start_wallet_link(request)).wallet_link

    async def confirm_link(self, wallet_link_id: str, code: str) -> Wallet:
        """Completes the link with the code that the page showed."""
        request = ConfirmWalletLinkRequest(wallet_link_id=wallet_link_id, confirmation_code=code)
        return (await self._services.wallets.confirm_wallet_link(request)).wallet

    async def pay(self, checkout_id: str, button: PayButton) -> ConfirmCheckoutResponse:
        """Presses a pay button: the person's yes to the version that it shows."""
        request = ConfirmCheckoutRequest(checkout_id=checkout_id, button_payload=button.payload)
        return await self._services.checkouts.confirm_checkout(request)
