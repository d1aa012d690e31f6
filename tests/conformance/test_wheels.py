"""Two wheels, each file in exactly one; and the partner's works alone."""

from __future__ import annotations

import subprocess
import sys
import venv
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest

from tests.support import altered

REPOSITORY = Path(__file__).resolve().parents[2]


def run(*command: str | Path, folder: Path | None = None) -> str:
    finished = subprocess.run([str(part) for part in command], cwd=folder, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


def build(project: Path, output: Path) -> Path:
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", output, folder=project)
    (wheel,) = output.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def partner_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(REPOSITORY / "clients" / "python", tmp_path_factory.mktemp("partner"))


@pytest.fixture(scope="module")
def server_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(REPOSITORY, tmp_path_factory.mktemp("server"))


def files(wheel: Path) -> set[str]:
    """What a wheel installs, without its own `.dist-info`."""
    return {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}


def metadata(wheel: Path) -> Message:
    archive = zipfile.ZipFile(wheel)
    (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
    return Parser().parsestr(archive.read(name).decode())


def sources(folder: Path) -> set[str]:
    return {
        path.relative_to(folder.parent).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_each_file_is_in_exactly_one_wheel(partner_wheel: Path, server_wheel: Path) -> None:
    assert files(partner_wheel) & files(server_wheel) == set()
    assert files(partner_wheel) == sources(REPOSITORY / "clients" / "python" / "comptoir")
    assert files(server_wheel) == sources(REPOSITORY / "server" / "comptoir_server")


def test_no_wheel_holds_anything_that_was_made_for_tests(partner_wheel: Path, server_wheel: Path) -> None:
    for wheel in (partner_wheel, server_wheel):
        archive = zipfile.ZipFile(wheel)
        texts = {name: archive.read(name).decode() for name in files(wheel) if name.endswith(".py")}
        wrong = (altered.VARIABLE, "tests.support", "tests.defects", "from tests", "import tests")
        assert [name for name, text in texts.items() if any(words in text for words in wrong)] == []
        assert [name for name in files(wheel) if "defect" in name or name.startswith("tests")] == []


def test_both_wheels_are_typed_and_carry_the_licence(partner_wheel: Path, server_wheel: Path) -> None:
    assert "comptoir/py.typed" in files(partner_wheel)
    assert "comptoir_server/py.typed" in files(server_wheel)
    for wheel in (partner_wheel, server_wheel):
        assert [name for name in zipfile.ZipFile(wheel).namelist() if name.endswith(".dist-info/licenses/LICENSE")]


def test_the_server_asks_for_the_client_of_its_own_version(partner_wheel: Path, server_wheel: Path) -> None:
    version = metadata(partner_wheel)["Version"]

    assert metadata(server_wheel)["Version"] == version
    assert f"comptoir[chat]=={version}" in metadata(server_wheel).get_all("Requires-Dist", [])
    assert f"comptoir-server=={version}; extra == 'testing'" in metadata(partner_wheel).get_all("Requires-Dist", [])


@pytest.mark.timeout(600)
@pytest.mark.parametrize("pin", ["protobuf==6.31.1", "protobuf>=7,<8"])
def test_the_partner_wheel_works_alone_on_old_and_new_protobuf(partner_wheel: Path, tmp_path: Path, pin: str) -> None:
    venv.create(tmp_path, symlinks=True, with_pip=True)
    python = tmp_path / "bin" / "python"

    run(python, "-m", "pip", "install", "-qq", "--disable-pip-version-check", partner_wheel, pin)

    run(python, "-m", "pip", "check")
    run(python, "-W", "error", "-c", IMPORT_EVERYTHING, folder=tmp_path)


IMPORT_EVERYTHING = """
import importlib.util
import comptoir, comptoir.v1, comptoir.errors
assert importlib.util.find_spec("comptoir_server") is None
assert set(comptoir.v1.__all__) <= set(dir(comptoir.v1))
assert comptoir.v1.Money(minor_units=1250, currency_code="EUR").minor_units == 1250
assert issubclass(comptoir.errors.NotFound, comptoir.errors.ComptoirError)
"""
