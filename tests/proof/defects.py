"""Planted defects in pairs: two at once may hide each other, and no pair may pass the gates of both."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def run(scale: int, seed: int, report: Callable[[str], None]) -> tuple[dict[str, int | float], list[str]]:
    """`scale` pairs from `seed` on; any range of seeds may be run by itself."""
    command = [sys.executable, "-m", "tests.defects", "--json", "--pairs", str(scale), "--seed", str(seed)]
    figures: dict[str, int | float] = {"pairs": 0, "pairs noticed": 0, "pairs that exclude each other": 0}
    violations: list[str] = []
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        for line in running.stdout:
            verdict = json.loads(line)
            figures["pairs"] += 1
            if verdict["excluded"]:
                figures["pairs that exclude each other"] += 1
            elif verdict["fine"]:
                figures["pairs noticed"] += 1
            else:
                violations.append(verdict["said"])
            report(verdict["said"])
    if figures["pairs"] != scale:
        violations.append(f"{figures['pairs']} of {scale} pairs were planted")
    return figures, violations
