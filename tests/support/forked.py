"""Functions run in processes of their own, forked from one that has imported what they all need."""

from __future__ import annotations

import json
import os
import selectors
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

CRASHED = 70
"""The exit code of a process whose function raised."""


@dataclass(frozen=True)
class Job:
    """What to run, which answers something that JSON can hold, and for how long at most."""

    name: str
    run: Callable[[], Any]
    seconds_max: float


@dataclass(frozen=True)
class Ended:
    """What a process answered, None where it ended before: of itself, or because its time was over."""

    job: Job
    answer: Any
    code: int
    late: bool
    log: str
    seconds: float


def run_forked(jobs: Iterable[Job], workers: int) -> Iterator[Ended]:
    """What came of the jobs, as they end, `workers` of them at a time."""
    waiting = iter(jobs)
    with selectors.DefaultSelector() as running:
        while True:
            while len(running.get_map()) < workers and (job := next(waiting, None)) is not None:
                begun = _Fork(job)
                running.register(begun.said, selectors.EVENT_READ, begun)
            if not running.get_map():
                return
            for key, _ in running.select(timeout=0.2):
                running.unregister(key.fileobj)
                yield key.data.end()
            for key in list(running.get_map().values()):
                key.data.bound()


class _Fork:
    """One process, head of a group with all that it starts, and the pipe on which it answers."""

    def __init__(self, job: Job) -> None:
        self.job, self.late, self.began = job, False, time.monotonic()
        self.log = tempfile.TemporaryFile()  # noqa: SIM115 - it is the child's, and read when that has ended
        said, saying = os.pipe()
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(said)
            _be_child(job, self.log.fileno(), saying)
        os.close(saying)
        self.said = os.fdopen(said, "rb")

    def bound(self) -> None:
        """Ends a process that takes too long, and those that it started."""
        if not self.late and time.monotonic() - self.began > self.job.seconds_max:
            self.late = True
            os.killpg(self.pid, signal.SIGKILL)

    def end(self) -> Ended:
        """What came of it, once it has closed the pipe."""
        said = self.said.read()
        self.said.close()
        _, status = os.waitpid(self.pid, 0)
        self.log.seek(0)
        log = self.log.read().decode(errors="replace")
        self.log.close()
        answer = json.loads(said) if said else None
        seconds = time.monotonic() - self.began
        return Ended(self.job, answer, os.waitstatus_to_exitcode(status), self.late, log, seconds)


def _be_child(job: Job, log: int, saying: int) -> None:
    """Runs the job and ends this process, past everything that its parent would do at its end."""
    code = CRASHED
    try:
        os.setpgid(0, 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        answer = json.dumps(job.run()).encode()
        with os.fdopen(saying, "wb") as pipe:
            pipe.write(answer)
        code = 0
    except BaseException:  # noqa: BLE001 - it has nobody to go to but the log
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
