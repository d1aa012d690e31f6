"""Part: how long `comptoir-server serve` takes, on an existing database, until it serves."""

from __future__ import annotations

import base64
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from comptoir_server.vault import KEY_BYTES
from tests.load.report import Section
from tests.load.stand import Setting
from tests.support.databases import POSTGRESQL
from tests.support.forge import REPOSITORY
from tests.support.processes import COMMAND, HOST, START_SECONDS, STOP_SECONDS, free_ports

READY = "Serving gRPC"


def measure(setting: Setting) -> Section:
    """Starts by turns the server and an interpreter that does nothing."""
    url = setting.new_url()
    log = setting.folder / f"cold_start_{setting.database}.log"
    if setting.database == POSTGRESQL:
        subprocess.run([*COMMAND, "migrate", "--database", url], cwd=REPOSITORY, check=True, capture_output=True)
    start(url, log)  # makes the tables in an embedded file, and the compiled files of the modules
    found: dict[str, list[float]] = defaultdict(list)
    for _ in range(setting.scale.starts):
        bare, (ready, serving) = start_nothing(), start(url, log)
        for name, value in (("bare", bare), ("ready", ready), ("serving", serving), ("to_bare", ready / bare)):
            found[name].append(value)
    figures = {name: statistics.median(values) for name, values in found.items()}
    rows = [
        ["an interpreter that does nothing, to its end", f"{figures['bare'] * 1000:.0f}", "1.0"],
        ["the server's ready line", f"{figures['ready'] * 1000:.0f}", f"{figures['to_bare']:.1f}"],
        ["health answers SERVING", f"{figures['serving'] * 1000:.0f}", f"{figures['serving'] / figures['bare']:.1f}"],
    ]
    return Section(
        part="cold-start",
        title=f"from the start of a process, on an existing database, medians of {setting.scale.starts}",
        headings=("until", "ms", "/ first"),
        rows=rows,
        figures={f"cold-start.{name}": value for name, value in figures.items()},
    )


def start_nothing() -> float:
    """How long the interpreter alone takes."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    return time.perf_counter() - started


def start(url: str, log: Path) -> tuple[float, float]:
    """Starts the server, waits for its ready line and its health, and has it end: both in seconds from the start."""
    listen, pages = (f"{HOST}:{port}" for port in free_ports(2))
    key = base64.b64encode(bytes(KEY_BYTES)).decode()
    command = [*COMMAND, "serve", "--database", url, "--listen", listen, "--http", pages, "--master-key", key]
    with log.open("ab") as errors:
        started = time.perf_counter()
        with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=errors, text=True) as child:
            try:
                assert child.stdout is not None
                line = child.stdout.readline()
                ready = time.perf_counter() - started
                if READY not in line:
                    raise SystemExit(f"the server did not start\n{log.read_text(encoding='utf-8')[-4000:]}")
                _require_serving(listen)
                return ready, time.perf_counter() - started
            finally:
                child.terminate()
                try:
                    child.wait(STOP_SECONDS)
                except subprocess.TimeoutExpired:
                    child.kill()


def _require_serving(address: str) -> None:
    with grpc.insecure_channel(address) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=START_SECONDS, wait_for_ready=True)
    if answer.status != health_pb2.HealthCheckResponse.SERVING:
        raise SystemExit(f"health says {answer.status}")
