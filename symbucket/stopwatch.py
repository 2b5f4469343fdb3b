"""Seconds that kinds of work take, wherever in the package they are done.

``fit`` says at its end where its time went. What it spends on compiling or on checkpoints happens
deep inside a step, so those places measure themselves: ``with timed("compile"):``.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator


class _Spent(threading.local):
    """Seconds of this thread by kind of work."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.running = False  # work inside of timed work counts once, for the outer kind


_spent = _Spent()


@contextlib.contextmanager
def timed(kind: str) -> Iterator[None]:
    """Count the seconds of a block as ``kind``, unless it is inside of another such block."""
    if _spent.running:
        yield
        return
    _spent.running, start = True, time.perf_counter()
    try:
        yield
    finally:
        _spent.running = False
        seconds = time.perf_counter() - start
        _spent.seconds[kind] = _spent.seconds.get(kind, 0.0) + seconds


class Laps:
    """Divides the time from now on among kinds of work, without a gap.

    Attributes:
        seconds: by kind of work.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._mark = time.perf_counter()
        self._before = dict(_spent.seconds)

    def lap(self, kind: str) -> float:
        """Count the time since the last lap as ``kind``, but for what ``timed`` has counted.

        Returns the seconds that went to ``kind``.
        """
        now = time.perf_counter()
        rest, self._mark = now - self._mark, now
        if _spent.seconds != self._before:
            for name, total in _spent.seconds.items():
                more = total - self._before.get(name, 0.0)
                if more:
                    self.seconds[name] = self.seconds.get(name, 0.0) + more
                    rest -= more
            self._before = dict(_spent.seconds)
        rest = max(rest, 0.0)
        self.seconds[kind] = self.seconds.get(kind, 0.0) + rest
        return rest
