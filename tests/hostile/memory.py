"""Whether a server that is sent the same wrong things again and again keeps any of it."""

from __future__ import annotations

import gc
import os
from collections.abc import Sequence
from pathlib import Path

from tests.hostile.campaign import Campaign

MIB = 1024 * 1024
_PAGE = os.sysconf("SC_PAGE_SIZE")


def resident_bytes(pid: int | str = "self") -> int:
    """How much memory a process has, by the kernel's count."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE


async def growth(campaign: Campaign, methods: Sequence[str], calls: int, passes: int) -> int:
    """By how many bytes the process grows while the same calls are made `passes` times, once they were made before."""
    sizes = []
    for _ in range(passes + 1):
        for method in methods:
            await campaign.block(method, 1, calls)
        gc.collect()
        sizes.append(resident_bytes())
    return sizes[-1] - sizes[0]
