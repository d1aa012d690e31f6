"""The whole play: set-up, the acts, the books, the check."""

from __future__ import annotations

from comptoir import AsyncClient
from comptoir.chat import Conversation
from comptoir.v1 import Referral, RegisterUserRequest
from comptoir_server.demo.browser import Browser
from comptoir_server.demo.failure import Failure
from comptoir_server.demo.ledger import compare, read_ledger, show_ledger
from comptoir_server.demo.processes import Processes
from comptoir_server.demo.screen import Screen
from comptoir_server.demo.site import AIRLINE, SERVER, Keys, Site
from comptoir_server.demo.standin import Standin
from comptoir_server.demo.story import ACTS, AD, AD_REFERENCE, Cast
from comptoir_server.demo.transcript import Transcript
from comptoir_server.runtime import Runtime

MARKET, TIME_ZONE = "US", "America/New_York"


async def play(site: Site, locale: str, processes: Processes, screen: Screen, runtime: Runtime) -> None:
    """Raises Failure at the first thing that does not go as it has to."""
    screen.heading("Setting up")
    with screen.step("Making a database and keys"):
        keys = await site.prepare(processes)
    await site.start(processes, keys, screen, runtime)
    async with (
        AsyncClient(site.addresses.grpc, keys.operator) as operator,
        Standin(runtime, site.addresses.standin) as standin,
    ):
        before = await read_ledger(operator)
        await _act(site, keys, locale, standin, screen, runtime)
        after = await read_ledger(operator)
        screen.heading("The ledger, and PayPal's own books")
        show_ledger(screen, before, after, locale)
        await compare(screen, standin, before, after, locale)
    screen.heading("Every invariant, checked on the database")
    with screen.step("Ending the bot, then the server"):
        await processes.stop(AIRLINE)
        await processes.stop(SERVER)
    if code := await site.check(processes):
        raise Failure(f"`comptoir-server check` ended with exit code {code}.")


async def _act(site: Site, keys: Keys, locale: str, standin: Standin, screen: Screen, runtime: Runtime) -> None:
    ada = RegisterUserRequest(
        channel_user_id=runtime.new_id("ada"), display_name="Ada", market=MARKET, locale=locale, time_zone=TIME_ZONE
    )
    referral = Referral(source=Referral.SOURCE_AD, ad_id=AD, ref=AD_REFERENCE)
    async with AsyncClient(site.addresses.grpc, keys.channel) as channel, Browser(runtime) as browser:
        conversation = await Conversation.open(channel, keys.bot_id, ada, referral)
        cast = Cast(screen, conversation, Transcript(conversation, screen), browser, standin)
        for number, (title, act) in enumerate(ACTS, start=1):
            screen.heading(f"{number}. {title}")
            await act(cast)
