"""Bots that run beside a test and never wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager

from comptoir import AsyncBot, Bot
from comptoir._runtime import Runtime


async def _no_wait(_: float) -> None:
    await asyncio.sleep(0)


IMPATIENT = Runtime(sleep=lambda _: None, sleep_async=_no_wait, uniform=lambda low, high: high)


@asynccontextmanager
async def running(bot: AsyncBot | Bot) -> AsyncIterator[None]:
    """Runs a bot, and stops it at the end."""
    work: Awaitable[None] = bot.run() if isinstance(bot, AsyncBot) else asyncio.to_thread(bot.run)
    task = asyncio.ensure_future(work)
    try:
        yield
    finally:
        bot.stop()
        await task
