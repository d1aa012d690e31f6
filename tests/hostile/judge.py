"""What may come of a hostile call: an answer, or one documented refusal that leaks nothing and moved nothing.

The catalogue is read from error.proto's descriptors here anew, by somebody who does not trust the server's reading.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from google.protobuf import any_pb2
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from comptoir.v1 import error_pb2, options_pb2
from comptoir_server.transport.failures import Failed
from tests.hostile.inputs import Input
from tests.support.door import METHODS

STATUS_BYTES_MAX = 8 * 1024
"""What a client takes of metadata by default: a refusal that is larger is lost on its way."""

CALL_SECONDS = 30.0
"""No call may take longer, on a machine however busy."""

CPU_SECONDS = 5.0
"""No call may compute longer."""

FIELDS_OF_THE_CALL = frozenset({"request", "comptoir-user"})
"""What violations may name besides fields: the request as a whole, and the metadata entry of a user."""

KEEPS_SOMETHING = frozenset({"CONFIRMATION_CODE_WRONG", "REQUEST_IN_PROGRESS"})
"""Refusals that are to leave a trace: a try is counted, or the work goes on."""

NEVER = frozenset({"INTERNAL", "UNKNOWN"})
_RETRY_INFO = frozenset({"RATE_LIMITED", "OVERLOADED", "DRAINING", "REQUEST_IN_PROGRESS"})
_STEP = re.compile(r"([a-z][a-z0-9_]*)((?:\[\d+\])?)")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a call. `error` is what came out of the door; `moved` whether anything was committed."""

    answers: tuple[bytes, ...] = ()
    error: BaseException | None = None
    cpu_seconds: float = 0.0
    moved: bool = False
    ended: bool = True

    @property
    def name(self) -> str:
        """OK, a reason, or the kind of what should not have come out."""
        if self.error is None:
            return "OK"
        return self.error.outcome if isinstance(self.error, Failed) else type(self.error).__name__


def catalogue() -> dict[str, Any]:
    """The policy of every reason that error.proto documents."""
    found = {}
    for value in error_pb2.DESCRIPTOR.enum_types_by_name["ErrorReason"].values:
        if value.number:
            found[value.name.removeprefix("ERROR_REASON_")] = value.GetOptions().Extensions[options_pb2.error]
    return found


CATALOGUE = catalogue()


def complaints(given: Input, outcome: Outcome, secrets: frozenset[str] = frozenset()) -> list[str]:
    """All that is wrong with what became of a call; nothing where it is as it should be."""
    found = _bounds(outcome)
    if outcome.error is None:
        found += _answers(given, outcome)
    elif isinstance(outcome.error, Failed):
        found += _refusal(given, outcome, outcome.error, secrets)
    elif not isinstance(outcome.error, TimeoutError):
        found.append(f"{type(outcome.error).__name__} came out of the door: {str(outcome.error)[:200]}")
    return found


def _bounds(outcome: Outcome) -> list[str]:
    found = []
    if isinstance(outcome.error, TimeoutError):
        found.append(f"it did not end within {CALL_SECONDS:g} s")
    if outcome.cpu_seconds > CPU_SECONDS:
        found.append(f"it computed for {outcome.cpu_seconds:.1f} s")
    if not outcome.ended:
        found.append("what it left running did not end")
    return found


def _answers(given: Input, outcome: Outcome) -> list[str]:
    method = METHODS[given.method]
    found = ["it only reads, and something was committed"] if method.reads and outcome.moved else []
    for raw in outcome.answers:
        try:
            method.response.FromString(raw)
        except (DecodeError, UnicodeDecodeError):
            found.append(f"the answer is no {method.response_type.full_name}")
    return found


def _refusal(given: Input, outcome: Outcome, failed: Failed, secrets: frozenset[str]) -> list[str]:
    if failed.reason is None or failed.reason.value not in CATALOGUE:
        return [f"the reason {failed.outcome} is not documented"]
    reason, rule = failed.reason.value, CATALOGUE[failed.reason.value]
    status = status_pb2.Status.FromString(failed.status)
    found = []
    if reason in NEVER:
        found.append(f"the reason is {reason}")
    if (failed.code, status.code) != (rule.code, rule.code):
        found.append(f"{reason} came with the code {failed.code} or {status.code}, not {rule.code}")
    if status.message != failed.message or not failed.message:
        found.append("the two messages differ, or say nothing")
    found += _details(given, reason, rule, status)
    size = len(failed.status) * 4 // 3 + len(quote(failed.message))
    if size > STATUS_BYTES_MAX:
        found.append(f"the refusal has {size} bytes, and would be lost on its way")
    if any(secret.encode() in failed.status for secret in secrets):
        found.append("the refusal repeats a credential")
    if outcome.moved and reason not in KEEPS_SOMETHING and not METHODS[given.method].takes_stream:
        found.append(f"{reason}, and yet something was committed")
    return found


def _details(given: Input, reason: str, rule: Any, status: status_pb2.Status) -> list[str]:
    """One ErrorInfo with listed keys, violations whose paths exist, and how long to wait where that helps."""
    found = []
    infos = _unpacked(status, error_details_pb2.ErrorInfo)
    if [(info.reason, info.domain) for info in infos] != [(reason, "comptoir.dev")]:
        found.append(f"{reason} came with the details {[info.reason for info in infos]}")
    unlisted = {key for info in infos for key in info.metadata} - set(rule.metadata)
    if unlisted:
        found.append(f"{reason} has undocumented metadata: {sorted(unlisted)}")
    requests = _unpacked(status, error_details_pb2.BadRequest)
    named = [violation.field for request in requests for violation in request.field_violations]
    wrong = [path for path in named if not is_path(METHODS[given.method].request_type, path)]
    found += [f"a violation names {path!r}, which is no field" for path in wrong]
    if reason in _RETRY_INFO and not _unpacked(status, error_details_pb2.RetryInfo):
        found.append(f"{reason} does not say how long to wait")
    return found


def _unpacked(status: status_pb2.Status, kind: Any) -> list[Any]:
    found = []
    for packed in status.details:
        message = kind()
        if any_pb2.Any.Unpack(packed, message):
            found.append(message)
    return found


def is_path(descriptor: Descriptor, path: str) -> bool:
    """Whether a violation's path, such as `items[3].amount.minor_units`, leads to a field or a choice of a request."""
    if path in FIELDS_OF_THE_CALL:
        return True
    current: Descriptor | None = descriptor
    for part in path.split("."):
        match = _STEP.fullmatch(part)
        if match is None or current is None:
            return False
        field = current.fields_by_name.get(match[1])
        if field is None:
            return match[1] in current.oneofs_by_name and part == path.rpartition(".")[2]
        if match[2] and not field.is_repeated:
            return False
        current = field.message_type
    return True
