"""What servers ask of the stand-in, written down by each process itself: what, and from when to when.

The alteration `overhear` of `tests.support.altered` writes one file a process; a call that has no end in it went on
until the process was killed.
"""

from __future__ import annotations

import json
import os
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

KEY = "paypal-request-id"


@dataclass(frozen=True)
class Call:
    """One call of a process that carries out an instruction, known by the key that it is sent with."""

    process: int
    key: str
    begin: float
    end: float


def overhear(folder: str) -> None:
    """From now on this process writes down the calls that it makes with a key."""
    import httpx

    notes = os.open(Path(folder, f"{os.getpid()}.calls"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    send = httpx.AsyncClient.send

    async def sending(client: httpx.AsyncClient, request: httpx.Request, **options: Any) -> httpx.Response:
        key = request.headers.get(KEY, "")
        if key:
            os.write(notes, json.dumps({"key": key, "begin": time.monotonic()}).encode() + b"\n")
        try:
            return await send(client, request, **options)
        finally:
            if key:
                os.write(notes, json.dumps({"key": key, "end": time.monotonic()}).encode() + b"\n")

    httpx.AsyncClient.send = sending  # type: ignore[method-assign,assignment]


def calls_in(folder: Path, killed: Mapping[int, float]) -> list[Call]:
    """The calls of every process; `killed` says when a process was."""
    return [call for path in folder.glob("*.calls") for call in _calls(path, killed)]


def _calls(path: Path, killed: Mapping[int, float]) -> list[Call]:
    process, begun, calls = int(path.stem), dict[str, float](), list[Call]()
    for line in path.read_text(encoding="utf-8").splitlines():
        note = json.loads(line)
        if "begin" in note:
            begun[note["key"]] = note["begin"]
        else:
            calls.append(Call(process, note["key"], begun.pop(note["key"]), note["end"]))
    return calls + [Call(process, key, begin, killed[process]) for key, begin in begun.items()]


def driven_by_two(calls: Iterable[Call]) -> list[str]:
    """The instructions that two processes were sending at the same time."""
    sends: dict[str, list[Call]] = defaultdict(list)
    for call in calls:
        sends[call.key].append(call)
    return [
        f"{key} was sent by processes {one.process} and {other.process} at once"
        for key, sent in sends.items()
        for i, one in enumerate(sent)
        for other in sent[i + 1 :]
        if one.process != other.process and one.begin < other.end and other.begin < one.end
    ]
