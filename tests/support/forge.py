"""Processes from an interpreter that has imported the server already, for tests that start one again and again.

Run as a program it reads one JSON list of arguments a line, forks a process that is `comptoir-server` with those
arguments, and says its pid; when that has ended, it says how. Imports are most of the time that a server takes to
start, and nothing else happens before the fork.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from tests.support import altered

COMMAND = (sys.executable, "-m", "tests.support.forge")
REPOSITORY = Path(__file__).resolve().parents[2]


class Forged:
    """A forked process, with what is used of `asyncio.subprocess.Process`."""

    def __init__(self, pid: int, ending: asyncio.Task[int]) -> None:
        self.pid = pid
        self._ending = ending

    @property
    def returncode(self) -> int | None:
        """Its exit code, minus the signal that killed it; None while it runs."""
        return self._ending.result() if self._ending.done() else None

    async def wait(self) -> int:
        """Its exit code, once it has ended."""
        return await asyncio.shield(self._ending)

    def send_signal(self, number: signal.Signals) -> None:
        """Sends a signal."""
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Ends it at once."""
        self.send_signal(signal.SIGKILL)


class Forge:
    """The interpreter that forks, one process at a time."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None

    async def start(self, arguments: tuple[str, ...], output: BinaryIO, environment: Mapping[str, str]) -> Forged:
        """A new process. The first call decides about output and environment."""
        if self._process is None:
            self._process = await asyncio.create_subprocess_exec(
                *COMMAND,
                cwd=REPOSITORY,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=output,
                env=dict(environment),
            )
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(arguments).encode() + b"\n")
        pid = await self._said()
        return Forged(pid, asyncio.create_task(self._said()))

    async def _said(self) -> int:
        assert self._process is not None
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        assert line, "the forge has ended"
        return int(line)

    async def close(self) -> None:
        """Ends the interpreter; what it forked must have ended before."""
        if self._process is not None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            await self._process.wait()


def work() -> None:
    """Forks until its input ends."""
    import uvloop  # noqa: F401 - as `serve` does

    import comptoir_server.main  # noqa: F401 - as `serve` does
    from comptoir_server import cli

    said, output = os.dup(1), 2
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(output, 1)
            os.close(said)
            altered.alter(altered.orders(os.environ))
            sys.argv = ["comptoir-server", *json.loads(line)]
            cli.main()
            return
        os.write(said, b"%d\n" % pid)
        _, status = os.waitpid(pid, 0)
        os.write(said, b"%d\n" % os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    work()
