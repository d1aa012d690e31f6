"""How the client reaches a server: which channel it opens, and what it says about itself with every call."""

from __future__ import annotations

import re

import grpc

from comptoir._version import __version__

Metadata = tuple[tuple[str, str], ...]

LOCAL_TARGET = re.compile(
    r"(unix:|unix-abstract:|((dns|ipv4|ipv6):(///?)?)?(localhost|127(\.\d+){3}|\[::1\])(:\d+)?$)", re.IGNORECASE
)

CHANNEL_OPTIONS: list[tuple[str, str | int]] = [
    ("grpc.primary_user_agent", f"comptoir-python/{__version__}"),
    # A server that is being restarted is back within seconds: the default doubles its way up to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 5_000),
    # A stream may be silent for hours: without these, one whose peer vanished would wait for ever.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
]


def is_local(target: str) -> bool:
    """Whether a target stays on this machine, so that it needs no encryption.

    >>> is_local("localhost:7600"), is_local("unix:/run/comptoir.sock"), is_local("api.example.com:443")
    (True, True, False)
    """
    return LOCAL_TARGET.match(target) is not None


def channel_credentials(
    target: str, insecure: bool | None, root_certificates: bytes | None
) -> grpc.ChannelCredentials | None:
    """TLS credentials, or None for a connection without: on this machine, or where the caller insists."""
    if insecure is None:
        insecure = is_local(target) and root_certificates is None
    return None if insecure else grpc.ssl_channel_credentials(root_certificates)


def call_metadata(key: str, user_id: str | None) -> Metadata:
    """What every call carries: the credential and, from a channel, the user that it acts for.

    Raises ValueError for a key or a user id that could not be sent.
    """
    for name, value in (("key", key), ("user_id", user_id)):
        if value is not None and not re.fullmatch(r"[!-~]+", value):
            raise ValueError(f"{name} must be visible ASCII characters without spaces, and not empty")
    credential = ("authorization", f"Bearer {key}")
    return (credential,) if user_id is None else (credential, ("comptoir-user", user_id))
