"""Offsets in one pool, such that no two buffers that are live at one time overlap.

The problem is dynamic storage allocation with known live ranges, NP-hard (Garey and Johnson, 1979,
SR2). Greedy placement in a good order comes close to the lower bound: the order "largest first" is
that of Pisarchyk and Lee, *Efficient memory management for deep neural net inference* (2020).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from symbucket.compiler.memory.arena_model import ArenaModel, run_through
from symbucket.compiler.memory.live_ranges import Buffer, lower_bound
from symbucket.types import IntArray


def place(buffers: Sequence[Buffer]) -> tuple[list[int], int]:
    """Return an offset for every buffer, and the bytes that all of them need.

    Tries the order of birth, then those by size, by size times lifetime and by lifetime, keeps the
    best, and stops as soon as the lower bound is reached. ``buffers`` are sorted by birth.
    """
    if not buffers:
        return [], 0
    bound = lower_bound(list(buffers))
    arena = ArenaModel(dead_bytes=0)
    best, peak = run_through(arena, buffers), arena.touched
    sizes, births, deaths = (
        np.array([getattr(b, name) for b in buffers], dtype=np.int64)
        for name in ("size", "birth", "death")
    )
    spans = deaths - births + 1
    for keys in ((births, -sizes), (births, -sizes * spans), (-sizes, -spans)):
        if peak == bound:
            break
        order = np.lexsort(keys)
        offsets = _greedy(order, sizes, births, deaths)
        need = int((offsets + sizes).max())
        if need < peak:
            best, peak = [int(o) for o in offsets], need
    return best, peak


def _greedy(order: IntArray, sizes: IntArray, births: IntArray, deaths: IntArray) -> IntArray:
    """Place one after another in the smallest hole that is large enough, or else after all."""
    offsets = np.zeros(len(order), dtype=np.int64)
    # What is placed, sorted by offset; columns: offset, end, birth, death.
    placed = np.empty((4, len(order)), dtype=np.int64)
    for count, number in enumerate(order):
        size, birth, death = sizes[number], births[number], deaths[number]
        table = placed[:, :count]
        hits = np.flatnonzero((table[2] <= death) & (table[3] >= birth))
        at = 0
        if len(hits):
            starts, ends = table[0, hits], np.maximum.accumulate(table[1, hits])
            holes = starts.copy()
            holes[1:] -= ends[:-1]
            fitting = np.flatnonzero(holes >= size)
            if len(fitting):
                hole = fitting[np.argmin(holes[fitting])]
                at = int(ends[hole - 1]) if hole else 0
            else:
                at = int(ends[-1])
        offsets[number] = at
        row = int(np.searchsorted(table[0], at, side="right"))
        placed[:, row + 1 : count + 1] = placed[:, row:count].copy()
        placed[:, row] = at, at + size, birth, death
    return offsets
