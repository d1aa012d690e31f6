"""Every planted defect is caught by its gate, which passes without it; and nothing of this is in the server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.defects.registry import Kind, load
from tests.defects.runner import REPOSITORY
from tests.support import altered

LEAST = 100
WORDS = ("tests.defects", "altered_for_a_test", "planted defect")
"""What would be found in a server of which a part is made for tests."""

pytestmark = pytest.mark.timeout(600)


def examined(*arguments: str) -> list[dict[str, Any]]:
    """The verdicts on defects that are planted in processes of their own."""
    finished = subprocess.run(
        [sys.executable, "-m", "tests.defects", "--json", *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        timeout=590,
    )
    verdicts = [json.loads(line) for line in finished.stdout.splitlines() if line.startswith("{")]
    assert verdicts, finished.stderr
    assert finished.returncode == (0 if all(one["fine"] for one in verdicts) else 1), finished.stderr
    return verdicts


def test_a_gate_that_notices_nothing_crashes_or_has_nothing_to_break_is_a_hole() -> None:
    verdicts = {one["defects"][0]: one for one in examined("--planted-only", "--samples")}

    assert {name: one["fine"] for name, one in verdicts.items()} == {
        "sample-caught": True,
        "sample-not-noticed": False,
        "sample-that-crashes-the-gate": False,
        "sample-with-nothing-to-break": False,
        "sample-that-ends-the-process": False,
        "sample-without-a-gate": False,
    }
    assert "Unplantable" in verdicts["sample-with-nothing-to-break"]["log"]
    assert "TypeError" in verdicts["sample-that-crashes-the-gate"]["said"]


def test_every_class_of_defects_is_planted_and_each_defect_says_what_it_breaks() -> None:
    defects = load().values()

    assert len(defects) >= LEAST
    assert set(Counter(one.kind for one in defects)) == set(Kind)
    assert [one.name for one in defects if not one.what.endswith(".")] == []
    assert len({one.what for one in defects}) == len(defects)


def test_nothing_of_this_is_in_the_server() -> None:
    files = [path for folder in ("server", "clients") for path in (REPOSITORY / folder).rglob("*.py")]

    def holds(path: Path) -> bool:
        text = path.read_text(encoding="utf-8").lower()
        return any(word in text for word in WORDS) or "from tests" in text or "import tests" in text

    assert holds(REPOSITORY / "tests" / "defects" / "plugin.py")
    assert len(files) > 100
    assert [str(path) for path in files if holds(path)] == []


@pytest.mark.parametrize(("name", "code"), [("sample-caught", 0), ("sample-with-nothing-to-break", 1)])
def test_a_server_process_of_a_test_has_the_defect_that_is_planted(name: str, code: int) -> None:
    finished = subprocess.run(
        [sys.executable, "-m", "tests.support.altered", "keys", "create", "--help"],
        cwd=REPOSITORY,
        env={**os.environ, **altered.written({"defects": [name]})},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (finished.returncode, "Unplantable" in finished.stderr) == (code, bool(code))


def test_every_planted_defect_is_caught_by_its_gate_which_passes_without_it() -> None:
    verdicts = examined()

    planted = [one for one in verdicts if one["defects"]]
    print(f"{len(planted)} defects planted, {sum(one['seconds'] for one in verdicts):.0f} s of gates")
    assert [one["said"] + "\n" + one["log"] for one in verdicts if not one["fine"]] == []
    assert sorted(one["defects"][0] for one in planted) == sorted(load())
