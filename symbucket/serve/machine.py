"""Cores of the machine: how many this process has, and whether others use them."""

from __future__ import annotations

import os
import time

_SECONDS = 0.5  # between two looks at the machine
_SHARE = 1.25  # of the cores: what this process may take by itself, and a little


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class MachineLoad:
    """Says whether a run may be split among threads.

    The threads of a run wait for each other many times. Where other processes take a core, the run
    waits for the thread that is not scheduled: a request of 0.5 ms takes 7 ms then, every fourth
    time. On one thread it takes 0.5 ms.
    """

    def __init__(self) -> None:
        self._looked = 0.0
        self._free = True

    def allows_threads(self) -> bool:
        """Return whether the load of the last minute leaves all cores to this process."""
        now = time.monotonic()
        if now - self._looked > _SECONDS and hasattr(os, "getloadavg"):
            self._looked = now
            self._free = os.getloadavg()[0] <= _SHARE * cores()
        return self._free
