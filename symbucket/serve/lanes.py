"""Lanes: what a run needs for itself, lent to one thread at a time."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from symbucket.context import Context
from symbucket.errors import DeadlineError
from symbucket.export.spec import TensorSpec
from symbucket.runtime import NDArray
from symbucket.runtime.ndarray import aligned_empty
from symbucket.runtime.providers import provider_of
from symbucket.serve.bound_run import BoundRun
from symbucket.types import Array

_LINE = 64  # bytes between the starts of buffers
_RUNS = 1024  # that a lane keeps: one for each session and size


class Lane:
    """Memory for the inputs and outputs of one run at a time, and runs bound to it."""

    def __init__(self, nbytes: int, context: Context) -> None:
        self._context = context
        host = provider_of(context).host_memory
        # Untouched pages cost nothing.
        self._memory: Array | None = aligned_empty((nbytes,), np.uint8) if host else None
        self._runs: OrderedDict[Hashable, BoundRun] = OrderedDict()

    def bound(self, key: Hashable, make: Callable[[], BoundRun]) -> BoundRun:
        """Return the runs of a session and size; ``make`` makes them the first time."""
        run = self._runs.get(key)
        if run is None:
            run = self._runs[key] = make()
            if len(self._runs) > _RUNS:
                self._runs.popitem(last=False)
        else:
            self._runs.move_to_end(key)
        return run

    def buffers(
        self, tensors: Sequence[TensorSpec], shapes: Sequence[tuple[int, ...]]
    ) -> dict[str, NDArray]:
        """Return a buffer for each tensor by name; all runs of the lane share the memory."""
        if self._memory is None:
            pairs = zip(tensors, shapes)
            return {t.name: NDArray.empty(s, t.dtype, self._context) for t, s in pairs}
        buffers, start = {}, 0
        for tensor, shape in zip(tensors, shapes):
            nbytes = int(np.prod(shape, dtype=np.int64)) * tensor.dtype.itemsize
            part = self._memory[start : start + nbytes].view(tensor.dtype).reshape(shape)
            buffers[tensor.name] = NDArray.over(part)
            start += padded(nbytes)
        return buffers


def padded(nbytes: int) -> int:
    """Return the bytes that a buffer takes in a lane."""
    return nbytes + -nbytes % _LINE


class Lanes:
    """A fixed number of lanes. Threads borrow one to run, or all of them to change what runs."""

    def __init__(self, count: int, make: Callable[[], Lane]) -> None:
        self.count = count
        self._idle = [make() for _ in range(count)]
        self._changed = threading.Condition()
        self._waiting = 0  # threads, for one lane or for all
        self._waiting_for_all = 0

    def borrow(self, deadline: float | None = None) -> tuple[Lane, bool]:
        """Lend a lane, and say whether no other is lent; DeadlineError if none is free in time.

        It must be given back.
        """
        with self._changed:
            if not self._idle or self._waiting_for_all:
                self._wait(lambda: bool(self._idle) and not self._waiting_for_all, deadline)
            lane = self._idle.pop()
            return lane, len(self._idle) == self.count - 1

    def give_back(self, lane: Lane) -> None:
        """Take a lane back."""
        with self._changed:
            self._idle.append(lane)
            if self._waiting:
                self._changed.notify_all()

    @contextmanager
    def all(self) -> Iterator[Lane]:
        """Wait until nothing runs, and let nothing begin before the block ends; lend a lane."""
        with self._changed:
            self._waiting_for_all += 1
            try:
                self._wait(lambda: len(self._idle) == self.count, None)
                lanes, self._idle = self._idle, []
            finally:
                self._waiting_for_all -= 1
        try:
            yield lanes[0]
        finally:
            with self._changed:
                self._idle = lanes
                self._changed.notify_all()

    def _wait(self, condition: Callable[[], bool], deadline: float | None) -> None:
        self._waiting += 1
        try:
            while not condition():
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    raise DeadlineError("the time of the requests was up before a run could begin")
                self._changed.wait(left)
        finally:
            self._waiting -= 1
