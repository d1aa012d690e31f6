"""The bench measures what it says: every part runs, on slices too small to say anything of speed."""

from __future__ import annotations

import io
import json
import math
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from comptoir_server.runtime import Runtime
from comptoir_server.transport.boundary import Boundary
from tests.load import calls, stages
from tests.load.bench import NAMES, OTHERS, run
from tests.load.bench_shop import BenchShop, store
from tests.load.measured_server import open_deps
from tests.load.past import fill, recorded
from tests.load.programs import started
from tests.load.report import TARGETS, Report, Section
from tests.load.stand import CAPTURE, CONFIRM, Scale, Stand, open_stands
from tests.load.wire import CALLERS
from tests.support.databases import POSTGRESQL, SQLITE, new_sqlite

TINY = Scale(
    rounds=1,
    calls=dict.fromkeys(calls.METHODS, CALLERS),
    warm_up=CALLERS,
    subscribers=2,
    fan_out_confirms=CALLERS,
    idle_streams=2,
    past_payments=(1, CALLERS + 2),
    pgbench_scale=1,
    pgbench_seconds=1,
    starts=1,
)
PARTNERS_EVENTS, ALL_EVENTS = 6, 7
"""How many events of a confirm the partner is told, and how many there are: the receipt is the channel's alone."""

WAITING = f"stages.database-writer.{stages.WAIT}"

PARTS: dict[str, set[str]] = {
    "fan-out": {"fan-out.rate", "fan-out.deliveries", "fan-out.p50_ms", "fan-out.p99_ms", "fan-out.confirm_ratio"},
    "streams": {"streams.before_bytes", "streams.after_bytes"},
    "cold-start": {"cold-start.bare", "cold-start.ready", "cold-start.serving", "cold-start.to_bare"},
    "data-size": {"data-size.rate_ratio", "data-size.cpu_ratio", "data-size.base.rate", "data-size.compared.rate"},
    "one-by-one": {"one-by-one.rate_ratio", "one-by-one.cpu_ratio", "one-by-one.base.rate"},
    "profile": {"threads.loop.ran", f"stages.loop.{stages.STORE}", f"stages.database-writer.{stages.COMMIT}", WAITING},
}
"""What each part shows; all of it is more than nothing."""


class KeptStands:
    """Stands that stay open, one for each choice of options: where nothing is compared, parts can share a server."""

    def __init__(self, folder: Path, held: ExitStack) -> None:
        self._folder = folder
        self._held = held
        self._open: dict[tuple[str, ...], Stand] = {}

    @contextmanager
    def __call__(self, *commands: tuple[str, ...]) -> Iterator[tuple[Stand, ...]]:
        missing = [options for _, *options in commands if tuple(options) not in self._open]
        opened = self._held.enter_context(open_stands(*((new_sqlite(self._folder), *each) for each in missing)))
        self._open.update(zip(map(tuple, missing), opened, strict=True))
        yield tuple(self._open[tuple(options)] for _, *options in commands)


@pytest.fixture(scope="module")
def stands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KeptStands]:
    """Stands on SQLite, until the last test of this file has ended."""
    with ExitStack() as held:
        yield KeptStands(tmp_path_factory.mktemp("bench"), held)


def measured(stands: KeptStands, *names: str) -> tuple[Report, str]:
    """What these parts show on SQLite, and the text of it."""
    text = io.StringIO()
    report = run(Console(file=text, width=100), names, [SQLITE], TINY, stands)
    return report, text.getvalue()


def figures_of(report: Report) -> dict[str, float]:
    return {name: value for _, section in report.sections for name, value in section.figures.items()}


def test_a_payment_that_is_refused_ends_the_measurement_instead_of_counting(
    stands: KeptStands, capfd: pytest.CaptureFixture[str]
) -> None:
    def confirm_unknown(about: dict[str, Any]) -> None:
        checkouts = [["chk_00000000000000000000000000"]] * CALLERS
        with started("tests.load.load_generator") as load:
            load.tell(about)
            load.ask({"order": "call", "method": CONFIRM, "calls": CALLERS, "checkouts": checkouts})

    with stands(("",)) as (stand,), pytest.raises(SystemExit, match="ended"):
        confirm_unknown(stand.about)

    assert "NOT_FOUND" in capfd.readouterr().err


