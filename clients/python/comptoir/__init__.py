"""Comptoir: payments inside a conversation. The client for partners' bots, channels and tools.

    from comptoir import Bot, Client

`Client` and `AsyncClient` call every method of the contract, `Bot` and `AsyncBot` give what happens to your functions.
The messages are in `comptoir.v1`, the exceptions in `comptoir.errors`.
"""

from __future__ import annotations

from comptoir._aio_streams import AsyncEventStream
from comptoir._context import AsyncContext, Context
from comptoir._streams import EventStream
from comptoir._version import __version__
from comptoir.aio import AsyncClient, AsyncServices
from comptoir.bot import AsyncBot, Bot
from comptoir.client import Client, Services
from comptoir.errors import ComptoirError
from comptoir.values import line_item, money, text_content, total_of

__all__ = [
    "AsyncBot",
    "AsyncClient",
    "AsyncContext",
    "AsyncEventStream",
    "AsyncServices",
    "Bot",
    "Client",
    "ComptoirError",
    "Context",
    "EventStream",
    "Services",
    "__version__",
    "line_item",
    "money",
    "text_content",
    "total_of",
]
