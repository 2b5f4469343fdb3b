"""Metrics of distances, and the mean of a loss."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from symbucket.metric.arrays import array_list, pairs, same_shape
from symbucket.metric.base import EvalMetric, register
from symbucket.metric.graph_metric import GraphMetric


class _Distance(EvalMetric):
    """The mean over updates of a distance within one update, as in MXNet.

    Each (label, output) pair of each batch weighs the same, whatever its size.
    """

    def _distance(self, difference: npt.NDArray[np.float64]) -> float:
        raise NotImplementedError

    def update(self, labels: Any, preds: Any) -> None:
        """Add one batch; labels and outputs of equal shapes ((N,) and (N, 1) are equal)."""
        total, count = 0.0, 0
        for label, pred in pairs(self.name, labels, preds):
            targets, outputs = same_shape(self.name, label, pred)
            if targets.size:
                total += self._distance(targets - outputs)
                count += 1
        self._add(total, count)


@register
class MAE(_Distance):
    """Mean absolute error."""

    def __init__(
        self,
        name: str = "mae",
        output_names: Sequence[str] | None = None,
        label_names: Sequence[str] | None = None,
    ) -> None:
        super().__init__(name, output_names, label_names)

    def _distance(self, difference: npt.NDArray[np.float64]) -> float:
        return float(np.abs(difference).mean())


@register
class MSE(_Distance):
    """Mean squared error."""

    def __init__(
        self,
        name: str = "mse",
        output_names: Sequence[str] | None = None,
        label_names: Sequence[str] | None = None,
    ) -> None:
        super().__init__(name, output_names, label_names)

    def _distance(self, difference: npt.NDArray[np.float64]) -> float:
        return float(np.square(difference).mean())


@register
class RMSE(_Distance):
    """Square root of the mean squared error; the roots of the updates are averaged."""

    def __init__(
        self,
        name: str = "rmse",
        output_names: Sequence[str] | None = None,
        label_names: Sequence[str] | None = None,
    ) -> None:
        super().__init__(name, output_names, label_names)

    def _distance(self, difference: npt.NDArray[np.float64]) -> float:
        return math.sqrt(np.square(difference).mean())


@register
class Loss(EvalMetric):
    """The mean of all elements of the outputs; labels are not looked at."""

    def __init__(
        self,
        name: str = "loss",
        output_names: Sequence[str] | None = None,
        label_names: Sequence[str] | None = None,
    ) -> None:
        super().__init__(name, output_names, label_names)

    def update(self, labels: Any, preds: Any) -> None:
        """Add one batch of outputs of any shape."""
        arrays = [array.astype(np.float64) for array in array_list(preds)]
        self._add(sum(float(a.sum()) for a in arrays), sum(a.size for a in arrays))

    def graph_metric(self) -> GraphMetric | None:
        """See :meth:`EvalMetric.graph_metric`."""
        return GraphMetric("sum")


@register
class Torch(Loss):
    """:class:`Loss` under another name."""

    def __init__(
        self,
        name: str = "torch",
        output_names: Sequence[str] | None = None,
        label_names: Sequence[str] | None = None,
    ) -> None:
        super().__init__(name, output_names, label_names)


@register
class Caffe(Loss):
    """:class:`Loss` under another name."""

    def __init__(
        self,
        name: str = "caffe",
        output_names: Sequence[str] | None = None,
        label_names: Sequence[str] | None = None,
    ) -> None:
        super().__init__(name, output_names, label_names)
