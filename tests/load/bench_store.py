"""Measures the batching transaction: payments of two transactions and eight rows each, on both databases.

    python tests/load/bench_store.py URL [CONCURRENCY [PAYMENTS [PROCESSES]]]

Prints payments a second, CPU a payment (of the Python processes), and the mean batch. A payment is: claim a request,
lock a checkout, insert a payment and an event; then lock the checkout again, insert four postings and an event.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import resource
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

from comptoir_server.runtime import Runtime
from comptoir_server.store import writer
from comptoir_server.store.database import Database
from comptoir_server.store.tx import Tx
from comptoir_server.store.work import Job
from tests.support.till import (
    CHECKOUTS,
    CLAIMS,
    Checkout,
    Claim,
    Event,
    Line,
    Payment,
    Posting,
    State,
    open_till,
)

LINES = (Line("Seat 12A", 1000, ("window",)), Line("Bag", 250))


async def prepare(url: str, names: Sequence[str]) -> None:
    """Makes the tables and an open checkout for each payment."""
    database = await open_till(url)

    def checkouts(chunk: Sequence[str]) -> object:
        async def work(tx: Tx) -> None:
            for name in chunk:
                tx.put(Checkout(name, "prt", name, State.OPEN, 1250, lines=LINES))

        return database.write(work)

    for start in range(0, len(names), 500):
        await checkouts(names[start : start + 500])  # type: ignore[misc]
    await database.close()


async def pay(database: Database, name: str, log: str) -> None:
    """One payment: two transactions, eight new rows, two updates."""

    async def begin(tx: Tx) -> str:
        claim, checkout = await tx.load(CLAIMS.lock(("prt", "confirm", name)), CHECKOUTS.lock(name))
        if claim is not None:
            return claim.answer
        assert checkout is not None
        assert checkout.state is State.OPEN
        payment = Payment(tx.new_id("pay"), name, State.PROCESSING, checkout.amount)
        tx.put(replace(checkout, state=State.PROCESSING, version=checkout.version + 1))
        tx.put(payment)
        tx.put(Claim("prt", "confirm", name, payment.id))
        tx.put(Event(tx.new_id("evt"), log, name, "checkout.processing"))
        tx.after_commit(log)
        return payment.id

    async def end(tx: Tx) -> None:
        checkout = await tx.load(CHECKOUTS.lock(name))
        assert checkout is not None
        assert checkout.state is State.PROCESSING
        tx.put(replace(checkout, state=State.PAID, version=checkout.version + 1))
        for line in range(4):
            tx.put(Posting(payment_id, line, f"acc_{line}", 1250 if line % 2 else -1250))
        tx.put(Event(tx.new_id("evt"), log, name, "checkout.completed"))
        tx.after_commit(log)

    payment_id = await database.write(begin)
    await database.write(end)


async def measure(url: str, names: Sequence[str], concurrency: int, log: str) -> tuple[float, float, float, float]:
    """Payments a second, CPU us a payment, mean batch, 99th percentile in ms."""
    sizes: list[int] = []
    run_batch = writer.Writer.run_batch

    def counting(self: writer.Writer, jobs: list[Job]) -> writer.Steps[list[Job]]:
        sizes.append(len(jobs))
        return run_batch(self, jobs)

    writer.Writer.run_batch = counting  # type: ignore[method-assign]
    database = await open_till(url)
    left: Iterator[str] = iter(names)
    latencies: list[float] = []

    async def client() -> None:
        for name in left:
            begun = time.perf_counter()
            await pay(database, name, log)
            latencies.append(time.perf_counter() - begun)

    used, begun = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    await asyncio.gather(*(client() for _ in range(concurrency)))
    seconds, now = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_SELF)
    cpu = now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime
    begun = time.perf_counter()
    for name in names[:2000]:
        await database.read(lambda tx, name=name: tx.load(CHECKOUTS.get(name)))  # type: ignore[misc]
    reads = (time.perf_counter() - begun) / min(len(names), 2000) * 1e6
    print(f"  point read alone: {reads:.0f} us")
    await database.close()
    latencies.sort()
    p99 = latencies[int(len(latencies) * 0.99)] * 1e3
    return len(names) / seconds, cpu / len(names) * 1e6, statistics.mean(sizes), p99


def process(url: str, names: Sequence[str], concurrency: int, log: str) -> tuple[float, float, float, float]:
    """One server process's worth."""
    return asyncio.run(measure(url, names, concurrency, log))


def main(url: str, concurrency: int = 64, payments: int = 8000, processes: int = 1) -> None:
    """Prepares, measures, prints."""
    runtime = Runtime()
    names = [runtime.new_id("chk") for _ in range(payments)]
    asyncio.run(prepare(url, names))
    shares = [(url, names[i::processes], concurrency // processes, "prt_log") for i in range(processes)]
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        results = pool.starmap(process, shares)
    rate = sum(result[0] for result in results)
    cpu, batch = (statistics.mean(result[i] for result in results) for i in (1, 2))
    print(
        f"{url.partition(':')[0]} concurrency={concurrency} processes={processes}: {rate:.0f} payments/s, "
        f"{cpu:.0f} us CPU a payment, batch {batch:.1f}, p99 {max(result[3] for result in results):.1f} ms"
    )


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
