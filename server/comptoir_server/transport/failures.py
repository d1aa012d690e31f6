"""What a caller is told when a call fails: a `google.rpc.Status` with one ErrorInfo, and nothing from inside."""

from __future__ import annotations

from collections.abc import Mapping

from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from comptoir_server.app.ports import ProviderUnavailable
from comptoir_server.domain.errors import Reason, Refused
from comptoir_server.store.errors import StorageUnavailable
from comptoir_server.transport import policy

DOMAIN = "comptoir.dev"

UNIMPLEMENTED = 12
"""The gRPC status code for a method that this server does not have."""

MESSAGE_MAX = 1_000
"""The longest message, in characters: it travels in metadata, where every byte that is not ASCII takes three."""

_RETRY_SECONDS = 1.0


class Failed(Exception):
    """A call that failed. `code` is the gRPC status code's number, `status` the serialised `google.rpc.Status`."""

    def __init__(self, code: int, message: str, reason: Reason | None = None, status: bytes = b"") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.reason = reason
        self.status = status

    @property
    def outcome(self) -> str:
        """The reason as logs and metrics name it."""
        return self.reason.value if self.reason is not None else "UNIMPLEMENTED"


class Failures:
    """Turns refusals into failures by the policies of error.proto. Raises ContractError where they are not whole."""

    def __init__(self, rules: Mapping[Reason, policy.ErrorRule] | None = None) -> None:
        self._rules = rules or policy.errors()

    def of(self, refused: Refused) -> Failed:
        """The failure that tells of a refusal. Metadata that error.proto does not list for the reason stays behind."""
        rule = self._rules[refused.reason]
        message = refused.message[:MESSAGE_MAX]
        metadata = {key: value for key, value in refused.metadata.items() if key in rule.metadata}
        details: list[Message] = [
            error_details_pb2.ErrorInfo(reason=refused.reason.value, domain=DOMAIN, metadata=metadata)
        ]
        if refused.violations:
            details.append(
                error_details_pb2.BadRequest(
                    field_violations=[
                        error_details_pb2.BadRequest.FieldViolation(field=each.field, description=each.description)
                        for each in refused.violations
                    ]
                )
            )
        if refused.retry_after_seconds is not None:
            delay = duration_pb2.Duration()
            delay.FromNanoseconds(int(refused.retry_after_seconds * 1_000_000_000))
            details.append(error_details_pb2.RetryInfo(retry_delay=delay))
        status = status_pb2.Status(code=rule.code, message=message, details=[_packed(detail) for detail in details])
        return Failed(rule.code, message, refused.reason, status.SerializeToString())


def _packed(detail: Message) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(detail)
    return packed


def refusal_of(error: Exception) -> Refused | None:
    """The refusal that an exception stands for; None for what nobody foresaw."""
    if isinstance(error, Refused):
        return error
    if isinstance(error, StorageUnavailable):
        known = "Whether anything was done is not known yet." if error.in_doubt else "Nothing was done."
        return _unavailable(f"The database could not be reached. {known} Send the same request again.")
    if isinstance(error, ProviderUnavailable):
        return _unavailable("The payment provider could not be reached. Nothing was done. Send the same request again.")
    return None


def internal(reference: str) -> Refused:
    """The refusal for what nobody foresaw: a reference, by which the log tells more, and nothing else."""
    return Refused(
        Reason.INTERNAL,
        f"The server failed unexpectedly. Report the reference {reference}; read to see whether anything happened.",
        reference=reference,
    )


def too_little_time(seconds_left: float, needed: float) -> Refused:
    """Too little time to ask a provider: as if it could not be reached, for within that time it cannot.

    Of the catalogue only this reason says all that is true: nothing was done, and the same request may be sent again,
    with the same request id and a longer deadline. The deadline is no field, so the request itself is not at fault.
    """
    return _unavailable(
        f"Only {max(seconds_left, 0):.1f} s were left and this needs {needed:g} s at least. Nothing was done. "
        "Send the same request again with a longer deadline."
    )


def still_running() -> Refused:
    """The call has held its caller for as long as it may; its work goes on."""
    return Refused(
        Reason.REQUEST_IN_PROGRESS,
        "The request is still running. Send it again with the same request_id to get its answer.",
        retry_after_seconds=_RETRY_SECONDS,
    )


def not_read_in_time() -> Refused:
    """A read that took too long and was given up."""
    return _unavailable("The database took too long to answer. Send the same request again.")


def draining() -> Refused:
    """The server is about to stop."""
    return Refused(
        Reason.DRAINING,
        "The server is shutting down and took nothing on. Send the same request again.",
        retry_after_seconds=_RETRY_SECONDS,
    )


def overloaded() -> Refused:
    """The server has as many calls as it takes."""
    return Refused(
        Reason.OVERLOADED,
        "The server is at its capacity and did nothing. Send the same request again after the delay.",
        retry_after_seconds=_RETRY_SECONDS,
    )


def too_many_calls() -> Refused:
    """One owner has as many calls waiting as it may, while the server is busy."""
    return Refused(
        Reason.RATE_LIMITED,
        "The server is busy, and as many of your calls are waiting as may. This one did nothing. Send it again after "
        "the delay, and fewer at once.",
        retry_after_seconds=_RETRY_SECONDS,
    )


def too_slow() -> Refused:
    """A stream that was not read for too long."""
    return Refused(
        Reason.RATE_LIMITED,
        "What this stream had to say was not read for too long, and it was ended. Open it again from where you are.",
        retry_after_seconds=_RETRY_SECONDS,
    )


def too_many_streams(most: int) -> Refused:
    """One caller has as many streams open as it may."""
    return Refused(
        Reason.RATE_LIMITED,
        f"You have {most} streams open, which is the most. Close one; one that broke off counts until that is noticed.",
        retry_after_seconds=5.0,
    )


def unknown_method(path: str) -> Failed:
    """A method that this server does not have, or not in its mode."""
    return Failed(UNIMPLEMENTED, f"There is no method {path[:100]} here.")


def _unavailable(message: str) -> Refused:
    return Refused(Reason.PROVIDER_UNAVAILABLE, message, retry_after_seconds=_RETRY_SECONDS)
