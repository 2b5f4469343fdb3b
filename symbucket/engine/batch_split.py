"""Splits of a batch, and of everything computed from it, over contexts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from symbucket.engine.contexts import ContextGroup
from symbucket.errors import DataError, UnsupportedError
from symbucket.io import DataDesc
from symbucket.types import Array, Shape


@dataclass(frozen=True)
class BatchSplit:
    """Split of a batch.

    Attributes:
        sizes: rows of each context.
        axes: the batch axis of each array by name; -1 if every context gets the whole array.
        parts: descriptions of the arrays on each context.
        time_first: whether the batch axis of the data comes after time.
    """

    sizes: list[int]
    axes: dict[str, int]
    parts: list[list[DataDesc]]
    time_first: bool


def split_batch(descs: Sequence[DataDesc], contexts: ContextGroup, name: str) -> BatchSplit:
    """Split a batch; ``descs`` are those of the data, then those of the labels.

    An array whose layout has no N is given to every context as a whole.
    """
    axes = {d.name: d.batch_axis for d in descs}
    rows = {d.shape[axes[d.name]] for d in descs if 0 <= axes[d.name] < len(d.shape)}
    if len(rows) != 1:
        raise DataError(
            f"{name}: to split a batch over contexts its arrays must agree on the batch size; they "
            f"are {', '.join(f'{d.name} {d.shape} (batch axis {axes[d.name]})' for d in descs)}. "
            "Say with layout= of DataDesc which axis is N."
        )
    sizes = contexts.sizes(rows.pop(), name)
    parts = [[_part(desc, size) for desc in descs] for size in sizes]
    return BatchSplit(sizes, axes, parts, descs[0].batch_axis > 0)


def _part(desc: DataDesc, size: int) -> DataDesc:
    axis = desc.batch_axis
    if axis < 0:
        return desc
    return desc.with_shape((*desc.shape[:axis], size, *desc.shape[axis + 1 :]))


@dataclass(frozen=True)
class Join:
    """Split of an array over the contexts.

    Attributes:
        axis: the axis that is split; -1 if every context has the whole array.
        bounds: (start, end) of the rows of each context.
        steps: time steps that the axis joins with the rows of each step.
    """

    axis: int
    bounds: tuple[tuple[int, int], ...]
    steps: int = 1

    def part(self, whole: Array, number: int) -> Array:
        """Return the part of one context."""
        if self.axis < 0:
            return whole
        start, end = self.bounds[number]
        leading, trailing = whole.shape[: self.axis], whole.shape[self.axis + 1 :]
        split = whole.reshape(*leading, self.steps, -1, *trailing)
        rows = split[(slice(None),) * (self.axis + 1) + (slice(start, end),)]
        return rows.reshape(*leading, -1, *trailing)

    def whole(self, parts: Sequence[Array]) -> Array:
        """Return the array that the parts make up."""
        if self.axis < 0:
            return parts[0]
        leading, trailing = parts[0].shape[: self.axis], parts[0].shape[self.axis + 1 :]
        split = [p.reshape(*leading, self.steps, -1, *trailing) for p in parts]
        joined: Array = np.concatenate(split, axis=self.axis + 1)
        return joined.reshape(*leading, -1, *trailing)


def find_join(
    what: str, whole: Shape, parts: Sequence[Shape], sizes: Sequence[int], time_first: bool
) -> Join:
    """Find the batch in an array from its shapes for the whole batch and for its parts.

    Args:
        what: the array, for messages.
        whole: its shape for the whole batch.
        parts: its shape on each context.
        sizes: rows of each context.
        time_first: if an axis joins time and batch, the rows of one step are adjacent.
    """
    rows = sum(sizes)
    axes = [i for i, d in enumerate(whole) if any(p[i : i + 1] != (d,) for p in parts)]
    fits = len(axes) == 1 and all(
        p[axes[0]] * rows == whole[axes[0]] * size for p, size in zip(parts, sizes)
    )
    if not fits or any(len(p) != len(whole) for p in parts):
        raise UnsupportedError(
            f"{what} has shape {whole} for {rows} rows and {', '.join(map(str, parts))} for the "
            "parts of several contexts. One axis must grow with the batch: give one number for "
            "each row in place of a sum or mean over the batch, or use one context."
        )
    (axis,) = axes
    each = whole[axis] // rows
    steps = each if time_first else 1
    ends = np.cumsum([p[axis] // steps for p in parts]).tolist()
    return Join(axis, tuple(zip([0, *ends], ends)), steps)
