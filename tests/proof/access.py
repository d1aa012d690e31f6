"""The access matrix at scale: random programs of two tenants, at whose objects everybody then knocks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import structlog

from tests.access.programs import run_programs


def run(scale: int, seed: int, report: Callable[[str], None]) -> tuple[dict[str, int | float], list[str]]:
    """`scale` programs from `seed` on; any range of seeds may be run by itself."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    tally = asyncio.run(run_programs(seed, scale, report))
    figures: dict[str, int | float] = {
        "programs": tally.programs,
        "actions": tally.actions,
        "cells": tally.cells,
        "largest refusal, bytes": float(tally.largest_refusal),
    }
    return figures, tally.violations
