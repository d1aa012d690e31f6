"""Plants each defect in a process of its own and demands that its gate fails there, as a test fails.

Processes are forked from one that has imported the server, so that each costs its gate and little more.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import random
import selectors
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.defects.planting import Unplantable
from tests.defects.registry import ASSERTION, found

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
    waiting = list(reversed(cases))
    with selectors.DefaultSelector() as running:
        while waiting or running.get_map():
            while waiting and len(running.get_map()) < workers:
                begun = _Fork(waiting.pop())
                running.register(begun.said, selectors.EVENT_READ, begun)
            for key, _ in running.select(timeout=1):
                running.unregister(key.fileobj)
                yield key.data.verdict()
            for key in list(running.get_map().values()):
                key.data.bound()


def _warm_up() -> None:
    """Imports what every gate needs, and starts the one PostgreSQL that they share."""
    os.chdir(REPOSITORY)
    for name in OFTEN:
        importlib.import_module(name)
    from tests.support import databases

    os.environ[databases.VARIABLE] = databases.postgresql_server()
    gc.collect()
    gc.freeze()  # or every fork would go through all that was imported, at the end of each test


class _Fork:
    """One process, and the pipe on which it says what came of its case."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.began = time.monotonic()
        self.log = tempfile.TemporaryFile()  # noqa: SIM115 - it is the child's, and read when that has ended
        said, saying = os.pipe()
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(said)
            _be_child(case, self.log.fileno(), saying)
        os.close(saying)
        self.said = os.fdopen(said, "rb")

    def bound(self) -> None:
        """Ends a process that takes too long."""
        if time.monotonic() - self.began > BOUND_SECONDS:
            os.kill(self.pid, signal.SIGKILL)

    def verdict(self) -> Verdict:
        """What it said, once it has ended."""
        said = self.said.read()
        self.said.close()
        _, status = os.waitpid(self.pid, 0)
        self.log.seek(0)
        log = self.log.read().decode(errors="replace")
        self.log.close()
        code = os.waitstatus_to_exitcode(status)
        failures = [Failure(**one) for one in json.loads(said or b"[]")]
        return Verdict(self.case, code, failures, log, time.monotonic() - self.began)


def _be_child(case: Case, log: int, saying: int) -> None:
    """Runs the gates and ends this process, past everything that its parent would do at its end."""
    code = 70
    try:
        os.dup2(log, 1)
        os.dup2(log, 2)
        witness = _Witness()
        options = [*OPTIONS, *(part for name in UNUSED for part in ("-p", f"no:{name}"))]
        planted = [part for name in case.defects for part in ("--defect", name)]
        code = int(pytest.main([*options, *planted, *case.gates], plugins=[witness]))
        os.write(saying, json.dumps([asdict(one) for one in witness.failures]).encode())
    except BaseException:  # noqa: BLE001 - it has nobody to go to but the log
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


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
