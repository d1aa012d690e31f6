"""Logging: one JSON line an event, by allowlist. Money, tokens, names and message text never reach a line.

An exception's text may hold anything: what a provider answered, a statement with its values. Of an exception a line has
its kind, those of its causes, and their frames.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import sys
import threading
import traceback
from collections import deque
from collections.abc import MutableMapping
from contextlib import suppress
from typing import Any, TextIO

import structlog

ALLOWED = frozenset(
    {
        "event",
        "level",
        "timestamp",
        "exception",
        "method",
        "code",
        "reason",
        "reference",
        "caller",
        "owner",
        "key_id",
        "duration_ms",
        "job",
        "provider",
        "object_id",
        "operation_id",
        "state",
        "address",
        "count",
        "mode",
        "signal",
        "logger",
        "place",
    }
)
"""Every key that may stand in a line; any other is dropped before it is written."""


def _only_allowed(_logger: Any, _name: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {key: value for key, value in line.items() if key in ALLOWED}


_CAUSES_MAX = 5


def without_texts(error: BaseException) -> str:
    """The kinds of an exception and of its causes, each with its frames."""
    lines: list[str] = []
    cause: BaseException | None = error
    for _ in range(_CAUSES_MAX):
        if cause is None:
            break
        lines.append(f"{type(cause).__module__}.{type(cause).__qualname__}")
        frames = traceback.extract_tb(cause.__traceback__)
        lines += [f"  {frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
        cause = cause.__cause__ or cause.__context__
    return "\n".join(lines)


def _exceptions(_logger: Any, _name: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Writes down an exception that a line was given, without its text."""
    given = line.pop("exc_info", None)
    error = sys.exc_info()[1] if given is True else given[1] if isinstance(given, tuple) else given
    if isinstance(error, BaseException):
        line["exception"] = without_texts(error)
    return line


class _Libraries(logging.Handler):
    """Writes that a library had something to say, and where. What it said may hold anything and stays out."""

    def emit(self, record: logging.LogRecord) -> None:
        structlog.get_logger().log(
            record.levelno,
            "library",
            logger=record.name,
            place=f"{record.pathname}:{record.lineno}",
            exc_info=record.exc_info,
        )


def _thread_failed(failure: threading.ExceptHookArgs) -> None:
    """Takes the place of the interpreter's own words, which end with the exception's text."""
    structlog.get_logger().error("thread failed", exc_info=failure.exc_value)


class _Lines:
    """Writes lines to a stream, those of one turn of the loop in one piece: a system call for each costs too much."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._waiting: deque[str] = deque()
        self._asked: asyncio.AbstractEventLoop | None = None
        """The loop that will write at the end of its turn."""
        atexit.register(self._write)

    def msg(self, line: str) -> None:
        """Writes a line: at the end of this turn, or now where no loop runs, as in other threads."""
        self._waiting.append(line)
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self._write()
        else:
            if self._asked is not loop:
                self._asked = loop
                loop.call_soon(self._write)

    debug = info = warning = error = critical = msg

    def _write(self) -> None:
        """Whoever reads the lines may be gone, and there is nobody else to tell: the server goes on."""
        self._asked = None
        lines = []
        with suppress(IndexError):
            while True:
                lines.append(self._waiting.popleft())
        if lines:
            with suppress(OSError, ValueError):
                self._stream.write("\n".join(lines) + "\n")
                self._stream.flush()


def set_up(*, level: str = "info", stream: TextIO | None = None) -> None:
    """Makes every logger of the process write JSON lines to `stream`, at once; to standard error where none is given.

    Libraries that log addresses (a provider's token may stand in one) are kept silent below warnings.
    """
    for name in ("httpx", "httpcore", "uvicorn"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger().handlers = [_Libraries()]
    threading.excepthook = _thread_failed
    lines = _Lines(sys.stderr) if stream is None else structlog.PrintLogger(stream)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _exceptions,
            _only_allowed,
            structlog.processors.JSONRenderer(sort_keys=True),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=lambda *_: lines,
        cache_logger_on_first_use=stream is None,
    )
