"""Where nothing may be skipped, a test that is skipped for what the machine lacks is a failure; any other is not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.forge import REPOSITORY
from tests.support.kernel import LACKING

FILE = """
import pytest

def test_one():
    pytest.skip({reason!r})

def test_other():
    pass
"""


@pytest.mark.parametrize(
    ("reason", "forbidden", "code"),
    [(f"{LACKING} /dev/fuse", "1", 1), (f"{LACKING} /dev/fuse", "", 0), ("the specifications are not here", "1", 0)],
)
def test_a_skip_for_what_the_machine_lacks_fails_the_run_where_nothing_may_be_skipped(
    tmp_path: Path, reason: str, forbidden: str, code: int
) -> None:
    file = tmp_path / "test_skipping.py"
    file.write_text(FILE.format(reason=reason), encoding="utf-8")
    options = (
        "-q",
        "-p",
        "tests.skips",
        "-p",
        "no:xdist",
        "-p",
        "no:cacheprovider",
        "-c",
        str(REPOSITORY / "pyproject.toml"),
    )
    ended = subprocess.run(
        (sys.executable, "-m", "pytest", *options, str(file)),
        cwd=REPOSITORY,
        env={**os.environ, "COMPTOIR_NOTHING_SKIPPED": forbidden},
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == code, ended.stdout
    assert f"test_one: {reason}" in ended.stdout
    assert ("here that is a failure" in ended.stdout) == bool(code)
