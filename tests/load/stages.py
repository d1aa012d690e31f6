"""Where the time of a thread goes, by stage of a payment: cProfile in the thread, its functions sorted into stages.

What the profiler cannot see: the threads of gRPC's core and of the database's own processes, and who holds the
interpreter (a thread that waits for it seems busy where it waits). It makes small functions of Python look dearer than
they are, and time inside of compiled code counts for the function that called it.
"""

from __future__ import annotations

import cProfile
import threading
from collections import defaultdict
from collections.abc import Callable
from types import CodeType
from typing import Any

from comptoir_server.runtime import Runtime

GRPC, CONVERT, ACCESS = "gRPC call", "convert and validate", "credentials and sealing"
USE_CASES, STORE, DRIVER, COMMIT = "domain and use cases", "store", "SQL driver and statements", "commit"
RUNTIME, LOG, JSON, READABLE = "ids, clock, tasks", "log and metrics", "JSON", "money and dates as people read them"
EVENT_LOOP, WAIT, REST = "event loop", "wait", "the rest of Python"

RECORDS = "<string>"
"""Where the compiled `__init__` of a record says that it stands."""

FILES: tuple[tuple[str, str], ...] = (
    ("/app/credentials", ACCESS),
    ("/vault", ACCESS),
    ("joserfc", ACCESS),
    ("cryptography", ACCESS),
    ("/hmac.py", ACCESS),
    ("/hashlib.py", ACCESS),
    ("/transport/server", GRPC),
    ("/transport/observe", LOG),
    ("/transport/", CONVERT),
    ("protobuf", CONVERT),
    ("/comptoir_server/runtime", RUNTIME),
    ("/comptoir_server/log", LOG),
    ("structlog", LOG),
    ("/logging/", LOG),
    ("prometheus", LOG),
    ("/json/", JSON),
    ("babel", READABLE),
    ("/comptoir_server/app/", USE_CASES),
    ("/comptoir_server/domain/", USE_CASES),
    ("/load/instant", USE_CASES),
    (RECORDS, USE_CASES),
    ("/comptoir_server/store/", STORE),
    ("sqlalchemy", DRIVER),
    ("psycopg", DRIVER),
    ("grpc", GRPC),
    ("uvloop", EVENT_LOOP),
    ("asyncio", EVENT_LOOP),
)
BUILTINS: tuple[tuple[str, str], ...] = (
    ("sqlite3.", DRIVER),
    ("psycopg", DRIVER),
    ("SimpleQueue", WAIT),
    ("_thread.lock", WAIT),
    ("select.", WAIT),
    ("time.sleep", WAIT),
    ("cygrpc", GRPC),
)
"""What is known by its own name; every other built-in function belongs to the stage of its caller."""

LOOP = "loop"
"""The thread that everything but a wait runs in, or only what does not touch the database."""

Seconds = dict[str, float]


class Profiler:
    """Profiles of threads, by the threads' names."""

    def __init__(self) -> None:
        self._profiles: dict[str, cProfile.Profile] = {}

    def start_here(self, name: str) -> None:
        """Profiles the thread that calls, from now on."""
        self._profiles[name] = profile = cProfile.Profile()
        profile.enable()

    def seconds(self) -> dict[str, Seconds]:
        """So far: of each thread, the seconds in each stage. From one look to the next, they only grow."""
        return {name: by_stage(profile.getstats()) for name, profile in self._profiles.items()}


class ObservedRuntime(Runtime):
    """The real runtime, which notes the threads it starts; with a profiler, each of them is profiled."""

    def __init__(self, profiler: Profiler | None) -> None:
        super().__init__()
        self.thread_ids: dict[str, int] = {}
        self._profiler = profiler

    def thread(self, target: Callable[[], None], name: str) -> threading.Thread:
        def observed() -> None:
            self.thread_ids[name] = threading.get_native_id()
            if self._profiler is not None:
                self._profiler.start_here(name)
            target()

        return super().thread(observed, name)


def by_stage(entries: list[Any]) -> Seconds:
    """Sorts what cProfile has counted: own time of functions, built-in ones by who called them, commits as a whole."""
    stages: defaultdict[str, float] = defaultdict(float)
    known: defaultdict[str, float] = defaultdict(float)
    for entry in (entry for entry in entries if isinstance(entry.code, CodeType)):
        stage = stage_of(entry.code.co_filename)
        stages[stage] += entry.inlinetime
        for called in entry.calls or ():
            if isinstance(called.code, str):
                stages[stage_of_builtin(called.code, stage)] += called.inlinetime
                known[called.code] += called.inlinetime
        if is_commit(entry.code):
            below = entry.totaltime - entry.inlinetime
            stages[COMMIT] += below
            stages[DRIVER] -= below
    for entry in (entry for entry in entries if isinstance(entry.code, str)):
        # A caller that has not returned yet, such as a thread's own loop, is not among the entries.
        stages[stage_of_builtin(entry.code, REST)] += max(entry.inlinetime - known[entry.code], 0.0)
    return dict(stages)


def is_commit(code: CodeType) -> bool:
    """Whether a function is the commit of a session of the store: all that it waits for is the commit's."""
    return code.co_name == "commit" and "/comptoir_server/store/" in code.co_filename


def stage_of(file: str) -> str:
    """The stage of a function of Python."""
    return next((stage for part, stage in FILES if part in file), REST)


def stage_of_builtin(name: str, callers: str) -> str:
    """The stage of a built-in function whose caller belongs to the stage `callers`."""
    return next((stage for part, stage in BUILTINS if part in name), callers)
