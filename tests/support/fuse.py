"""The kernel's side of a file system in user space: one flat directory of files, served over /dev/fuse.

Speaks the protocol of linux/fuse.h, version 7.31 and up, as far as a database needs it. Mounting takes root.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

DEVICE = Path("/dev/fuse")
ROOT = 1
MAJOR, MINOR = 7, 31
WRITE_MAX = 1 << 17
CACHED_SECONDS = 3600
"""Nobody but the kernel changes what is mounted, so what it knows stays true."""

BLOCK = 4096
BIG_WRITES, MAX_PAGES = 1 << 5, 1 << 22
KEEP_CACHE = 1 << 1
SIZE_GIVEN = 1 << 3
NOSUID, NODEV, DETACH = 2, 4, 2

_HEADER = struct.Struct("<IIQQIIIHH")
_ANSWER = struct.Struct("<IiQ")
_ATTRIBUTES = struct.Struct("<6Q10I")
_libc = ctypes.CDLL(None, use_errno=True)


class Directory(Protocol):
    """What is mounted. Files are numbered from `ROOT` + 1; a number stays a file's while the disk is mounted.

    Methods raise OSError, and the program that called gets its number.
    """

    def look_up(self, name: str) -> int: ...
    def size(self, number: int) -> int: ...
    def create(self, name: str) -> int: ...
    def read(self, number: int, offset: int, size: int) -> bytes: ...
    def write(self, number: int, offset: int, data: bytes) -> None: ...
    def resize(self, number: int, size: int) -> None: ...
    def sync(self, number: int) -> None: ...
    def sync_names(self) -> None: ...
    def unlink(self, name: str) -> None: ...
    def rename(self, name: str, new_name: str) -> None: ...
    def names(self) -> list[tuple[int, str]]: ...
    def room(self) -> tuple[int, int]:
        """Bytes in all, and bytes that are free."""


def mount(folder: Path) -> int:
    """Mounts a new file system at `folder` and answers the descriptor that its requests come from. Raises OSError."""
    device = os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0,default_permissions,allow_other"
    if _libc.mount(b"comptoir-test", bytes(folder), b"fuse.comptoir", NOSUID | NODEV, options.encode()):
        number = ctypes.get_errno()
        os.close(device)
        raise OSError(number, os.strerror(number))
    return device


def mount_memory(folder: Path, size: int) -> None:
    """Mounts a file system in memory that holds so many bytes. Raises OSError."""
    if _libc.mount(b"tmpfs", bytes(folder), b"tmpfs", NOSUID | NODEV, f"size={size}".encode()):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def unmount(folder: Path) -> None:
    """Takes away what is mounted at `folder`, in use or not."""
    _libc.umount2(bytes(folder), DETACH)


class Kernel:
    """Answers the kernel's requests, one by one, with what a directory says."""

    def __init__(self, device: int, directory: Directory) -> None:
        self._device = device
        self._directory = directory
        self._methods: dict[int, Callable[[int, bytes], bytes | None]] = {
            1: self._look_up,
            2: lambda _node, _body: None,
            3: self._get_attributes,
            4: self._set_attributes,
            10: self._unlink,
            12: lambda _node, body: self._rename(body, 8),
            14: self._open,
            15: self._read,
            16: self._write,
            17: self._room,
            18: lambda _node, _body: b"",
            20: self._sync,
            25: lambda _node, _body: b"",
            26: self._begin,
            27: lambda _node, _body: struct.pack("<QII", 0, 0, 0),
            28: self._list,
            29: lambda _node, _body: b"",
            30: self._sync_names,
            35: self._create,
            42: lambda _node, _body: None,
            45: lambda _node, body: self._rename(body, 16),
        }

    def serve(self) -> None:
        """Until it is unmounted."""
        while True:
            try:
                request = os.read(self._device, WRITE_MAX + (1 << 16))
            except OSError as error:
                if error.errno in (errno.EINTR, errno.EAGAIN, errno.ENOENT):
                    continue
                return
            self._answer(request)

    def _answer(self, request: bytes) -> None:
        _, operation, unique, node, *_ = _HEADER.unpack_from(request)
        number, body = 0, b""
        try:
            answer = self._methods[operation](node, request[_HEADER.size :])
            if answer is None:
                return
            body = answer
        except KeyError:
            number = errno.ENOSYS
        except OSError as error:
            number = error.errno or errno.EIO
        try:
            os.write(self._device, _ANSWER.pack(_ANSWER.size + len(body), -number, unique) + body)
        except OSError as error:
            if error.errno != errno.ENOENT:  # who asked has gone
                raise

    def _begin(self, _node: int, body: bytes) -> bytes:
        _, minor, ahead, offered = struct.unpack_from("<4I", body)
        flags = (BIG_WRITES | MAX_PAGES) & offered
        pages = WRITE_MAX // BLOCK
        return struct.pack(
            "<4I2H2I2HI7I", MAJOR, min(minor, MINOR), ahead, flags, 16, 12, WRITE_MAX, 1, pages, 0, 0, *[0] * 7
        )

    def _attributes(self, node: int) -> bytes:
        size = 0 if node == ROOT else self._directory.size(node)
        mode = stat.S_IFDIR | 0o755 if node == ROOT else stat.S_IFREG | 0o600
        blocks = -(-size // 512)
        return _ATTRIBUTES.pack(node, size, blocks, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, BLOCK, 0)

    def _entry(self, node: int) -> bytes:
        return struct.pack("<4Q2I", node, 0, CACHED_SECONDS, CACHED_SECONDS, 0, 0) + self._attributes(node)

    def _look_up(self, _node: int, body: bytes) -> bytes:
        return self._entry(self._directory.look_up(_name(body)))

    def _get_attributes(self, node: int, _body: bytes) -> bytes:
        return struct.pack("<QII", CACHED_SECONDS, 0, 0) + self._attributes(node)

    def _set_attributes(self, node: int, body: bytes) -> bytes:
        valid, _, _, size = struct.unpack_from("<IIQQ", body)
        if valid & SIZE_GIVEN:
            self._directory.resize(node, size)
        return self._get_attributes(node, b"")

    def _unlink(self, _node: int, body: bytes) -> bytes:
        self._directory.unlink(_name(body))
        return b""

    def _rename(self, body: bytes, fixed: int) -> bytes:
        name, new_name = body[fixed:].rstrip(b"\0").split(b"\0")
        self._directory.rename(name.decode(), new_name.decode())
        return b""

    def _open(self, node: int, _body: bytes) -> bytes:
        return struct.pack("<QII", node, KEEP_CACHE, 0)

    def _create(self, _node: int, body: bytes) -> bytes:
        node = self._directory.create(_name(body[16:]))
        return self._entry(node) + self._open(node, b"")

    def _read(self, node: int, body: bytes) -> bytes:
        _, offset, size = struct.unpack_from("<QQI", body)
        return self._directory.read(node, offset, size)

    def _write(self, node: int, body: bytes) -> bytes:
        _, offset, size = struct.unpack_from("<QQI", body)
        self._directory.write(node, offset, body[40 : 40 + size])
        return struct.pack("<II", size, 0)

    def _room(self, _node: int, _body: bytes) -> bytes:
        whole, free = (part // BLOCK for part in self._directory.room())
        return struct.pack("<5Q4I6I", whole, free, free, 1000, 1000, BLOCK, 255, BLOCK, 0, *[0] * 6)

    def _sync(self, node: int, _body: bytes) -> bytes:
        self._directory.sync(node)
        return b""

    def _sync_names(self, _node: int, _body: bytes) -> bytes:
        self._directory.sync_names()
        return b""

    def _list(self, _node: int, body: bytes) -> bytes:
        _, offset, size = struct.unpack_from("<QQI", body)
        entries = [(ROOT, "."), (ROOT, ".."), *self._directory.names()]
        listed = b""
        for place, (node, name) in enumerate(entries[offset:], offset + 1):
            raw = name.encode()
            kind = (stat.S_IFDIR if node == ROOT else stat.S_IFREG) >> 12
            entry = struct.pack("<QQII", node, place, len(raw), kind) + raw
            entry += b"\0" * (-len(entry) % 8)
            if len(listed) + len(entry) > size:
                break
            listed += entry
        return listed


def _name(body: bytes) -> str:
    return body.rstrip(b"\0").decode()
