"""The control groups of Linux that limit this process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path


def controller_folders(proc: Path, cgroups: Path, controller: str) -> Iterator[Path]:
    """Yield where the limits of ``controller`` ("memory", "pids") may stand, of version 2 or 1.

    A container may see its group's own path, or its group as the root. ``proc`` and ``cgroups`` are
    where these file systems are mounted.
    """
    try:
        lines = (proc / "self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers in ("", controller):
            yield cgroups / controllers / path.lstrip("/")
            yield cgroups / controllers