def test_a_target_that_is_missed_is_called_not_met_and_one_that_is_reached_met() -> None:
    report, console = Report(), Console(file=io.StringIO(), width=100)
    for target in TARGETS:
        for database in (SQLITE, POSTGRESQL):
            report.add(database, Section("", "", (), (), {target.figure: target.limit}), console)
            worse = target.limit * (0.9 if target.at_least else 1.1)
            report.add(database, Section("", "", (), (), {target.figure: worse}), console)

    judged = report.judged()

    assert [met for _, _, _, met in judged] == [True, False] * (len(judged) // 2)
    assert [(target.figure, database) for database, target, _, met in judged if met] == [
        ("confirm.rate_to_empty", SQLITE),
        ("confirm.rate_to_tpc_b", POSTGRESQL),
        ("read.rate_to_empty", SQLITE),
        ("read.rate_to_empty", POSTGRESQL),
        ("confirm.cpu_to_empty", SQLITE),
        ("confirm.cpu_to_empty", POSTGRESQL),
    ]


async def test_a_past_has_as_many_payments_as_were_asked_for_each_with_all_its_rows() -> None:
    deps = await open_deps("sqlite:///:memory:", Runtime(), inline=True)
    boundary, shop = Boundary(deps), BenchShop(deps)
    await store(deps, shop.records)
    with recorded() as rows:
        await fill(deps, boundary, shop, CALLERS + 6)
    await deps.store.close()

    real = CALLERS + 1  # one of each person, and the one before that made the accounts
    kinds = Counter(kind.__name__ for kind, _ in rows)
    payments = real + CALLERS + 6
    assert kinds["Payment"] == kinds["Checkout"] == kinds["Order"] == kinds["Capture"] == payments
    assert kinds["Operation"] == kinds["JournalTransaction"] == kinds["Request"] == payments
    assert kinds["Event"] == ALL_EVENTS * payments


def test_every_part_is_run_by_this_suite_but_the_one_that_needs_postgresql() -> None:
    assert set(NAMES) == {*calls.METHODS, *PARTS, "pgbench"}
    assert set(OTHERS) == {*PARTS, "pgbench"}


def test_calls_are_shown_against_the_empty_one_in_a_table_and_in_a_file(stands: KeptStands, tmp_path: Path) -> None:
    report, text = measured(stands, *calls.METHODS)

    figures = figures_of(report)
    assert {name.partition(".")[0] for name in figures} == set(calls.METHODS)
    assert all(math.isfinite(value) and value > 0 for value in figures.values())
    assert figures["empty.rate_to_empty"] == figures["empty.cpu_to_empty"] == 1.0
    assert all(words in text for words in calls.WORDS.values())
    assert "\x1b" not in text
    report.write(tmp_path / "bench.json", TINY)
    written = json.loads((tmp_path / "bench.json").read_text(encoding="utf-8"))
    assert [section["figures"] for section in written["sections"]] == [figures]
    assert [target["figure"] for target in written["targets"]] == [
        "confirm.rate_to_empty",
        "read.rate_to_empty",
        "confirm.cpu_to_empty",
    ]
    assert written["scale"]["calls"][CAPTURE] == CALLERS


@pytest.mark.parametrize("name", PARTS)
def test_a_part_shows_its_figures(stands: KeptStands, name: str) -> None:
    report, text = measured(stands, name)

    figures = figures_of(report)
    assert PARTS[name] <= set(figures)
    assert all(math.isfinite(value) for value in figures.values())
    assert all(figures[each] > 0 for each in PARTS[name])
    assert f"1/1: {name}" in text
    if name == "fan-out":
        assert figures["fan-out.deliveries"] == TINY.subscribers * CALLERS * PARTNERS_EVENTS
