"""What a caller asked for once, so that asking again never does it twice."""

from __future__ import annotations

from comptoir_server.domain.records import record

KEEP_SECONDS = 30 * 24 * 3600
"""How long an answer is kept. What moves money keeps its request key for ever besides."""


@record
class Request:
    """A claimed request id. `key` is owner, method and request id; `object_id` what it made.

    `answer` is the snapshot of the final answer, empty while there is none.
    """

    key: str
    fingerprint: str
    object_id: str
    answer: str
    create_time: int


def request_key(owner: str, method: str, request_id: str) -> str:
    """The scope of a request id: the owner behind the credential, never the credential itself, and the method."""
    return f"{owner}/{method}/{request_id}"
