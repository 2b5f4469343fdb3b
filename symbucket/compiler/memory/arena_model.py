"""What the runtime's arena makes of a sequence of requests, without running anything.

ONNX Runtime's arena is TensorFlow's "best fit with coalescing" allocator: requests are rounded up
to 256 bytes, the smallest free piece that is large enough is taken (the first one in memory of
those), split where enough is left over, and merged with free neighbours when it comes back.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence

from symbucket.compiler.memory.intervals import Buffer

ENDLESS = 1 << 60
DEAD_BYTES = 65536  # the arena's max_dead_bytes_per_chunk: what it may leave unused in a piece


class Arena:
    """A model of the arena: ``take`` and ``give`` are its requests, by buffer number.

    It begins with one free region of ``reserved`` bytes. A request that fits nowhere adds a region
    of exactly its size (the runtime's extend strategy 1). ``touched`` is what a run has used of
    the first region, and all of the others.
    """

    def __init__(self, reserved: int = ENDLESS, dead_bytes: int = DEAD_BYTES) -> None:
        self.dead_bytes = dead_bytes
        self.touched = 0
        self.regions = [reserved] if reserved else []
        self._end = reserved
        self._first, self._reached = reserved, 0
        self._free: list[tuple[int, int]] = []  # (size, start), sorted
        self._starts: dict[int, int] = {}  # free pieces: start -> size
        self._ends: dict[int, int] = {}  # free pieces: end -> start
        self._taken: dict[int, tuple[int, int]] = {}  # buffer -> (start, size)
        self._begins: set[int] = {0, reserved}  # of regions; pieces do not merge across
        if reserved:
            self._insert(reserved, 0)

    def take(self, number: int, size: int) -> int:
        """Where a request of ``size`` bytes lands."""
        at = bisect_left(self._free, (size, -1))
        if at == len(self._free):
            start, have = self._end, size
            self._end += size
            self._begins.add(self._end)
            self.regions.append(size)
            self.touched += size
        else:
            have, start = self._free.pop(at)
            del self._starts[start], self._ends[start + have]
            if have >= 2 * size or have - size >= self.dead_bytes:
                self._insert(have - size, start + size)
                have = size
            if start < self._first:
                self._reach(start + have)
        self._taken[number] = start, have
        return start

    def _reach(self, end: int) -> None:
        if end > self._reached:
            self.touched += end - self._reached
            self._reached = end

    def give(self, number: int) -> None:
        """Free what ``take`` gave."""
        start, size = self._taken.pop(number)
        end = start + size
        if end in self._starts and end not in self._begins:
            after = self._starts[end]
            self._remove(after, end)
            size += after
        if start in self._ends and start not in self._begins:
            before = self._ends[start]
            length = start - before
            self._remove(length, before)
            start, size = before, size + length
        self._insert(size, start)

    def _insert(self, size: int, start: int) -> None:
        insort(self._free, (size, start))
        self._starts[start] = size
        self._ends[start + size] = start

    def _remove(self, size: int, start: int) -> None:
        del self._free[bisect_left(self._free, (size, start))]
        del self._starts[start], self._ends[start + size]


def run_through(arena: Arena, buffers: Sequence[Buffer]) -> list[int]:
    """One run of a graph with these buffers (sorted by birth); gives where each one lands."""
    leaving: dict[int, list[int]] = {}
    for number, buffer in enumerate(buffers):
        leaving.setdefault(buffer.death, []).append(number)
    ends = sorted(leaving)
    starts: list[int] = []
    done = 0
    for number, buffer in enumerate(buffers):
        while done < len(ends) and ends[done] < buffer.birth:
            for gone in leaving[ends[done]]:
                arena.give(gone)
            done += 1
        starts.append(arena.take(number, buffer.size))
    for end in ends[done:]:
        for gone in leaving[end]:
            arena.give(gone)
    return starts
