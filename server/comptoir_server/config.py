"""What the operator chose, checked before anything starts; a wrong choice gets the sentence that mends it."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import os
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

KEY_BYTES = 32


class ConfigurationError(Exception):
    """A choice that cannot work; the message says what to choose instead."""


@dataclass(frozen=True, slots=True)
class Config:
    """The server's configuration. Every flag of `comptoir-server serve` is also `COMPTOIR_…` in the environment."""

    listen: str = "127.0.0.1:7600"
    http: str = "127.0.0.1:7680"
    database: str = "sqlite:///comptoir.db"
    mode: str = "test"
    public_url: str = ""
    master_key: str = field(default="", repr=False)
    tls_certificate: str = ""
    tls_key: str = ""
    plaintext: bool = False
    paypal_url: str = "http://127.0.0.1:7610"
    paypal_client_id: str = "standin-client"
    paypal_client_secret: str = field(default="standin-secret", repr=False)
    paypal_webhook_id: str = "8PT597110X687430L"
    paypal_trust_roots: str = ""
    provider_limit_seconds: float = 20.0
    provider_settle_seconds: int = 300
    drain_seconds: float = 20.0
    fault_file: str = ""

    def check(self) -> Config:
        """This configuration. Raises ConfigurationError."""
        if self.mode not in ("test", "live"):
            raise ConfigurationError(f"--mode is {self.mode!r}: choose test or live.")
        for flag, address in (("--listen", self.listen), ("--http", self.http)):
            host, port = split_address(flag, address)
            if not is_loopback(host) and not self.plaintext and flag == "--listen" and not self.tls_certificate:
                raise ConfigurationError(
                    f"{flag} {address} is reachable from outside: give --tls-certificate and --tls-key, "
                    "or --plaintext where something in front ends TLS."
                )
            if not 0 <= port < 65536:
                raise ConfigurationError(f"{flag} {address}: the port must be 0 to 65535.")
        if bool(self.tls_certificate) != bool(self.tls_key):
            raise ConfigurationError("--tls-certificate and --tls-key belong together: give both or neither.")
        if not self.database.startswith(("sqlite:///", "postgresql://")):
            raise ConfigurationError("--database must be sqlite:///PATH or postgresql://USER@HOST/NAME.")
        if self.mode == "live":
            self._check_live()
        if self.provider_limit_seconds <= 0 or self.provider_settle_seconds < 0:
            raise ConfigurationError(
                "--provider-limit-seconds must be more than 0, --provider-settle-seconds 0 or more."
            )
        return self

    def _check_live(self) -> None:
        if self.fault_file:
            raise ConfigurationError("--fault-file is for tests: leave it out in live mode.")
        if not self.master_key:
            raise ConfigurationError(
                "live mode needs COMPTOIR_MASTER_KEY: 32 random bytes in base64, kept apart from the database."
            )
        if not self.public_url.startswith("https://"):
            raise ConfigurationError(
                "live mode needs --public-url https://…, where people's browsers find the link pages."
            )

    @property
    def page_url(self) -> str:
        """Where people's browsers find our pages, without a trailing slash."""
        return (self.public_url or f"http://{self.http}").rstrip("/")

    @property
    def sqlite_path(self) -> Path | None:
        """The file of an embedded database; None for PostgreSQL."""
        return Path(self.database.removeprefix("sqlite:///")) if self.database.startswith("sqlite:///") else None


def split_address(flag: str, address: str) -> tuple[str, int]:
    """Host and port of `HOST:PORT`. Raises ConfigurationError."""
    parts = urlsplit(f"//{address}")
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or port is None:
        raise ConfigurationError(f"{flag} {address!r} must be HOST:PORT, such as 127.0.0.1:7600.")
    return host, port


def is_loopback(host: str) -> bool:
    """True where only this machine reaches `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def master_key(config: Config, random_key: bytes) -> bytes:
    """The key that everything is sealed under.

    From the configuration; in test mode on an embedded database else from `<database>.key`, which is made
    with `random_key` at first and readable by its owner only. Raises ConfigurationError.
    """
    if config.master_key:
        try:
            key = base64.b64decode(config.master_key, validate=True)
        except binascii.Error as error:
            raise ConfigurationError("COMPTOIR_MASTER_KEY is not base64.") from error
        if len(key) != KEY_BYTES:
            raise ConfigurationError(f"COMPTOIR_MASTER_KEY must be {KEY_BYTES} bytes in base64, not {len(key)}.")
        return key
    path = config.sqlite_path
    if path is None:
        raise ConfigurationError(
            "PostgreSQL needs COMPTOIR_MASTER_KEY: 32 random bytes in base64, the same for every server."
        )
    key_path = path.with_name(path.name + ".key")
    if not key_path.exists():
        _write_for_good(key_path, base64.b64encode(random_key) + b"\n")
    return base64.b64decode(key_path.read_bytes())


def _write_for_good(path: Path, content: bytes) -> None:
    """Writes a file for its owner alone that is on the disk, whole, before anything may depend on it."""
    written = path.with_name(path.name + ".new")
    with open(os.open(written, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    written.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
