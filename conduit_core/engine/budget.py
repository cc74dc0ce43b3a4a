"""How much memory a run may use: a byte budget that honours container limits."""

from __future__ import annotations

import os
from pathlib import Path

MIB = 1024 * 1024
QUEUE_BYTES = 16 * MIB
DRIVER_BYTES = 64 * MIB
_CGROUP_FILES = (
    "/sys/fs/cgroup/memory.max",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes",
)


def container_limit_bytes(files: tuple[str, ...] = _CGROUP_FILES) -> int | None:
    """Return the container's memory limit, or None where there is none (cgroup v2, then v1)."""
    for name in files:
        try:
            text = Path(name).read_text().strip()
        except OSError:
            continue
        if text.isdigit() and int(text) < 1 << 60:  # v1 says "no limit" with a huge number
            return int(text)
    return None


def memory_limit_bytes() -> int:
    """Return what this process may use at most: the container's limit or the machine's memory."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(physical, container_limit_bytes() or physical)


def budgets(jobs: int, limit_bytes: int | None = None) -> tuple[int, int]:
    """Return (queue bytes of one stream, bytes for a connector's own buffers).

    The normal budgets are constants, so that memory doesn't grow with the machine; where the limit
    is small they shrink: the queues get an eighth of it at most, a connector a quarter.
    """
    limit = limit_bytes if limit_bytes is not None else memory_limit_bytes()
    queue = min(QUEUE_BYTES, limit // 8 // max(jobs, 1))
    driver = min(DRIVER_BYTES, limit // 4)
    return max(queue, 1 * MIB), max(driver, 16 * MIB)
