"""Logging: one JSON line an event, by allowlist. Money, tokens, names and message text never reach a line."""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

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
    }
)
"""Every key that may stand in a line; any other is dropped before it is written."""


def _only_allowed(_logger: Any, _name: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {key: value for key, value in line.items() if key in ALLOWED}


def set_up(*, level: str = "info") -> None:
    """Makes every logger of the process write JSON lines to standard error.

    Libraries that log addresses (a provider's token may stand in one) are kept silent below warnings.
    """
    for name in ("httpx", "httpcore", "uvicorn"):
        logging.getLogger(name).setLevel(logging.WARNING)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _only_allowed,
            structlog.processors.JSONRenderer(sort_keys=True),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
