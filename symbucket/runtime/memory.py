"""The most memory that the system lets this process have."""

from __future__ import annotations

import os
from pathlib import Path

from symbucket.errors import MemoryLimitError
from symbucket.runtime.cgroup import controller_folders

if os.name == "posix":
    import resource

_PROC = Path("/proc")
_CGROUPS = Path("/sys/fs/cgroup")
_ALWAYS_THERE = 64 << 20  # bytes that are asked for without a look at the system


def check_memory(size: int, what: str) -> None:
    """Raise MemoryLimitError if ``size`` bytes are more than the system has in all.

    Linux grants memory that it does not have, and ends the process when it is written to.
    """
    if size <= _ALWAYS_THERE:
        return
    limit = most_memory()
    if limit is not None and size > limit:
        raise memory_error(size, what, f"the system has {limit / 1e6:,.0f} MB in all")


def memory_error(size: int, what: str, reason: str) -> MemoryLimitError:
    """Return the error for ``size`` bytes that cannot be had."""
    return MemoryLimitError(
        f"{what} needs {size / 1e6:,.0f} MB; {reason}. Use smaller batches or buckets, or raise "
        "the limit (ulimit -v, or the container's)"
    )


def most_memory() -> int | None:
    """Return the bytes of memory and swap, or what a container or ulimit allows; None: unknown."""
    sizes = _meminfo()
    limits = [limit for limit in (sizes.get("MemTotal"), _cgroup_limit()) if limit is not None]
    limits = [limit + sizes.get("SwapTotal", 0) for limit in limits]
    if os.name == "posix":
        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        if limit != resource.RLIM_INFINITY:
            limits.append(limit)
    return min(limits, default=None)


def _meminfo() -> dict[str, int]:
    try:
        lines = (_PROC / "meminfo").read_text().splitlines()
        pairs = (line.split()[:2] for line in lines if line.endswith(" kB"))
        return {name.rstrip(":"): int(size) << 10 for name, size in pairs}
    except (OSError, ValueError):
        return {}


def _cgroup_limit() -> int | None:
    for folder in controller_folders(_PROC, _CGROUPS, "memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            try:
                text = (folder / name).read_text().strip()
            except OSError:
                continue
            return int(text) if text.isdigit() else None
    return None
