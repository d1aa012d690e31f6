"""Every mutant of the modules that money, states, repetition and rights depend on: some modules at a time."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.mutation.scope import KILLED_LEAST, SCOPE
from tests.proof.figures import Figures

REPOSITORY = Path(__file__).resolve().parents[2]


def run(scale: int, seed: int, report: Callable[[str], None]) -> tuple[Figures, list[str]]:
    """`scale` modules from number `seed` on."""
    modules = [target.module for target in SCOPE[seed : seed + scale]]
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder) / "found.json"
        command = [sys.executable, "-m", "tests.mutation", "--json", str(kept), *modules]
        with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as running:
            assert running.stdout is not None
            for line in running.stdout:
                report(line.rstrip())
        results = json.loads(kept.read_text(encoding="utf-8"))
    figures: Figures = {
        "modules": len(results),
        "mutants": sum(one["mutants"] for one in results),
        "survivors": sum(len(one["survivors"]) for one in results),
        "most that survived of a module": max(1 - one["share"] for one in results),
    }
    violations = [f"{one['module']}: {complaint}" for one in results for complaint in one["complaints"]]
    violations += [f"{one['module']}: {one['share']:.1%} killed" for one in results if one["share"] < KILLED_LEAST]
    return figures, violations
