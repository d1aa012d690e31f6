"""The lock files name exact versions by their hashes, hold no address, and give what pyproject.toml asks for."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).resolve().parents[2]
LOCKS = [REPOSITORY / "requirements.lock", REPOSITORY / "clients" / "generate.lock"]
ENTRY = re.compile(
    r"^(?P<name>[a-z0-9-]+)==(?P<version>\S+)(?P<marker> ; .+?)? \\\n(    --hash=sha256:[0-9a-f]{64}( \\)?\n)+",
    re.MULTILINE,
)


def complaints(text: str) -> list[str]:
    """What of a lock is not an exact, hashed, address-free entry."""
    return [line for line in ENTRY.sub("", text).splitlines() if line.strip()]


@pytest.mark.parametrize(
    "planted",
    [
        "httpx==0.28.1\n",
        "httpx>=0.28 \\\n    --hash=sha256:" + "a" * 64 + "\n",
        "--index-url https://registry.example/simple\n",
        "httpx @ https://registry.example/httpx.whl \\\n    --hash=sha256:" + "a" * 64 + "\n",
    ],
)
def test_an_open_or_addressed_entry_is_noticed(planted: str) -> None:
    assert complaints(planted)


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_every_entry_is_exact_hashed_and_without_address(lock: Path) -> None:
    text = lock.read_text(encoding="utf-8")

    assert ENTRY.search(text)
    assert complaints(text) == []


def test_what_is_asked_for_is_locked_at_a_version_that_fits() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    client = tomllib.loads((REPOSITORY / "clients/python/pyproject.toml").read_text(encoding="utf-8"))
    locked = {entry["name"]: entry["version"] for entry in ENTRY.finditer(LOCKS[0].read_text(encoding="utf-8"))}
    asked = [
        *project["project"]["dependencies"],
        *project["dependency-groups"]["dev"],
        *client["project"]["dependencies"],
        *client["project"]["optional-dependencies"]["chat"],
    ]

    for requirement in map(Requirement, asked):
        if requirement.name != "comptoir":
            assert requirement.specifier.contains(locked[canonicalize_name(requirement.name)]), str(requirement)
