"""The contract is compared with the one that callers already have, whatever kind of clone this is."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
BUF = Path(sys.executable).with_name("buf")
MONEY = Path("proto/comptoir/v1/money.proto")
BROKEN = 'Field "1" with name "minor_units" on message "Money" changed type from "int64" to "int32".'
SKIPPED = "skipped, no earlier commit with protos is in this clone"


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=nobody", "-c", "user.email=nobody@example.com", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, capture_output=True, check=True)


def compare(folder: Path) -> tuple[bool, str]:
    """Whether the comparison passed, and what it said."""
    environment = {name: value for name, value in os.environ.items() if name != "BREAKING_AGAINST"}
    command = ["sh", str(REPOSITORY / ".ci" / "breaking"), str(BUF)]
    finished = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return finished.returncode == 0, finished.stdout + finished.stderr


def narrow_the_amount(folder: Path) -> None:
    proto = folder / MONEY
    text = proto.read_text(encoding="utf-8")
    assert "int64 minor_units = 1" in text
    proto.write_text(text.replace("int64 minor_units = 1", "int32 minor_units = 1"), encoding="utf-8")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository of its own, with the contract as it is in its one commit."""
    folder = tmp_path / "repository"
    shutil.copytree(REPOSITORY / "proto", folder / "proto")
    shutil.copy(REPOSITORY / "buf.yaml", folder)
    git(folder, "init", "--initial-branch=main")
    git(folder, "add", ".")
    git(folder, "commit", "-m", "The contract")
    return folder


def test_a_break_is_refused_before_and_after_it_is_committed(repository: Path) -> None:
    narrow_the_amount(repository)
    before = compare(repository)
    git(repository, "commit", "--all", "-m", "Break it")

    for passed, said in (before, compare(repository)):
        assert not passed
        assert BROKEN in said


def test_a_break_of_the_newest_release_is_refused_however_many_commits_ago_it_was(repository: Path) -> None:
    git(repository, "tag", "v0.1.0")
    narrow_the_amount(repository)
    git(repository, "commit", "--all", "-m", "Break it")
    git(repository, "commit", "--allow-empty", "-m", "Do something else")

    passed, said = compare(repository)

    assert not passed
    assert BROKEN in said


def test_a_shallow_clone_says_that_it_cannot_compare(repository: Path, tmp_path: Path) -> None:
    narrow_the_amount(repository)
    git(repository, "commit", "--all", "-m", "Break it")
    git(tmp_path, "clone", "--depth=1", repository.as_uri(), "shallow")

    passed, said = compare(tmp_path / "shallow")

    assert passed
    assert SKIPPED in said


def test_an_unchanged_contract_passes(repository: Path) -> None:
    git(repository, "commit", "--allow-empty", "-m", "Do something else")

    assert compare(repository) == (True, "")
