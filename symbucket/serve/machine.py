"""Cores of the machine: how many this process has, and whether a run gains by several."""

from __future__ import annotations

import os

FIRST = 8
"""Runs that are done both ways, before one is chosen."""

_TRIALS = 4  # runs one after another that are done the other way: perhaps it is faster now
_BETWEEN = (128, 1024)  # at least and at most so many runs from trials to trials
_LOSS = 0.005  # the part of the time that trials may cost, as far as the bounds allow
_OVERHEAD = 4  # what a run takes besides its steps, in steps
_LARGEST = 4.0  # times the mean: what takes longer was interrupted, and counts as that


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class ThreadChoice:
    """Chooses between a run that is split among threads and one that is not: the faster of late.

    The threads of a run wait for each other many times. How long that takes depends on the machine
    and on the moment: a request of one sentence that takes 0.21 ms on two free cores of one chip
    takes 0.4 ms where the cores are far apart, and 7 ms every fourth time where other processes
    take a core. On one thread it takes 0.3 ms. So both ways are measured.
    """

    def __init__(self) -> None:
        self._means: dict[bool, float] = {}
        self._runs = 0
        self._trials = _BETWEEN[0]  # the run with which the next ones begin
        self._last: bool | None = None

    def splits(self) -> bool:
        """Return whether the next run is split among threads."""
        self._runs += 1
        if self._runs <= FIRST or len(self._means) < 2:
            return (self._runs - 1) // (FIRST // 2) % 2 == 0
        if self._runs >= self._trials + _TRIALS:
            slower = max(self._means.values()) / min(self._means.values())
            least, most = _BETWEEN
            self._trials = self._runs + int(min(max(_TRIALS * (slower - 1) / _LOSS, least), most))
        return self._is_faster(True) != (self._runs >= self._trials)

    def _is_faster(self, split: bool) -> bool:
        return (self._means[True] <= self._means[False]) == split

    def record(self, split: bool, steps: int, seconds: float) -> None:
        """Count a run, unless the one before was done the other way: threads had to wake up."""
        last, self._last = self._last, split
        if split is not last:
            return
        taken = seconds / (steps + _OVERHEAD)
        mean = self._means.setdefault(split, taken)
        if self._runs <= FIRST or len(self._means) < 2:  # the very first ones are slow
            self._means[split] = min(mean, taken)
            return
        rate = 0.05 if self._is_faster(split) else 0.5
        self._means[split] = mean + rate * (min(taken, _LARGEST * mean) - mean)
