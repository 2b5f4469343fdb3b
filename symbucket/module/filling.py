"""Rows that only fill up a batch (``DataBatch.pad``): left out wherever numbers are made."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np

from symbucket.errors import UnsupportedError
from symbucket.io import DataBatch, DataDesc
from symbucket.metric import EvalMetric


@dataclass(frozen=True)
class Filling:
    """The last ``count`` of a batch's ``rows`` fill it up.

    ``steps``: the size of the first axis, if the batch axis is the second one (time first); else 0.
    """

    rows: int
    count: int
    steps: int = 0

    def cut(self, array: Any) -> Any:
        """Return an array of the batch (data, a label, an output) without the rows that fill it.

        The batch axis may stand alone or, in the outputs of sequence models, together with time in
        the first axis. Arrays without such an axis (a sum over the batch) are returned as they are.
        """
        shape, rows = array.shape, self.rows - self.count
        if self.steps and shape[:2] == (self.steps, self.rows):
            return array[:, :rows]
        if not shape or not shape[0] or shape[0] % self.rows:
            return array
        steps = shape[0] // self.rows
        if steps > 1 and self.steps:  # step after step
            by_step = array.reshape((steps, self.rows, *shape[1:]))[:, :rows]
            return by_step.reshape((steps * rows, *shape[1:]))
        return array[: steps * rows]

    def cut_label(self, array: Any) -> Any:
        """Return a label without the rows that fill the batch up.

        As ``cut``, but rows may also be several axes: labels (4, 3) of data of 12 rows.
        """
        shape = array.shape
        products = list(accumulate(shape, operator.mul))
        if self.rows in products[1:] and 1 < shape[0] < self.rows:
            unused, part = divmod(self.count * shape[0], self.rows)
            if not part:
                return array[: shape[0] - unused]
        return self.cut(array)

    def of_output(self, name: str, shape: Sequence[int]) -> tuple[str, int]:
        """Return layout and ``pad`` of a batch whose data is an output of this one's network.

        Raises UnsupportedError if the rows that fill it up do not come last.
        """
        if self.steps and tuple(shape[:2]) == (self.steps, self.rows):
            return "TN", self.count
        if not shape or not shape[0] or shape[0] % self.rows:
            return "N", 0
        each = shape[0] // self.rows
        if each > 1 and self.steps:
            raise UnsupportedError(
                f"{name} of shape {tuple(shape)} has the batch after time in one axis, so the "
                f"{self.count} rows that fill the batch up are all over it; give the batch axis "
                "first, or data without padding"
            )
        return "N", each * self.count

    def is_ignored(self, labels: list[Any], metric: EvalMetric) -> bool:
        """Return whether a metric ignores the labels of all rows that fill the batch up."""
        ignored = {getattr(leaf, "ignore_label", None) for leaf in metric.leaves()}
        if None in ignored or len(ignored) != 1 or not labels:
            return False
        (ignore_label,) = ignored
        arrays = [np.asarray(label) for label in labels]
        counted = [self.cut_label(array) for array in arrays]
        return all(
            a.size > c.size and (a != ignore_label).sum() == (c != ignore_label).sum()
            for a, c in zip(arrays, counted)
        )


def filling_of(batch: DataBatch, descs: list[DataDesc]) -> Filling | None:
    """Return how a batch is filled up, or None if all of its rows count.

    ``descs``: descriptions of its data, which say where the batch axis is.
    """
    if not batch.pad or not batch.data or not descs:
        return None
    shape, axis = batch.data[0].shape, descs[0].batch_axis
    if not 0 <= axis < len(shape) or not 0 < batch.pad <= shape[axis]:
        return None
    return Filling(shape[axis], batch.pad, shape[0] if axis == 1 else 0)
