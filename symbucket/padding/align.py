"""Which values of a network correspond to those of the same network padded further."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, product
from typing import Any

import numpy as np

from symbucket.types import Array

_MAX_ALIGNMENTS = 64  # ways to lay one array over the other that are tried


@dataclass(frozen=True)
class Aligned:
    """``long[index]`` stands for the shorter array; ``valid`` is false where that is padding.

    ``error`` is their largest valid difference, relative to the largest valid value.
    """

    index: tuple[Array, ...]
    valid: Array
    error: float


@dataclass(frozen=True)
class _Axis:
    """One axis laid over a longer one: its positions there, and where it is valid by row."""

    index: Array
    valid: Array | None  # (batch, size) or, with rows inside the axis, (size,)


@dataclass(frozen=True)
class Padding:
    """``pairs`` are (size, longer size) of padded axes, ``lengths`` what rows fill of each."""

    pairs: Sequence[tuple[int, int]]
    lengths: Mapping[tuple[int, int], Array]

    def best(self, short: Array, long: Array) -> Aligned | None:
        """Return the way to lay one over the other that has the least error; None if there is none.

        An axis may hold time alone or with rows in it, (rows * time) or (time * rows): all ways
        are tried, since shapes do not say which it is.
        """
        if short.ndim != long.ndim:
            return None
        choices = [self._axis(a, b) for a, b in zip(short.shape, long.shape)]
        best: Aligned | None = None
        for axes in islice(product(*choices), _MAX_ALIGNMENTS):
            index = np.ix_(*(axis.index for axis in axes))
            valid = self._valid(short.shape, axes)
            error = error_of(short[valid], long[index][valid])
            if best is None or error < best.error:
                best = Aligned(index, valid, error)
            if error == 0.0:
                break
        return best

    def _axis(self, size: int, longer: int) -> list[_Axis]:
        if size == longer:
            return [_Axis(np.arange(size), None)]
        axes = []
        for a, b in self.pairs:
            if not a or size % a or size * b != longer * a:
                continue
            lengths = self.lengths.get((a, b))
            rest = size // a
            for outer in (n for n in range(1, rest + 1) if rest % n == 0):
                grid = np.arange(longer).reshape(outer, b, rest // outer)
                axes.append(_Axis(grid[:, :a].ravel(), _filled(lengths, outer, a, rest // outer)))
        return axes

    @staticmethod
    def _valid(shape: tuple[int, ...], axes: Sequence[_Axis]) -> Array:
        valid = np.ones(shape, np.bool_)
        for i, axis in enumerate(axes):
            filled = axis.valid
            if filled is None:
                continue
            if filled.ndim == 1:
                valid &= filled.reshape([-1 if k == i else 1 for k in range(len(shape))])
                continue
            rows = [k for k, n in enumerate(shape) if k != i and n == len(filled)]
            if rows:
                ordered = filled if rows[0] < i else filled.T
                valid &= ordered.reshape(
                    [n if k in (i, rows[0]) else 1 for k, n in enumerate(shape)]
                )
        return valid


def _filled(lengths: Array | None, outer: int, size: int, inner: int) -> Array | None:
    """Return where an axis (outer * size * inner) is no padding."""
    if lengths is None:
        return None
    inside = np.arange(size) < lengths[:, None]  # (batch, size)
    if outer == inner == 1:
        return inside
    if outer == len(lengths):
        return np.repeat(inside.ravel(), inner)
    if inner == len(lengths):
        return np.tile(inside.T.ravel(), outer)
    return None


def find_lengths(
    arrays: Mapping[str, Array],
    batch_axes: Mapping[str, int],
    pairs: Sequence[tuple[int, int]],
    pad: float | Mapping[str, float],
) -> Padding:
    """Find how much of every padded axis each row fills: what follows is ``pad`` in all arrays."""
    lengths: dict[tuple[int, int], Array] = {}
    for name, array in arrays.items():
        batch = batch_axes[name]
        fill = pad.get(name, 0) if isinstance(pad, Mapping) else pad
        for a, b in pairs:
            for axis in (i for i, n in enumerate(array.shape) if n == a and i != batch):
                if not 0 <= batch < array.ndim:
                    continue
                moved = np.moveaxis(array, (batch, axis), (0, 1))
                used = (moved != fill).reshape(*moved.shape[:2], -1).any(axis=2)
                last = np.where(used, np.arange(1, a + 1), 0).max(axis=1)
                longest = lengths.get((a, b))
                if longest is None:
                    lengths[a, b] = last
                elif longest.shape == last.shape:
                    lengths[a, b] = np.maximum(longest, last)
    return Padding(pairs, lengths)


def error_of(short: Any, long: Any) -> float:
    """Return the largest difference over the largest value of ``short``; 0 for empty arrays."""
    short, long = np.asarray(short, np.float64), np.asarray(long, np.float64)
    if not short.size:
        return 0.0
    difference = float(np.max(np.abs(short - long)))
    return difference / max(float(np.max(np.abs(short))), 1e-6) if difference else 0.0
