"""The client whose calls wait for their answer."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Self

import grpc

from comptoir._calls import Calls
from comptoir._connection import CHANNEL_OPTIONS, call_metadata, channel_credentials
from comptoir._method import DEFAULT_SECONDS
from comptoir._runtime import Runtime
from comptoir._streams import Events, Sessions
from comptoir.services import (
    CheckoutMethods,
    LedgerMethods,
    OrderMethods,
    PartnerMethods,
    PaymentMethods,
    UserMethods,
    WalletMethods,
)


class Services:
    """Every service, called as one caller."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self.checkouts = CheckoutMethods(calls)
        self.events = Events(calls)
        self.ledger = LedgerMethods(calls)
        self.orders = OrderMethods(calls)
        self.partners = PartnerMethods(calls)
        self.payments = PaymentMethods(calls)
        self.sessions = Sessions(calls)
        self.users = UserMethods(calls)
        self.wallets = WalletMethods(calls)

    def with_request_ids(self, draw: Callable[[str], str]) -> Services:
        """The same caller, with empty request ids drawn by a function of the method's name, such as `SendMessage`.

        Where ids follow from what causes the calls, doing it all again repeats the calls instead of making new ones.
        """
        return Services(self._calls.acting_with(request_ids=draw))


class Client(Services):
    """A connection to Comptoir.

        with Client("localhost:7600", key) as client:
            session = client.sessions.get_session(GetSessionRequest(session_id=session_id)).session

    A method takes and returns the messages of the contract and raises ComptoirError, one class for each reason. An
    empty `request_id` is filled in, once for each call. A call that nobody answers, or that the server asks to repeat,
    is sent again with the same `request_id`, so that it is done once however often it is sent.
    """

    def __init__(
        self,
        target: str,
        key: str,
        *,
        user_id: str | None = None,
        timeout_seconds: float = DEFAULT_SECONDS,
        insecure: bool | None = None,
        root_certificates: bytes | None = None,
        channel: grpc.Channel | None = None,
        runtime: Runtime | None = None,
    ) -> None:
        """Opens no connection yet: the first call does.

        `target` is `host:port` or `unix:/path`. `key` is an API key, a channel key or a user's token. `user_id` is the
        user that a channel acts for. `timeout_seconds` is what a call may take in all, retries included; methods in
        which a provider may take longer have their own limit, and each call takes another `timeout_seconds`.

        TLS is used except on this machine; `insecure` says otherwise, `root_certificates` (PEM) replaces the system's.
        `channel` and `runtime` are for tests; a channel that was given is not closed.
        """
        metadata = call_metadata(key, user_id)
        self._key = key
        self._own_channel = None
        if channel is None:
            credentials = channel_credentials(target, insecure, root_certificates)
            channel = self._own_channel = (
                grpc.insecure_channel(target, CHANNEL_OPTIONS)
                if credentials is None
                else grpc.secure_channel(target, credentials, CHANNEL_OPTIONS)
            )
        super().__init__(Calls(channel, metadata, timeout_seconds, runtime or Runtime()))

    def for_user(self, user_id: str) -> Services:
        """The services as a channel calls them for one of its users; it shares this client's connection."""
        return Services(self._calls.acting_with(metadata=call_metadata(self._key, user_id)))

    def close(self) -> None:
        """Ends the connection, and every call that is under way on it."""
        if self._own_channel is not None:
            self._own_channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
