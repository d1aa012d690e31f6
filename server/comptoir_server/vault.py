"""Encryption at rest and keyed hashes, all from one master key.

Personal data is sealed under a data key of the person (`Vault.new_key`), provider tokens under the
platform's own; both bind the ciphertext to the row it stands in, so that it cannot be moved to another.
Whoever destroys a person's wrapped key has erased what was sealed under it.
"""

from __future__ import annotations

import base64
import hmac
from hashlib import sha256

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from comptoir_server.runtime import Runtime

KEY_BYTES = 32
_NONCE_BYTES = 12
_VERSION = b"\x01"


class Unreadable(Exception):
    """The ciphertext was sealed under another key, for another row, or was changed."""


class Vault:
    """Seals and opens (AES-256-GCM, NIST SP 800-38D) and hashes (HMAC-SHA-256) under keys made of the master key."""

    def __init__(self, master_key: bytes, runtime: Runtime) -> None:
        if len(master_key) != KEY_BYTES:
            raise ValueError(f"the master key must be {KEY_BYTES} bytes")
        self._runtime = runtime
        self._wrapping = AESGCM(_derive(master_key, b"comptoir wrapping"))
        self._tokens = AESGCM(_derive(master_key, b"comptoir provider tokens"))
        self._hashing = _derive(master_key, b"comptoir hashes")
        self.signing_key = _derive(master_key, b"comptoir user tokens")

    def new_key(self, owner_id: str) -> bytes:
        """A new data key, wrapped for the row `owner_id`."""
        return _seal(self._runtime, self._wrapping, owner_id, self._runtime.random_bytes(KEY_BYTES))

    def key(self, owner_id: str, wrapped: bytes) -> DataKey:
        """The data key that `new_key` wrapped. Raises Unreadable."""
        return DataKey(AESGCM(_open(self._wrapping, owner_id, wrapped)), self._runtime)

    def seal_token(self, row_id: str, token: str) -> bytes:
        """A provider's token under the platform's key, bound to its row."""
        return _seal(self._runtime, self._tokens, row_id, token.encode())

    def open_token(self, row_id: str, sealed: bytes) -> str:
        """The token that `seal_token` sealed for this row. Raises Unreadable."""
        return _open(self._tokens, row_id, sealed).decode()

    def hash(self, purpose: str, text: str) -> str:
        """A keyed hash by which `text` can be found or compared, never read; one for each purpose."""
        digest = hmac.digest(self._hashing, f"{purpose}\n{text}".encode(), sha256)
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()

    def matches(self, purpose: str, text: str, expected: str) -> bool:
        """True when `expected` is the hash of `text`, in constant time."""
        return hmac.compare_digest(self.hash(purpose, text).encode(), expected.encode())


class DataKey:
    """One person's key, unwrapped."""

    def __init__(self, cipher: AESGCM, runtime: Runtime) -> None:
        self._cipher = cipher
        self._runtime = runtime

    def seal(self, row_id: str, text: str) -> bytes:
        """`text` under this key, bound to its row."""
        return _seal(self._runtime, self._cipher, row_id, text.encode())

    def open(self, row_id: str, sealed: bytes) -> str:
        """The text that `seal` sealed for this row. Raises Unreadable."""
        return _open(self._cipher, row_id, sealed).decode()


def _derive(master_key: bytes, purpose: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=purpose).derive(master_key)


def _seal(runtime: Runtime, cipher: AESGCM, row_id: str, plain: bytes) -> bytes:
    nonce = runtime.random_bytes(_NONCE_BYTES)
    return _VERSION + nonce + cipher.encrypt(nonce, plain, row_id.encode())


def _open(cipher: AESGCM, row_id: str, sealed: bytes) -> bytes:
    if sealed[:1] != _VERSION:
        raise Unreadable
    nonce, body = sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
    try:
        return cipher.decrypt(nonce, body, row_id.encode())
    except InvalidTag as error:
        raise Unreadable from error
