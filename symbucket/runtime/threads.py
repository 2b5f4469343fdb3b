"""The number of threads of a session: the cores, a documented cap, and what the system allows.

Every session of ONNX Runtime makes a pool of its own. (Newer versions can share one, but then every
session of the process has to be told so, also those that a program makes without this library.)
Only one session of a module runs at a time, so many keys on many cores would leave thousands of
idle threads behind; and under a container's limit a runtime that cannot make its pool hangs.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from symbucket.checks import check_integer
from symbucket.errors import DeviceError
from symbucket.runtime.cgroup import controller_folders

if os.name == "posix":
    import resource

MOST_THREADS = 16
"""Threads of a session unless :func:`set_threads` says more: products gain little beyond that."""

_RESERVE = 8  # threads that are left to the rest of the program
_PROC = Path("/proc")
_CGROUPS = Path("/sys/fs/cgroup")

logger = logging.getLogger("symbucket.runtime")


class _Settings:
    """Belongs to the process, not to a thread: sessions may be created in the background."""

    threads = 0
    warned = False


def thread_count() -> int:
    """Return on how many threads new sessions run a node, if the system allows as many."""
    if _Settings.threads:
        return _Settings.threads
    affinity = getattr(os, "sched_getaffinity", None)
    cores = (os.cpu_count() or 1) if affinity is None else len(affinity(0))
    return min(cores, MOST_THREADS)


def set_threads(count: int) -> None:
    """Let sessions created from now on run each node on ``count`` threads.

    0: on one per core, up to 16. Sums of products are split among the threads, so another count
    gives other roundings.
    """
    _Settings.threads = check_integer(count, "threads", 0)


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Let sessions created in the block run each node on ``count`` threads; 0: one per core."""
    previous = _Settings.threads
    set_threads(count)
    try:
        yield
    finally:
        _Settings.threads = previous


def session_threads(threads: int | None) -> int:
    """Return the number of threads to ask the runtime for; 0: its own choice, one a core.

    ``threads``: in place of what :func:`set_threads` says.
    """
    number = threads or thread_count()
    allowed = allowed_threads(number)
    own_choice = not threads and not _Settings.threads and number < MOST_THREADS
    return 0 if own_choice and allowed == number else allowed


def allowed_threads(number: int) -> int:
    """Return how many threads a new session may run on: ``number``, or what there is room for.

    A session of n threads makes n - 1. Raises DeviceError if there is no room for any.
    """
    room = _room()
    if room is None or number <= 1:
        return number
    free, limit = room
    if free < 0:
        raise DeviceError(
            f"the system lets this process (or its user) have {limit} threads, and all but "
            f"{free + _RESERVE} are in use, so a session cannot be made. Raise the limit (ulimit "
            "-u, or pids of the container), or use max_executors= to keep fewer networks ready"
        )
    count = max(1, min(number, free + 1))
    if count < number and not _Settings.warned:
        _Settings.warned = True
        logger.warning(
            "sessions get %d threads, not %d: the system allows %d threads in all. "
            "symbucket.runtime.set_threads(n) gives every session n from the start",
            count,
            number,
            limit,
        )
    return count


def _room() -> tuple[int, int] | None:
    """Return how many more threads may be made, and the limit; None if there is none."""
    rooms = [room for room in (_cgroup_room(), _user_room()) if room is not None]
    return min(rooms, default=None)


def _cgroup_room() -> tuple[int, int] | None:
    for folder in controller_folders(_PROC, _CGROUPS, "pids"):
        try:
            limit = (folder / "pids.max").read_text().strip()
            used = int((folder / "pids.current").read_text())
        except (OSError, ValueError):
            continue
        if limit.isdigit():
            return int(limit) - used - _RESERVE, int(limit)
    return None


def _user_room() -> tuple[int, int] | None:
    if os.name != "posix" or os.geteuid() == 0:  # the limit does not bind root
        return None
    limit, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    if limit == resource.RLIM_INFINITY:
        return None
    return limit - _threads_of_user(os.getuid()) - _RESERVE, limit


def _threads_of_user(user: int) -> int:
    total = 0
    for entry in _PROC.glob("[0-9]*"):
        try:
            if entry.stat().st_uid == user:
                total += len(os.listdir(entry / "task"))
        except OSError:
            continue  # it has ended
    return total
