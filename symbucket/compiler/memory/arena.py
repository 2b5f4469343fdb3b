"""What the runtime's arena makes of a sequence of requests, without running anything.

ONNX Runtime's arena is TensorFlow's "best fit with coalescing" allocator: requests are rounded up
to 256 bytes, the smallest free piece that is large enough is taken (the first one in memory of
those), split where enough is left over, and merged with free neighbours when it comes back.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence

from symbucket.compiler.memory.intervals import Buffer

DEAD_BYTES = 65536  # the arena's max_dead_bytes_per_chunk: what it may leave unused in a piece


class Arena:
    """A model of the arena: ``take`` and ``give`` are its requests, by buffer number.

    With ``growing`` every request that fits nowhere adds a region of exactly its size (the
    runtime's extend strategy 1); else there is one region without end, and ``used`` says how much
    of it was touched.
    """

    def __init__(self, growing: bool, dead_bytes: int = DEAD_BYTES) -> None:
        self.growing = growing
        self.dead_bytes = dead_bytes
        self.used = 0
        self._free: list[tuple[int, int]] = []  # (size, start), sorted
        self._starts: dict[int, int] = {}  # free pieces: start -> size
        self._ends: dict[int, int] = {}  # free pieces: end -> start
        self._taken: dict[int, tuple[int, int]] = {}  # buffer -> (start, size)
        self._regions: set[int] = {0}  # where a region begins; pieces do not merge across

    def take(self, number: int, size: int) -> int:
        """Where a request of ``size`` bytes lands."""
        at = self._find(size)
        if at is None:
            start = self.used
            self.used += size
            if self.growing:
                self._regions.add(start)
            elif start in self._ends:
                # The free end of what was touched, and as much of the rest as is needed.
                before = self._ends[start]
                self._remove(self._starts[before], before)
                start, self.used = before, before + size
            self._taken[number] = start, size
            return start
        have, start = self._free.pop(at)
        del self._starts[start], self._ends[start + have]
        if have >= 2 * size or have - size >= self.dead_bytes:
            self._insert(have - size, start + size)
            have = size
        self._taken[number] = start, have
        return start

    def give(self, number: int) -> None:
        """Free what ``take`` gave."""
        start, size = self._taken.pop(number)
        end = start + size
        if end in self._starts and not (self.growing and end in self._regions):
            after = self._starts[end]
            self._remove(after, end)
            size += after
        if start in self._ends and not (self.growing and start in self._regions):
            before = self._ends[start]
            length = start - before
            self._remove(length, before)
            start, size = before, size + length
        self._insert(size, start)

    def _find(self, size: int) -> int | None:
        at = bisect_left(self._free, (size, -1))
        return at if at < len(self._free) else None

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
