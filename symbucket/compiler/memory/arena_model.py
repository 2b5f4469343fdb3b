"""Simulate the runtime's arena: where a sequence of requests lands, without running anything.

ONNX Runtime's arena is TensorFlow's "best fit with coalescing" allocator: requests are rounded up
to 256 bytes, the smallest free piece that is large enough is taken (of those the first in memory),
split if enough is left over, and merged with free neighbours when it is freed.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence

from symbucket.compiler.memory.live_ranges import Buffer

UNLIMITED = 1 << 60  # bytes
DEAD_BYTES = 65536  # the arena's max_dead_bytes_per_chunk: what it may leave unused in a piece


class ArenaModel:
    """A model of the arena: ``allocate`` and ``free`` are its requests, by buffer number.

    It begins with one free region of ``reserved`` bytes. A request that fits nowhere adds a region
    of exactly its size (the runtime's extend strategy 1). ``touched`` is what a run has used of
    the first region, and all of the others.
    """

    def __init__(self, reserved: int = UNLIMITED, dead_bytes: int = DEAD_BYTES) -> None:
        self.dead_bytes = dead_bytes
        self.touched = 0
        self.regions = [reserved] if reserved else []
        self._end = reserved
        self._first, self._reached = reserved, 0
        self._free: list[tuple[int, int]] = []  # (size, start), sorted
        self._starts: dict[int, int] = {}  # free pieces: start -> size
        self._ends: dict[int, int] = {}  # free pieces: end -> start
        self._allocated: dict[int, tuple[int, int]] = {}  # buffer -> (start, size)
        self._begins: set[int] = {0, reserved}  # of regions; pieces do not merge across
        if reserved:
            self._insert(reserved, 0)

    def allocate(self, number: int, size: int) -> int:
        """Return the address of a request of ``size`` bytes."""
        at = bisect_left(self._free, (size, -1))
        if at == len(self._free):
            start, taken = self._end, size
            self._end += size
            self._begins.add(self._end)
            self.regions.append(size)
            self.touched += size
        else:
            taken, start = self._free.pop(at)
            del self._starts[start], self._ends[start + taken]
            if taken >= 2 * size or taken - size >= self.dead_bytes:
                self._insert(taken - size, start + size)
                taken = size
            if start < self._first:
                self._reach(start + taken)
        self._allocated[number] = start, taken
        return start

    def _reach(self, end: int) -> None:
        if end > self._reached:
            self.touched += end - self._reached
            self._reached = end

    def free(self, number: int) -> None:
        """Free the memory of a buffer."""
        start, size = self._allocated.pop(number)
        end = start + size
        if end in self._starts and end not in self._begins:
            next_size = self._starts[end]
            self._remove(next_size, end)
            size += next_size
        if start in self._ends and start not in self._begins:
            previous = self._ends[start]
            previous_size = start - previous
            self._remove(previous_size, previous)
            start, size = previous, size + previous_size
        self._insert(size, start)

    def _insert(self, size: int, start: int) -> None:
        insort(self._free, (size, start))
        self._starts[start] = size
        self._ends[start + size] = start

    def _remove(self, size: int, start: int) -> None:
        del self._free[bisect_left(self._free, (size, start))]
        del self._starts[start], self._ends[start + size]


def run_through(arena: ArenaModel, buffers: Sequence[Buffer]) -> list[int]:
    """Run a graph with these buffers, sorted by birth, and return the address of each one."""
    dying: dict[int, list[int]] = {}
    for number, buffer in enumerate(buffers):
        dying.setdefault(buffer.death, []).append(number)
    ends = sorted(dying)
    starts: list[int] = []
    done = 0
    for number, buffer in enumerate(buffers):
        while done < len(ends) and ends[done] < buffer.birth:
            for dead in dying[ends[done]]:
                arena.free(dead)
            done += 1
        starts.append(arena.allocate(number, buffer.size))
    for end in ends[done:]:
        for dead in dying[end]:
            arena.free(dead)
    return starts
