"""A disk that loses, when its power is cut, what was written and not synced; and that can be full.

Run as a program (`python -m tests.support.lossy_disk BACKING MOUNT`) it mounts a flat directory. What programs write
stays in memory: a file's bytes reach the disk by its fsync, a name that was made, moved or taken away by the
directory's. At a cut what reached the disk is put into the backing folder, with as much of the rest as the kind of cut
lets through, and the program ends.
"""

from __future__ import annotations

import errno
import json
import os
import random
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from tests.support import fuse

PAGE = 4096
SECTOR = 512
VERSIONS_KEPT = 4
TORN_SHARE = 0.2
UNLIMITED = 1 << 40


class Loss(StrEnum):
    """What becomes of what was not synced."""

    ALL = "nothing of it is there"
    SOME = "any pages of it are there, and names up to some moment"
    REORDERED = "any pages of it are there, each as it was at some moment, or half of it"


@dataclass
class File:
    """One file: as programs see it, as the disk has it, and what each page was meanwhile, oldest first."""

    content: bytearray = field(default_factory=bytearray)
    durable: bytearray = field(default_factory=bytearray)
    written: dict[int, list[bytes]] = field(default_factory=dict)

    def write(self, offset: int, data: bytes) -> None:
        end = offset + len(data)
        if len(self.content) < end:
            self.content.extend(bytes(end - len(self.content)))
        self.content[offset:end] = data
        for page in range(offset // PAGE, -(-end // PAGE)):
            versions = self.written.setdefault(page, [])
            versions.append(bytes(self.content[page * PAGE : (page + 1) * PAGE]))
            del versions[:-VERSIONS_KEPT]

    def resize(self, size: int) -> None:
        if size < len(self.content):
            del self.content[size:]
            self.written = {page: versions for page, versions in self.written.items() if page * PAGE < size}
        else:
            self.content.extend(bytes(size - len(self.content)))

    def sync(self) -> None:
        for page in self.written:
            if len(self.durable) < page * PAGE:
                self.durable.extend(bytes(page * PAGE - len(self.durable)))
            self.durable[page * PAGE : (page + 1) * PAGE] = self.content[page * PAGE : (page + 1) * PAGE]
        del self.durable[len(self.content) :]
        self.durable.extend(bytes(len(self.content) - len(self.durable)))
        self.written.clear()

    def after(self, loss: Loss, rng: random.Random) -> bytes:
        """What the disk holds after a cut."""
        left = bytearray(self.durable)
        if loss is not Loss.ALL and rng.random() < 0.5:
            del left[len(self.content) :]
        for page, versions in self.written.items() if loss is not Loss.ALL else ():
            old = bytes(self.durable[page * PAGE : (page + 1) * PAGE])
            kept = rng.choice([old, versions[-1]] if loss is Loss.SOME else [old, *versions])
            if loss is Loss.REORDERED and rng.random() < TORN_SHARE:
                kept = _torn(kept, versions[-1], rng)
            if kept:
                left.extend(bytes(max(page * PAGE - len(left), 0)))
                left[page * PAGE : (page + 1) * PAGE] = kept
        return bytes(left)


def _torn(one: bytes, other: bytes, rng: random.Random) -> bytes:
    """A page of which the first sectors are of one moment and the others of another."""
    place = rng.randrange(0, PAGE, SECTOR)
    return other[:place] + one[place:]


class Disk:
    """The directory: what names stand for, as programs see it and as the disk has it, and the changes between."""

    def __init__(self, backing: Path) -> None:
        self._backing = backing
        self._files: dict[int, File] = {}
        self._numbers: dict[str, int] = {}
        for path in sorted(backing.iterdir()):
            content = path.read_bytes()
            self._numbers[path.name] = self._add(File(bytearray(content), bytearray(content)))
        self._durable_numbers = dict(self._numbers)
        self._changes: list[Callable[[dict[str, int]], object]] = []
        self.capacity = UNLIMITED
        self.lock = threading.Lock()

    def _add(self, file: File) -> int:
        number = fuse.ROOT + 1 + len(self._files)
        self._files[number] = file
        return number

    def _change(self, change: Callable[[dict[str, int]], object]) -> None:
        change(self._numbers)
        self._changes.append(change)

    def look_up(self, name: str) -> int:
        if name not in self._numbers:
            raise FileNotFoundError(errno.ENOENT, name)
        return self._numbers[name]

    def size(self, number: int) -> int:
        return len(self._files[number].content)

    def create(self, name: str) -> int:
        number = self._add(File())
        self._change(lambda names: names.update({name: number}))
        return number

    def read(self, number: int, offset: int, size: int) -> bytes:
        return bytes(self._files[number].content[offset : offset + size])

    def write(self, number: int, offset: int, data: bytes) -> None:
        self._require_room(number, offset + len(data))
        self._files[number].write(offset, data)

    def resize(self, number: int, size: int) -> None:
        self._require_room(number, size)
        self._files[number].resize(size)

    def _require_room(self, number: int, size: int) -> None:
        growth = size - self.size(number)
        if growth > 0 and growth > self.room()[1]:
            raise OSError(errno.ENOSPC, "full")

    def room(self) -> tuple[int, int]:
        used = sum(len(self._files[number].content) for number in self._numbers.values())
        return self.capacity, max(self.capacity - used, 0)

    def sync(self, number: int) -> None:
        self._files[number].sync()

    def sync_names(self) -> None:
        self._durable_numbers = dict(self._numbers)
        self._changes.clear()

    def unlink(self, name: str) -> None:
        self.look_up(name)
        self._change(lambda names: names.pop(name, None))

    def rename(self, name: str, new_name: str) -> None:
        number = self.look_up(name)

        def move(names: dict[str, int]) -> None:
            names.pop(name, None)
            names[new_name] = number

        self._change(move)

    def names(self) -> list[tuple[int, str]]:
        return [(number, name) for name, number in self._numbers.items()]

    def cut(self, loss: Loss, rng: random.Random) -> dict[str, int]:
        """Puts into the backing folder what a cut leaves, and answers how much was not synced."""
        names = dict(self._durable_numbers)
        kept = 0 if loss is Loss.ALL else rng.randint(0, len(self._changes))
        for change in self._changes[:kept]:
            change(names)
        for path in self._backing.iterdir():
            path.unlink()
        for name, number in names.items():
            (self._backing / name).write_bytes(self._files[number].after(loss, rng))
        return {
            "pages": sum(len(self._files[number].written) for number in self._numbers.values()),
            "names": len(self._changes),
        }


class Locked(fuse.Kernel):
    """Answers nothing more once the power is cut."""

    def __init__(self, device: int, disk: Disk) -> None:
        super().__init__(device, disk)
        self._disk = disk

    def _answer(self, request: bytes) -> None:
        with self._disk.lock:
            super()._answer(request)


def main(backing: str, folder: str) -> None:
    """Mounts, then does what each line of the input says: `cut LOSS SEED`, or `room BYTES`."""
    disk = Disk(Path(backing))
    kernel = Locked(fuse.mount(Path(folder)), disk)
    threading.Thread(target=kernel.serve, daemon=True).start()
    print("mounted", flush=True)
    for line in sys.stdin:
        word, *rest = line.split()
        disk.lock.acquire()
        if word == "cut":
            print(json.dumps(disk.cut(Loss[rest[0]], random.Random(rest[1]))), flush=True)
            os._exit(0)
        disk.capacity = disk.room()[0] - disk.room()[1] + int(rest[0]) if rest else UNLIMITED
        disk.lock.release()
        print("{}", flush=True)
    fuse.unmount(Path(folder))  # whoever told it what to do has gone


if __name__ == "__main__":
    main(*sys.argv[1:])
