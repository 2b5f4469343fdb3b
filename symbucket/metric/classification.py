"""Metrics that count right answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from symbucket.errors import DataError, InvalidArgumentError
from symbucket.metric.arrays import (
    check_ignore_label,
    class_labels,
    class_rows,
    pairs,
)
from symbucket.metric.base import EvalMetric, alias, register
from symbucket.metric.graph_metric import GraphMetric
from symbucket.types import Array


def _right_classes(
    metric: str, label: Array, pred: Array, ignore_label: int | None
) -> tuple[float, int]:
    """Return the counts of right answers and of labels, for class numbers ``pred``."""
    values = pred.astype(np.float64)
    if np.isnan(values).any():
        return np.nan, label.size
    # How many classes there are is not known here; a label must still be a class number.
    table = (pred.size, np.iinfo(np.int64).max)
    index, keep = class_labels(metric, label, table, ignore_label)
    # Outputs are cut to whole numbers, as MXNet does.
    right = np.trunc(values.reshape(-1)) == index
    return float(np.count_nonzero(right & keep)), int(np.count_nonzero(keep))


@register
@alias("acc")
class Accuracy(EvalMetric):
    """Share of samples whose highest output is the true class (the first of equal ones).

    Args:
        axis: the axis of the classes. An output of the label's own shape holds class numbers.
        name, output_names, label_names: as in :class:`EvalMetric`.
        ignore_label: a label that does not count, or None.

    For :meth:`update_sums`: right answers and labels. A NaN among the highest outputs makes the
    value NaN.
    """

    def __init__(
        self,
        axis: int = 1,
        name: str = "accuracy",
        output_names: Sequence[str] | None = None,
        label_names: Sequence[str] | None = None,
        *,
        ignore_label: int | None = None,
    ) -> None:
        self.axis = axis
        self.ignore_label = check_ignore_label(name, ignore_label)
        super().__init__(name, output_names, label_names, axis=axis, ignore_label=self.ignore_label)

    def update(self, labels: Any, preds: Any) -> None:
        """Add one batch of class numbers (N, ...) and outputs (N, classes, ...)."""
        total, count = 0.0, 0
        for label, pred in pairs(self.name, labels, preds):
            right, number = self._one(label, pred)
            total += right
            count += number
        self._add(total, count)

    def graph_metric(self) -> GraphMetric | None:
        """See :meth:`EvalMetric.graph_metric`."""
        if self.axis not in (-1, 1) or self.ignore_label is not None:
            return None
        return GraphMetric("accuracy")

    def _one(self, label: Array, pred: Array) -> tuple[float, int]:
        if pred.shape == label.shape:
            return _right_classes(self.name, label, pred, self.ignore_label)
        rows = class_rows(self.name, pred, self.axis)
        index, keep = class_labels(self.name, label, rows.shape, self.ignore_label)
        best = rows.argmax(axis=1)
        # argmax points at a NaN if a row has one, so looking there finds them all.
        if np.isnan(rows[np.flatnonzero(keep), best[keep]].astype(np.float64)).any():
            return np.nan, int(np.count_nonzero(keep))
        return float(np.count_nonzero((best == index) & keep)), int(np.count_nonzero(keep))


@register
@alias("top_k_accuracy", "top_k_acc")
class TopKAccuracy(EvalMetric):
    """Share of samples whose true class is among the ``top_k`` highest outputs.

    Among equal outputs the class of the lower number comes first, so ``top_k=1`` is
    :class:`Accuracy`. The name gets ``_k`` appended.

    Args:
        top_k: how many classes may hold the true one.
        name, output_names, label_names: as in :class:`EvalMetric`.
        ignore_label: a label that does not count, or None.
    """

    def __init__(
        self,
        top_k: int = 1,
        name: str = "top_k_accuracy",
        output_names: Sequence[str] | None = None,
        label_names: Sequence[str] | None = None,
        *,
        ignore_label: int | None = None,
    ) -> None:
        if isinstance(top_k, bool) or int(top_k) != top_k or top_k < 1:
            raise InvalidArgumentError(
                f"metric {name!r}: top_k must be a whole number >= 1, found {top_k!r}."
            )
        self.top_k = int(top_k)
        self.ignore_label = check_ignore_label(name, ignore_label)
        self._plain_name = name
        super().__init__(
            f"{name}_{self.top_k}",
            output_names,
            label_names,
            top_k=self.top_k,
            ignore_label=self.ignore_label,
        )

    def get_config(self) -> dict[str, Any]:
        """Return all arguments; the name without its ``_k``."""
        return {**super().get_config(), "name": self._plain_name}

    def update(self, labels: Any, preds: Any) -> None:
        """Add one batch of class numbers (one a row) and outputs (rows, classes)."""
        total, count = 0.0, 0
        for label, pred in pairs(self.name, labels, preds):
            if pred.ndim != 2:
                raise DataError(
                    f"metric {self.name!r}: outputs must be (rows, classes), found shape "
                    f"{pred.shape}."
                )
            index, keep = class_labels(self.name, label, pred.shape, self.ignore_label)
            rows, index = pred[keep], index[keep]
            if np.isnan(rows.astype(np.float32)).any():
                total = np.nan
            own = rows[np.arange(index.size), index][:, None]
            earlier = np.arange(rows.shape[1])[None, :] < index[:, None]
            rank = ((rows > own) | ((rows == own) & earlier)).sum(axis=1)
            total += float(np.count_nonzero(rank < self.top_k))
            count += index.size
        self._add(total, count)
