"""The import contracts in pyproject.toml refuse what they are there to refuse."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
LAYERS = "Rooms only look downwards, and siblings never at each other"
CONNECTORS = "One provider's connector knows no other's"
CLIENT = "The client knows nothing of the server, but for its testing kit"
OUTSIDER = "The demonstration acts from outside the server"
STUBS = "gRPC, protobuf and our stubs stay in transport"
SQL = "SQL stays in store"
HTTP_OUT = "HTTP to the outside stays in providers, stand-ins and runtime"
HTTP_IN = "HTTP from the outside stays in transport.http, stand-ins and main"


def lint(server: Path, client: Path) -> str:
    """What import-linter says of these two packages under this repository's contracts."""
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    command += ["--config", str(REPOSITORY / "pyproject.toml")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(server), str(client)])}
    finished = subprocess.run(command, cwd=server, env=environment, capture_output=True, text=True, check=False)
    return finished.stdout + finished.stderr


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of both packages that a test may spoil."""
    hidden = shutil.ignore_patterns("__pycache__")
    shutil.copytree(REPOSITORY / "server/comptoir_server", tmp_path / "server/comptoir_server", ignore=hidden)
    shutil.copytree(REPOSITORY / "clients/python/comptoir", tmp_path / "client/comptoir", ignore=hidden)
    return tmp_path


@pytest.mark.parametrize(
    ("contract", "path", "text"),
    [
        (LAYERS, "server/comptoir_server/domain/planted.py", "import comptoir_server.app.ports"),
        (LAYERS, "server/comptoir_server/store/planted.py", "import comptoir_server.app.ports"),
        (LAYERS, "server/comptoir_server/transport/planted.py", "import comptoir_server.workers"),
        (LAYERS, "server/comptoir_server/planted.py", ""),
        (CONNECTORS, "server/comptoir_server/providers/planted.py", "import comptoir_server.providers.paypal"),
        (CLIENT, "client/comptoir/planted.py", "import comptoir_server.domain.money"),
        (OUTSIDER, "server/comptoir_server/demo/planted.py", "import comptoir_server.app.ports"),
        (STUBS, "server/comptoir_server/app/planted.py", "import grpc"),
        (STUBS, "server/comptoir_server/app/planted.py", "import google.protobuf"),
        (STUBS, "server/comptoir_server/store/planted.py", "import comptoir.v1"),
        (SQL, "server/comptoir_server/app/planted.py", "import sqlite3"),
        (SQL, "server/comptoir_server/transport/planted.py", "import sqlalchemy"),
        (HTTP_OUT, "server/comptoir_server/transport/planted.py", "import httpx"),
        (HTTP_IN, "server/comptoir_server/workers/planted.py", "import starlette"),
        (HTTP_IN, "server/comptoir_server/transport/planted.py", "import uvicorn"),
    ],
)
def test_a_planted_import_breaks_its_contract(tree: Path, contract: str, path: str, text: str) -> None:
    (tree / path).write_text(text + "\n", encoding="utf-8")

    assert f"{contract} BROKEN" in lint(tree / "server", tree / "client")


def test_the_rooms_as_they_are_keep_every_contract() -> None:
    said = lint(REPOSITORY / "server", REPOSITORY / "clients" / "python")

    assert " kept, 0 broken." in said
