"""Children that are spoken to in lines of JSON, and what the kernel counts of them."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

END_SECONDS = 20
ERROR_BYTES = 4000


@dataclass(frozen=True)
class Times:
    """What one thread did, in seconds, by the kernel's own count: ran, and waited for a core."""

    ran: float
    queued: float


@dataclass
class Program:
    """One child."""

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
        """What all its threads together have used."""
        return sum(times.ran for times in self.threads().values())

    def threads(self) -> dict[int, Times]:
        """What each of its threads has done, by the kernel's number of it."""
        found: dict[int, Times] = {}
        for task in Path(f"/proc/{self.child.pid}/task").iterdir():
            try:
                ran, queued, _ = (task / "schedstat").read_text().split()
            except (FileNotFoundError, ProcessLookupError):  # it ended between the two looks
                continue
            found[int(task.name)] = Times(int(ran) / 1e9, int(queued) / 1e9)
        return found

    def memory_bytes(self) -> int:
        """What it holds in memory."""
        lines = Path(f"/proc/{self.child.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))


@contextmanager
def started(module: str, *arguments: str) -> Iterator[Program]:
    """A child that runs `module`, ended when the block is left; what it complained of is shown when that fails."""
    command = [sys.executable, "-m", module, *arguments]
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True) as child,
    ):
        try:
            yield Program(child)
        except BaseException:
            errors.seek(0)
            sys.stderr.write(errors.read()[-ERROR_BYTES:].decode(errors="replace"))
            raise
        finally:
            end(child)


def end(child: subprocess.Popen[str]) -> None:
    """Closes its standard input, and ends it where it does not end of that."""
    assert child.stdin is not None
    with suppress(BrokenPipeError):
        child.stdin.close()
    try:
        child.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
