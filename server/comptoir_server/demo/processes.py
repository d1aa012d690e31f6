"""Child processes: started, watched, ended; none is left behind, whatever happens."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from comptoir_server.demo.failure import Failure
from comptoir_server.runtime import Runtime

SERVER_COMMAND = (sys.executable, "-m", "comptoir_server.cli")
"""`comptoir-server`, by the interpreter that runs this."""

STOP_SECONDS = 15.0
"""After which a process that was asked to end is killed."""

RUN_SECONDS = 60.0
TAIL_LINES = 15
_OURS = "COMPTOIR_"
_KEPT = frozenset({"COMPTOIR_MASTER_KEY"})


@dataclass(slots=True)
class Child:
    """A process of ours. `expected` is set before it is asked to end: any other end is a failure."""

    name: str
    process: asyncio.subprocess.Process
    log: Path
    expected: bool = False


class Processes:
    """Starts processes, each with a log of its own, and ends every one of them; used as `async with`.

    They stay in our process group, so that what ends the whole group from outside ends them too.
    """

    def __init__(self, runtime: Runtime, logs: Path, fallen: Callable[[str], None]) -> None:
        """`fallen` is called with the name of a process that ended by itself."""
        self._runtime = runtime
        self._logs = logs
        self._fallen = fallen
        self._children: list[Child] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for child in self._children:
            child.expected = True
        try:
            for child in reversed(self._children):
                await self._end(child)
        finally:
            for child in self._children:
                _kill(child.process)

    async def start(self, name: str, *command: str, environment: Mapping[str, str] | None = None) -> None:
        """Starts a process that is to run until it is stopped."""
        log = self._logs / f"{name}.log"
        with log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=_environment(environment or {}),
            )
        child = Child(name, process, log)
        self._children.append(child)
        self._runtime.spawn(self._watch(child), f"watch {name}")

    async def run(self, name: str, *command: str, captured: bool = True) -> tuple[int, str]:
        """Runs a process to its end and answers its exit code and what it said; on our own output if not `captured`.

        Raises Failure where it takes too long.
        """
        log = self._logs / f"{name}.log"
        output = asyncio.subprocess.PIPE if captured else None
        with log.open("ab") as errors:
            process = await asyncio.create_subprocess_exec(
                *command, stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=errors, env=_environment({})
            )
        try:
            async with asyncio.timeout(RUN_SECONDS):
                said, _ = await process.communicate()
        except TimeoutError:
            raise Failure(f"“{name}” did not end within {RUN_SECONDS:.0f} s.") from None
        finally:
            _kill(process)
        return process.returncode or 0, (said or b"").decode()

    async def stop(self, name: str) -> None:
        """Asks a process to end, and waits for it. Raises Failure where it does not end well."""
        child = next(each for each in self._children if each.name == name)
        await self._end(child)
        if child.process.returncode:
            raise Failure(f"The {name} did not end well: its exit code is {child.process.returncode}.")

    def tails(self) -> list[tuple[Path, list[str]]]:
        """Every log that says anything, with its last lines."""
        found = [
            (path, path.read_text(encoding="utf-8", errors="replace").splitlines())
            for path in sorted(self._logs.glob("*.log"))
        ]
        return [(path, lines[-TAIL_LINES:]) for path, lines in found if lines]

    async def _watch(self, child: Child) -> None:
        await child.process.wait()
        if not child.expected:
            self._fallen(child.name)

    async def _end(self, child: Child) -> None:
        child.expected = True
        if child.process.returncode is not None:
            return
        child.process.terminate()
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await child.process.wait()
        except TimeoutError:
            _kill(child.process)
            await child.process.wait()


def _kill(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()


def _environment(more: Mapping[str, str]) -> dict[str, str]:
    """Ours, without the settings that would reach the commands past their arguments."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_OURS) or name in _KEPT}
    return {**kept, "PYTHONUNBUFFERED": "1", **more}
