"""Plants each defect in a process of its own and demands that its gate fails there, as a test fails.

Processes are forked from one that has imported the server, so that each costs its gate and little more.
"""

from __future__ import annotations

import functools
import gc
import importlib
import os
import random
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.defects.planting import Unplantable
from tests.defects.registry import ASSERTION, found
from tests.support.forked import Job, run_forked

REPOSITORY = Path(__file__).resolve().parents[2]
BOUND_SECONDS = 280
LOG_MAX = 6_000
OPTIONS = ("-q", "-x", "--assert=plain", "-p", "tests.defects.plugin")
UNUSED = ("cacheprovider", "hypothesispytest", "anyio", "xdist")
"""Plugins whose start costs more than most gates do."""

OFTEN = (
    "comptoir_server.main", "pytest_asyncio.plugin", "pytest_timeout", "tests.support.linking",
    "tests.support.standin_world", "tests.support.till", "tests.support.town",
)  # fmt: skip
"""What most gates import."""


@dataclass(frozen=True)
class Case:
    """Gates to run with defects planted, or with none."""

    defects: tuple[str, ...]
    gates: tuple[str, ...]


@dataclass
class Failure:
    """How one test failed: in which phase, with what, and its first words."""

    test: str
    phase: str
    error: str
    words: str


@dataclass
class Verdict:
    """What came of a case."""

    case: Case
    code: int
    failures: list[Failure] = field(default_factory=list)
    log: str = ""
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        """Whether every gate was run, and passed."""
        return self.code == pytest.ExitCode.OK

    @property
    def fine(self) -> bool:
        """Whether it is as it should be: caught where something is planted, passed where nothing is."""
        if len(self.case.defects) > 1:
            return self.noticed or self.excluded
        return self.caught if self.case.defects else self.passed

    @property
    def noticed(self) -> bool:
        """Whether a gate failed, in whatever way: of two defects one may change how the other shows."""
        return self.code == pytest.ExitCode.TESTS_FAILED and any(one.phase == "call" for one in self.failures)

    @property
    def excluded(self) -> bool:
        """Whether defects break the same words, so that only one of them can be planted."""
        return Unplantable.__name__ in self.log

    @property
    def caught(self) -> bool:
        """Whether a gate failed the way that one of the planted defects makes it fail, and none crashed."""
        symptoms = {found(name).symptom for name in self.case.defects}
        return self.noticed and any(one.phase == "call" and one.error in symptoms for one in self.failures)

    def __str__(self) -> str:
        said = "; ".join(f"{one.phase} {one.error}: {one.words}" for one in self.failures) or f"exit code {self.code}"
        return f"{' + '.join(self.case.defects) or 'no defect'}: {said}"


class _Witness:
    """Notes how tests fail."""

    def __init__(self) -> None:
        self.failures: list[Failure] = []

    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> None:
        if call.excinfo is None or call.excinfo.errisinstance(pytest.skip.Exception):
            return
        error, words = call.excinfo.type.__name__, str(call.excinfo.value).strip().partition("\n")[0]
        words = words or str(call.excinfo.traceback[-1].statement).strip()
        if error == "Failed" and words.startswith("DID NOT RAISE"):
            error = ASSERTION
        self.failures.append(Failure(item.nodeid, call.when, error, words[:200]))


def examine(cases: Sequence[Case], workers: int = 2) -> Iterator[Verdict]:
    """The verdicts on cases, as they are reached."""
    _warm_up()
    jobs = [Job(str(number), functools.partial(_run, case), BOUND_SECONDS) for number, case in enumerate(cases)]
    for ended in run_forked(jobs, workers):
        code, failures = ended.answer or (ended.code, [])
        said = [Failure(**one) for one in failures]
        yield Verdict(cases[int(ended.job.name)], code, said, ended.log, ended.seconds)


def _warm_up() -> None:
    """Imports what every gate needs, and starts the one PostgreSQL that they share."""
    os.chdir(REPOSITORY)
    for name in OFTEN:
        importlib.import_module(name)
    from tests.support import databases

    os.environ[databases.VARIABLE] = databases.postgresql_server()
    gc.collect()
    gc.freeze()  # or every fork would go through all that was imported, at the end of each test


def _run(case: Case) -> tuple[int, list[dict[str, str]]]:
    """Runs the gates in this process: the exit code of pytest, and how tests failed."""
    witness = _Witness()
    options = [*OPTIONS, *(part for name in UNUSED for part in ("-p", f"no:{name}"))]
    planted = [part for name in case.defects for part in ("--defect", name)]
    code = int(pytest.main([*options, *planted, *case.gates], plugins=[witness]))
    return code, [asdict(one) for one in witness.failures]


def cases_of(names: Sequence[str]) -> list[Case]:
    """Each defect with its gate."""
    return [Case((name,), (found(name).gate,)) for name in names]


def pairs_of(names: Sequence[str], count: int, seed: int) -> list[Case]:
    """Two defects at once with the gates of both, `count` times, each pair from a seed of its own."""
    pairs = [random.Random(f"pair {number}").sample(sorted(names), 2) for number in range(seed, seed + count)]
    return [Case(tuple(pair), tuple(sorted({found(name).gate for name in pair}))) for pair in pairs]


def gates_of(names: Sequence[str], parts: int = 2) -> list[Case]:
    """The gates of defects without any defect, in so many parts."""
    gates = sorted({found(name).gate for name in names})
    return [Case((), tuple(gates[part::parts])) for part in range(min(parts, len(gates)))]


def flat(verdict: Verdict) -> dict[str, Any]:
    """A verdict as JSON."""
    return {
        "defects": verdict.case.defects,
        "gates": verdict.case.gates,
        "fine": verdict.fine,
        "excluded": verdict.excluded,
        "said": str(verdict),
        "seconds": round(verdict.seconds, 2),
        "log": "" if verdict.fine else verdict.log[-LOG_MAX:],
    }
