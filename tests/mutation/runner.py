"""Runs tests against mutants, each in a process of its own, and says which of them no test noticed.

The processes are forked from one that has imported what the server and the tests need, but neither of these: the first
import of the mutant in a process is the import of the change, so that tables and constants are changed like functions.
A mutant meets only the tests that call the function that it is in, the fastest first.
"""

from __future__ import annotations

import gc
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import random
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import CodeType, FrameType, ModuleType
from typing import Any

import pytest

from tests.mutation.mutants import REPOSITORY, Mutant, mutants_of, path_of
from tests.mutation.scope import Target
from tests.support.forked import CRASHED, Ended, Job, run_forked

OPTIONS = ("-q", "-x", "--assert=plain", "--no-header", "--tb=line", "-k", "not postgresql")
"""The rules are the same on both databases, and SQLite needs no server."""

UNUSED = ("cacheprovider", "hypothesispytest", "anyio", "xdist")
OFTEN = (
    "alembic.command", "cryptography.hazmat.primitives.ciphers.aead", "grpc.aio", "grpc_health.v1.health_pb2",
    "grpc_reflection.v1alpha.reflection", "grpc_status.rpc_status", "httpx", "joserfc.jwk", "joserfc.jwt", "msgspec",
    "psycopg.rows", "pytest_asyncio.plugin", "pytest_timeout", "sqlalchemy.dialects.postgresql",
    "sqlalchemy.dialects.sqlite", "sqlalchemy.pool", "standardwebhooks", "starlette.applications", "structlog",
    "uvicorn",
)  # fmt: skip
"""What most tests import, and is neither the server nor a test."""

MEMORY = Path("/dev/shm")
"""Where the tests' databases lie, if the machine has it: no mutant is found by what a disk does."""

TRACING_SECONDS = 600.0
SLACK, SLACK_SECONDS = 5.0, 4.0
"""A test that takes so many times as long as it should, and a little more, was stopped by the mutant."""


class Fate(StrEnum):
    """What became of a mutant."""

    KILLED = "killed"
    TIMED_OUT = "timed out"
    SURVIVED = "survived"
    UNREACHED = "unreached"


@dataclass(frozen=True)
class Verdict:
    """What became of a mutant; its tests took so long."""

    mutant: Mutant
    fate: Fate
    seconds: float

    @property
    def killed(self) -> bool:
        """Whether a test noticed."""
        return self.fate in (Fate.KILLED, Fate.TIMED_OUT)


class Unfit(Exception):
    """The tests of a module fail, or are none, as it is: they prove nothing about its mutants."""


@dataclass(frozen=True)
class Tests:
    """The tests of a module: how long each takes, and which call the function that begins in a line."""

    seconds: dict[str, float]
    calling: dict[int, list[str]]

    def of(self, mutant: Mutant) -> list[str]:
        """Those that can notice a mutant, the fastest first."""
        names = self.calling.get(mutant.function, []) if mutant.function else list(self.seconds)
        return sorted(names, key=lambda name: self.seconds[name])


def warm_up() -> None:
    """Imports what every mutant needs."""
    os.chdir(REPOSITORY)
    for name in OFTEN:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # or every fork would go through all that was imported


def examine(target: Target, workers: int, share: float) -> Iterator[Verdict]:
    """The verdicts on a share of the mutants of a module, as they are reached."""
    text = path_of(target.module).read_bytes()
    chosen = mutants_of(target.module, text)
    if share < 1:
        count = max(round(len(chosen) * share), 1)
        chosen = sorted(random.Random(target.module).sample(chosen, count), key=lambda mutant: mutant.start)
    with tempfile.TemporaryDirectory(prefix="mutants-", dir=MEMORY if MEMORY.is_dir() else None) as folder:
        yield from _verdicts(chosen, text, traced(target, folder), workers, folder)


def _verdicts(chosen: Sequence[Mutant], text: bytes, tests: Tests, workers: int, folder: str) -> Iterator[Verdict]:
    reached = [mutant for mutant in chosen if tests.of(mutant)]
    yield from (Verdict(mutant, Fate.UNREACHED, 0.0) for mutant in chosen if not tests.of(mutant))
    by_name = {mutant.name: mutant for mutant in reached}
    for ended in run_forked((_job(mutant, text, tests, folder) for mutant in reached), workers):
        yield Verdict(by_name[ended.job.name], _fate(ended), ended.seconds)


