"""Failed calls as exceptions: one class for each error reason of the contract."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2

from comptoir.errors import BY_REASON, ComptoirError

DOMAIN = "comptoir.dev"
STATUS_DETAILS = "grpc-status-details-bin"

OUTCOME_UNKNOWN = "no answer came in time, so whether it was done is unknown: send it again with the same request_id"

Detail = TypeVar("Detail", bound=Message)


def error_from(failure: grpc.RpcError, request_id: str = "") -> ComptoirError:
    """The exception for a failed call.

    The reason in the status's ErrorInfo decides the class; one that this version does not know gives a plain
    ComptoirError. Where there is no ErrorInfo of ours (the network, a proxy, a deadline that ran out here) the reason
    is the name of the status code, and `metadata["request_id"]` says which id to repeat, so that an unknown outcome can
    be asked for again without doing anything twice.
    """
    code = failure.code()
    details = _details(failure.trailing_metadata() or ())
    info = _find(details, error_details_pb2.ErrorInfo)
    retry = _find(details, error_details_pb2.RetryInfo)
    bad_request = _find(details, error_details_pb2.BadRequest)
    message = failure.details() or code.name
    if info is not None and info.domain == DOMAIN:
        kind, reason, metadata = BY_REASON.get(info.reason, ComptoirError), info.reason, dict(info.metadata)
    else:
        kind, reason, metadata = ComptoirError, code.name, {"request_id": request_id} if request_id else {}
        message = OUTCOME_UNKNOWN if code is grpc.StatusCode.DEADLINE_EXCEEDED else message
    return kind(
        message,
        reason=reason,
        code=code,
        metadata=metadata,
        violations=[(each.field, each.description) for each in bad_request.field_violations] if bad_request else (),
        retry_after_seconds=retry.retry_delay.ToTimedelta().total_seconds() if retry is not None else None,
    )


def _details(trailing: Iterable[Any]) -> Sequence[any_pb2.Any]:
    """The details of the `google.rpc.Status` in the trailing metadata; none where it is absent or unreadable."""
    encoded = next((value for key, value in trailing if key == STATUS_DETAILS), b"")
    if not isinstance(encoded, bytes):
        return ()
    try:
        return tuple(status_pb2.Status.FromString(encoded).details)
    except DecodeError:
        return ()


def _find(details: Iterable[any_pb2.Any], kind: type[Detail]) -> Detail | None:
    """The first readable detail of a kind."""
    for packed in details:
        found = kind()
        try:
            if packed.Unpack(found):
                return found
        except DecodeError:
            continue
    return None
