"""The committed stubs and error classes are what the protos say, and what a partner on older packages can load."""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
from pathlib import Path

import grpc
import pytest

import comptoir.v1
from comptoir import errors
from comptoir.v1 import ErrorReason

REPOSITORY = Path(__file__).resolve().parents[2]
STUBS = REPOSITORY / "clients" / "python" / "comptoir" / "v1"
PROTOS = sorted((REPOSITORY / "proto" / "comptoir" / "v1").glob("*.proto"))
REASONS = [name.removeprefix("ERROR_REASON_") for name, number in ErrorReason.items() if number]


def generate(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(REPOSITORY / "clients" / "generate.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the contract that a test may spoil."""
    shutil.copytree(REPOSITORY / "proto", tmp_path / "proto")
    shutil.copytree(REPOSITORY / "clients" / "python" / "comptoir", tmp_path / "clients" / "python" / "comptoir")
    return tmp_path


def append(proto: Path, text: str) -> None:
    proto.write_text(proto.read_text(encoding="utf-8") + text, encoding="utf-8")


def test_a_proto_that_was_changed_without_generating_is_refused(tree: Path) -> None:
    append(tree / "proto/comptoir/v1/money.proto", "// A planted message.\nmessage Planted {}\n")
    before = (tree / "clients/python/comptoir/v1/money_pb2.py").read_bytes()

    finished = generate("--check", "--root", str(tree))

    assert finished.returncode == 1
    assert "comptoir/v1/money_pb2.py: not what the protos say" in finished.stderr
    assert (tree / "clients/python/comptoir/v1/money_pb2.py").read_bytes() == before


def test_a_generated_file_without_a_proto_is_refused_and_then_removed(tree: Path) -> None:
    stale = tree / "clients/python/comptoir/v1/stale_pb2.py"
    stale.touch()

    assert "comptoir/v1/stale_pb2.py" in generate("--check", "--root", str(tree)).stderr
    assert generate("--root", str(tree)).returncode == 0
    assert not stale.exists()
    assert generate("--check", "--root", str(tree)).returncode == 0


@pytest.mark.parametrize(
    ("planted", "complaint"),
    [
        ("service PlantedService { rpc Plant(Money) returns (Money); }", "PlantedService.Plant: say who may call it"),
        (
            "service S { rpc Plant(Money) returns (Money) { option (comptoir.v1.method) = {callers: CALLER_USER}; } }",
            "S.Plant: give the request a `request_id`",
        ),
        ("message PlantRequest { string bot_id = 1; }", "PlantRequest.bot_id: say its kind"),
    ],
)
def test_a_method_or_id_without_its_policy_is_refused(tree: Path, planted: str, complaint: str) -> None:
    append(tree / "proto/comptoir/v1/money.proto", planted)

    finished = generate("--root", str(tree))

    assert finished.returncode == 1
    assert complaint in finished.stderr


def test_an_error_reason_without_its_status_is_refused(tree: Path) -> None:
    proto = tree / "proto/comptoir/v1/error.proto"
    text = proto.read_text(encoding="utf-8")
    proto.write_text(text[: text.rindex("}")] + "  ERROR_REASON_PLANTED = 999;\n}\n", encoding="utf-8")

    assert "ERROR_REASON_PLANTED: say its gRPC status" in generate("--root", str(tree)).stderr


def test_the_committed_files_are_what_the_protos_say() -> None:
    finished = generate("--check")

    assert (finished.returncode, finished.stderr) == (0, "")


def test_the_stubs_ask_for_no_newer_packages_than_the_partner_wheel_does() -> None:
    messages = [path.read_text(encoding="utf-8") for path in STUBS.glob("*_pb2.py")]
    services = [path.read_text(encoding="utf-8") for path in STUBS.glob("*_pb2_grpc.py")]

    assert len(messages) == len(PROTOS)
    assert all("# Protobuf Python Version: 6.31.1\n" in text for text in messages)
    assert services
    assert all("GRPC_GENERATED_VERSION = '1.80.0'\n" in text for text in services)


@pytest.mark.parametrize("proto", PROTOS, ids=lambda proto: proto.stem)
def test_every_message_enum_and_stub_is_exported(proto: Path) -> None:
    file = importlib.import_module(f"comptoir.v1.{proto.stem}_pb2").DESCRIPTOR
    names = {*file.message_types_by_name, *file.enum_types_by_name, *(f"{name}Stub" for name in file.services_by_name)}

    assert names <= set(comptoir.v1.__all__)
    assert all(hasattr(comptoir.v1, name) for name in names)


@pytest.mark.parametrize("proto", PROTOS, ids=lambda proto: proto.stem)
def test_protos_import_only_google_protobuf_and_each_other(proto: Path) -> None:
    file = importlib.import_module(f"comptoir.v1.{proto.stem}_pb2").DESCRIPTOR

    assert all(needed.name.startswith(("google/protobuf/", "comptoir/v1/")) for needed in file.dependencies)


def test_every_reason_has_its_own_exception() -> None:
    assert sorted(errors.BY_REASON) == sorted(REASONS)
    assert len(set(errors.BY_REASON.values())) == len(REASONS)


@pytest.mark.parametrize("reason", REASONS)
def test_an_exception_is_named_after_its_reason_and_says_what_to_do(reason: str) -> None:
    error = errors.BY_REASON[reason]

    assert error.__name__.lower() == reason.replace("_", "").lower()
    assert issubclass(error, errors.ComptoirError)
    assert error.__doc__ is not None
    assert "Status " in error.__doc__


def test_an_exception_keeps_what_the_status_said() -> None:
    error = errors.FieldInvalid(
        "market: is empty",
        reason="FIELD_INVALID",
        code=grpc.StatusCode.INVALID_ARGUMENT,
        metadata={"field": "market"},
        violations=[("market", "is empty")],
        retry_after_seconds=1.5,
    )

    assert str(error) == "FIELD_INVALID: market: is empty"
    assert (error.reason, error.message) == ("FIELD_INVALID", "market: is empty")
    assert error.code is grpc.StatusCode.INVALID_ARGUMENT
    assert error.metadata == {"field": "market"}
    assert error.violations == [("market", "is empty")]
    assert error.retry_after_seconds == 1.5
    assert not error.retryable


def test_only_reasons_marked_so_may_be_sent_again() -> None:
    retryable = {reason for reason, error in errors.BY_REASON.items() if error.retryable}

    assert {"REQUEST_IN_PROGRESS", "OVERLOADED", "DRAINING"} <= retryable
    assert not {"REQUEST_ID_REUSED", "VERSION_STALE", "INTERNAL"} & retryable