def traced(target: Target, folder: str) -> Tests:
    """The tests of a module, seen once without any change. Raises Unfit."""
    (ended,) = run_forked([Job(target.module, lambda: _trace(target, folder), TRACING_SECONDS)], 1)
    answer = ended.answer or {"code": "", "seconds": {}, "calling": {}}
    if answer["code"] != pytest.ExitCode.OK or not answer["seconds"]:
        raise Unfit(f"the tests of {target.module} do not pass as it is:\n{ended.log}")
    return Tests(answer["seconds"], {int(line): names for line, names in answer["calling"].items()})


def _job(mutant: Mutant, text: bytes, tests: Tests, folder: str) -> Job:
    names = tests.of(mutant)
    bounds = {name: SLACK_SECONDS + SLACK * tests.seconds[name] for name in names}
    text = mutant.applied(text)
    return Job(mutant.name, lambda: _meet(mutant, text, bounds, folder), SLACK_SECONDS + sum(bounds.values()))


def _fate(ended: Ended) -> Fate:
    if ended.late:
        return Fate.TIMED_OUT
    if ended.code == CRASHED:
        raise Unfit(f"{ended.job.name} met no test:\n{ended.log}")
    return Fate.SURVIVED if ended.answer == pytest.ExitCode.OK else Fate.KILLED


def _meet(mutant: Mutant, text: bytes, bounds: Mapping[str, float], folder: str) -> int:
    """Runs tests against a mutant, in this process, each for so many seconds at most; the exit code of pytest."""
    sys.meta_path.insert(0, Altered(f"comptoir_server.{mutant.module}", path_of(mutant.module), text))
    return _pytest(list(bounds), folder, _Bounds(bounds))


def _pytest(names: Sequence[str], folder: str, *plugins: object) -> int:
    unused = [part for name in UNUSED for part in ("-p", f"no:{name}")]
    options = [*OPTIONS, *unused, f"--basetemp={folder}/{os.getpid()}"]
    try:
        return int(pytest.main([*options, *names], plugins=list(plugins)))
    except Warning:  # of what a failed test left behind, found as the run ends
        return pytest.ExitCode.INTERNAL_ERROR


class Altered(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Has one module be imported from another text."""

    def __init__(self, name: str, path: Path, text: bytes) -> None:
        self.name, self.path, self.text = name, path, text

    def find_spec(self, name: str, *_: object) -> importlib.machinery.ModuleSpec | None:
        """The module's specification, where it is the one."""
        return importlib.util.spec_from_file_location(name, self.path, loader=self) if name == self.name else None

    def exec_module(self, module: ModuleType) -> None:
        """Runs the other text as the module."""
        exec(compile(self.text, self.path, "exec", dont_inherit=True), module.__dict__)


def _trace(target: Target, folder: str) -> dict[str, Any]:
    """Runs the tests of a module and notes which of its functions each of them calls, in whatever thread."""
    witness = _Witness(str(path_of(target.module)))
    threading.settrace(witness.on_call)
    sys.settrace(witness.on_call)
    code = _pytest(target.tests, folder, witness)
    sys.settrace(None)
    return {
        "code": code,
        "seconds": witness.seconds,
        "calling": {line: sorted(names) for line, names in witness.calling.items()},
    }


class _Bounds:
    """Ends a test that a mutant has wait for what never comes."""

    def __init__(self, seconds: Mapping[str, float]) -> None:
        self.seconds = seconds

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        for item in items:
            item.add_marker(pytest.mark.timeout(self.seconds[item.nodeid]), append=False)


class _Witness:
    """Notes how long tests take and what they call of a file."""

    def __init__(self, path: str) -> None:
        self.path, self.test = path, ""
        self.seconds: dict[str, float] = {}
        self.calling: dict[int, set[str]] = defaultdict(set)

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Leaves out what starts a server: it would outlive a mutant that is ended."""
        items[:] = [item for item in items if "postgresql_url" not in getattr(item, "fixturenames", ())]

    def on_call(self, frame: FrameType, event: str, argument: object) -> None:
        """Is told of every call."""
        code: CodeType = frame.f_code
        if code.co_filename == self.path and self.test:
            self.calling[code.co_firstlineno].add(self.test)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self.test, began = item.nodeid, time.monotonic()
        try:
            return (yield)
        finally:
            self.test, self.seconds[item.nodeid] = "", time.monotonic() - began
