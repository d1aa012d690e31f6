"""The disk is full: what needs room is refused cleanly, what needs none goes on, and with room again all is well."""

from __future__ import annotations

import asyncio
import errno
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import grpc
import httpx
import psycopg
import pytest

from comptoir import line_item, money, total_of
from comptoir.errors import ProviderUnavailable
from comptoir.v1 import (
    CreateCheckoutRequest,
    GetCheckoutRequest,
    ListCheckoutsRequest,
    ListEventsRequest,
)
from tests.support import fuse
from tests.support.bank import MASTER_KEY
from tests.support.customers import Customers, buying, new_customers
from tests.support.databases import new_postgresql, postgresql_server
from tests.support.kernel import require_mounts
from tests.support.power_cuts import open_disk
from tests.support.processes import QUICK, open_site
from tests.support.reckoning import read, require_equal_books
from tests.support.shop import Person, Shop, open_shop, until

SLOW_SECONDS = 0.5
"""How long the stand-in keeps its answers to itself: when the disk fills, somebody's money has moved."""

FULL_SECONDS = 2.0
ANSWERED_SECONDS = 3.0
TRIES = 400
TABLESPACE_BYTES = 24 << 20
BLOCK = 1 << 16

pytestmark = pytest.mark.timeout(600)


@dataclass(frozen=True)
class Room:
    """A database on a disk that can be filled up."""

    database: str
    folder: Path
    fill: Callable[[], Awaitable[None]]
    free: Callable[[], Awaitable[None]]


@asynccontextmanager
async def sqlite_room(folder: Path) -> AsyncIterator[Room]:
    """An embedded database on a disk of our own."""
    async with open_disk(folder) as disk:
        yield Room(
            f"sqlite:///{disk.folder}/comptoir.db",
            disk.folder,
            lambda: disk.leave_room(0),
            lambda: disk.leave_room(None),
        )


@asynccontextmanager
async def postgresql_room(_folder: Path) -> AsyncIterator[Room]:
    """A database whose tables lie on a small disk of their own."""
    server = postgresql_server()
    place = Path(tempfile.mkdtemp(prefix="comptoir-space-"))
    fuse.mount_memory(place, TABLESPACE_BYTES)
    shutil.chown(place, "pgserver")
    name = f"space_{place.name.rpartition('-')[2].lower()}"
    filler = place / "filler"

    async def fill() -> None:
        with filler.open("wb", buffering=0) as file, suppress(OSError):
            while file.write(bytes(BLOCK)):
                pass

    async def free() -> None:
        filler.unlink()

    try:
        with psycopg.connect(server, autocommit=True) as operator:
            operator.execute(f"CREATE TABLESPACE {name} LOCATION '{place}'".encode())
            database = new_postgresql(tablespace=name)
            yield Room(database, place, fill, free)
            operator.execute(f"DROP DATABASE {psycopg.conninfo.conninfo_to_dict(database)['dbname']}".encode())
            operator.execute(f"DROP TABLESPACE {name}".encode())
    finally:
        fuse.unmount(place)
        place.rmdir()


def checkout_of(person: Person, reference: str) -> CreateCheckoutRequest:
    """A request that writes a little, known by its reference."""
    items = [line_item("Flight", money(24_000, "USD"), item_reference="CM417")]
    return CreateCheckoutRequest(
        request_id=reference,
        session_id=person.session_id,
        items=items,
        total=total_of(items),
        partner_reference=reference,
    )


async def first_refusal(shop: Shop, person: Person) -> tuple[CreateCheckoutRequest, ProviderUnavailable]:
    """Writes until that is refused; the request, and what was said."""
    for number in range(TRIES):
        request = checkout_of(person, f"full-{number}")
        try:
            await shop.partner.checkouts.create_checkout(request, timeout_seconds=ANSWERED_SECONDS)
        except ProviderUnavailable as refusal:
            return request, refusal
    raise AssertionError(f"{TRIES} requests, and the disk is not full")


async def made(shop: Shop, reference: str) -> int:
    """How many checkouts have this reference."""
    found = await shop.partner.checkouts.list_checkouts(ListCheckoutsRequest(partner_reference=reference))
    return len(found.checkouts)


async def require_reads(shop: Shop, customers: Customers) -> None:
    """What needs no room goes on."""
    bought = customers.said[0]
    request = GetCheckoutRequest(checkout_id=bought.checkout.checkout_id)
    assert (await bought.person.services.checkouts.get_checkout(request)).checkout == bought.answer.checkout
    assert (await shop.partner.events.list_events(ListEventsRequest(page_size=1))).events
    async with httpx.AsyncClient() as client:
        assert (await client.get(f"{shop.site.server.pages}/healthz")).status_code == httpx.codes.OK


async def test_the_disk_of_this_harness_does_fill_up(tmp_path: Path) -> None:
    require_mounts()
    async with sqlite_room(tmp_path) as room:
        await room.fill()
        with pytest.raises(OSError, match="No space left") as full:
            (room.folder / "more").write_bytes(b"more")
        await room.free()
        (room.folder / "more").write_bytes(b"more")
    assert full.value.errno == errno.ENOSPC


@pytest.mark.parametrize("make_room", [sqlite_room, postgresql_room], ids=["sqlite", "postgresql"])
async def test_a_full_disk_refuses_cleanly_loses_nothing_and_heals_by_itself(
    tmp_path: Path, make_room: Callable[[Path], AbstractAsyncContextManager[Room]]
) -> None:
    require_mounts()
    async with make_room(tmp_path) as room:
        opened = open_site(tmp_path / "site", room.database, master_key=MASTER_KEY, options=QUICK)
        async with opened as site, open_shop(site) as shop:
            customers = await new_customers(shop, "full", 3)
            async with buying(customers) as traffic:
                await until(lambda: len(customers.said) >= 6, "people buy")
                await site.standin.fault("orders.capture", "latency", seconds=SLOW_SECONDS, times=0)
                await until(lambda: bool(read(room.database).undecided), "somebody's money is on its way")
                await room.fill()

                request, refusal = await first_refusal(shop, customers.people[0])

                assert refusal.code == grpc.StatusCode.UNAVAILABLE
                assert "Nothing was done." in str(refusal)
                assert await made(shop, request.partner_reference) == 0
                await asyncio.sleep(FULL_SECONDS)
                await require_reads(shop, customers)
                assert site.server.child.running
                assert customers.contradictions(read(room.database)) == []

                before = len(customers.said)
                await room.free()
                await shop.partner.checkouts.create_checkout(request)
                assert await made(shop, request.partner_reference) == 1
                await until(lambda: len(customers.said) > before + 3, "people buy again")
                await traffic.end()
            await until(lambda: not read(room.database).undecided, "everything is decided", 60)
            assert await customers.repeat(customers.said) == []
            assert await site.server.stop() == 0
            account = read(room.database)
            assert customers.contradictions(account) == []
            require_equal_books(account, await site.standin.books())
            code, said = await site.check()
            assert code == 0, said
        print(f"{len(customers.said)} answers, {dict(account.states)}, evidence {dict(account.evidence)}; {refusal}")
