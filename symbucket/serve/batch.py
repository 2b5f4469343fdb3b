"""Fill batches with samples, and cut the outputs of samples from those of batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from symbucket.errors import ShapeError
from symbucket.export.spec import BATCH, KEY, NetworkSpec, OutputSpec
from symbucket.types import Array


def fill(buffer: Array, axis: int | None, padding: float, values: Sequence[Array | None]) -> int:
    """Write samples into an input's buffer, padding elsewhere; return the elements written.

    ``axis`` is that of the samples, None if the input has none: then they have the same values.
    """
    if axis is None:
        rows, values = buffer[np.newaxis], [array for array in values if array is not None][:1]
    else:
        rows = np.moveaxis(buffer, axis, 0) if axis else buffer
    written = sum([array.size for array in values if array is not None])
    if written < buffer.size:
        buffer[...] = padding
    for row, array in enumerate(values):
        if array is None:
            continue
        if array.ndim == 1:  # the usual sample, in a third of the time
            rows[row, : len(array)] = array
        else:
            # An array also if a sample is one number.
            rows[row, ...][tuple(map(slice, array.shape))] = array
    return written


class Cutter:
    """Cuts samples from one output of a network."""

    def __init__(self, spec: OutputSpec, network: NetworkSpec) -> None:
        self.name = spec.name
        self._parts: list[tuple[str, int]] = []  # factor and size, in the order of the axes
        # The factor of the second axis, if samples lie along the first and no other is padded.
        self._padded: str | None = None
        self._joined = False  # whether axes of a sample are products of several factors
        for axis, size in enumerate(spec.shape):
            factors = spec.factors(axis)
            self._parts += [(f, network.factor_size(f)) for f in factors] or [("", size)]
            self._joined |= len([f for f in factors if f != BATCH]) > 1
        self._groups = [[f for f in spec.factors(a) if f != BATCH] for a in range(len(spec.shape))]
        self._kept = [spec.factors(axis) != [BATCH] for axis in range(len(spec.shape))]
        # An index of a sample, where its row and its sizes have to be put in.
        self._index: list[Any] = [slice(None)] * len(self._parts)
        self._rows = [place for place, (factor, _) in enumerate(self._parts) if factor == BATCH]
        self._sized = [
            (place, factor)
            for place, (factor, _) in enumerate(self._parts)
            if factor.startswith(KEY)
        ]
        if self._rows == [0] and len(self._sized) == 1 == self._sized[0][0] and not self._joined:
            self._padded = self._sized[0][1]

    def expand(self, values: Array, run: Mapping[str, int]) -> Array:
        """Return the output of a run with one axis for each factor, whose sizes ``run`` says."""
        return values.reshape([run.get(factor, size) for factor, size in self._parts])

    def cut(self, expanded: Array, sizes: Sequence[Mapping[str, int]]) -> list[Array]:
        """Return a copy of a sample for each sizes, without batch axis and padding."""
        if self._padded is not None:
            factor = self._padded
            return [expanded[row, : one.get(factor)].copy() for row, one in enumerate(sizes)]
        return [self._cut(expanded, row, one) for row, one in enumerate(sizes)]

    def _cut(self, expanded: Array, row: int, sizes: Mapping[str, int]) -> Array:
        index = self._index.copy()
        for place in self._rows:
            index[place] = row
        for place, factor in self._sized:
            index[place] = slice(sizes.get(factor))
        sample = np.array(expanded[tuple(index)])
        return self._rejoin(sample) if self._joined else sample

    def _rejoin(self, sample: Array) -> Array:
        """Return a sample whose axes are those of the output again."""
        sizes = iter(sample.shape)
        shape: list[Any] = []
        for group, is_kept in zip(self._groups, self._kept):
            if is_kept:
                length = 1
                for _ in group or [BATCH]:
                    length *= next(sizes)
                shape.append(length)
        return sample.reshape(shape)


def check_served(network: NetworkSpec) -> list[OutputSpec]:
    """Return the outputs that have a part for each request; raise ShapeError if none has."""
    if network.batch is None or network.batch == 1:
        return list(network.outputs)
    batched = [t for t in network.outputs if t.batch_axis is not None]
    if not batched:
        names = ", ".join(t.name for t in network.outputs)
        raise ShapeError(
            f"key {network.key!r}: the outputs ({names}) are not computed sample by sample, so a "
            f"batch of {network.batch} requests cannot be separated. Export with batch_size=1."
        )
    return batched
