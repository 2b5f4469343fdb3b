"""Metrics of the probability that the model gives to the true class."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from symbucket.errors import InvalidArgumentError
from symbucket.metric.arrays import check_ignore_label, class_labels, class_rows, pairs
from symbucket.metric.base import EvalMetric, alias, register
from symbucket.metric.graph_metric import GraphMetric


class _Likelihood(EvalMetric):
    """Sums -log of picked probabilities; subclasses say how they guard against log 0."""

    axis: int
    ignore_label: int | None

    def _nll(self, picked: np.ndarray[Any, np.dtype[np.float64]]) -> float:
        raise NotImplementedError

    def update(self, labels: Any, preds: Any) -> None:
        """Add one batch.

        Args:
            labels: list of class numbers, any shape with one label a row of the output: (N,) or
                (N, T) for outputs (N*T, V).
            preds: list of probabilities with the classes along ``axis``.
        """
        total, count = 0.0, 0
        for label, pred in pairs(self.name, labels, preds):
            rows = class_rows(self.name, pred, self.axis)
            index, keep = class_labels(self.name, label, rows.shape, self.ignore_label)
            at = np.flatnonzero(keep)
            total += self._nll(rows[at, index[at]].astype(np.float64))
            count += at.size
        self._add(total, count)


@register
class Perplexity(_Likelihood):
    """``exp`` of the mean -log probability of the true classes.

    Sums run over all batches before the ``exp``, so every label weighs the same however long its
    bucket. Probabilities below 1e-10 count as 1e-10, as in MXNet. For :meth:`update_sums`, the
    total is the sum of -log p and the count is the number of labels not ignored.

    Args:
        ignore_label: a label that does not count (padding), or None.
        axis: the axis of the classes.
        name, output_names, label_names: as in :class:`EvalMetric`.
    """

    def __init__(
        self,
        ignore_label: int | None,
        axis: int = -1,
        name: str = "perplexity",
        output_names: Sequence[str] | None = None,
        label_names: Sequence[str] | None = None,
    ) -> None:
        self.ignore_label = check_ignore_label(name, ignore_label)
        self.axis = axis
        super().__init__(name, output_names, label_names, ignore_label=self.ignore_label, axis=axis)

    def graph_metric(self) -> GraphMetric | None:
        """See :meth:`EvalMetric.graph_metric`."""
        if self.axis not in (-1, 1):
            return None
        return GraphMetric("nll", ignore_label=self.ignore_label, floor=1e-10)

    def _nll(self, picked: np.ndarray[Any, np.dtype[np.float64]]) -> float:
        # np.maximum hands NaN on.
        return float(-np.log(np.maximum(picked, 1e-10)).sum())

    def value_of(self, total: float, count: float) -> float:
        """Return e to the mean of the losses; infinity if that is more than a float holds."""
        if not count:
            return math.nan
        try:
            return math.exp(total / count)
        except OverflowError:
            return math.inf


class _SmoothedLikelihood(_Likelihood):
    def __init__(
        self,
        eps: float,
        name: str,
        output_names: Sequence[str] | None,
        label_names: Sequence[str] | None,
        ignore_label: int | None,
    ) -> None:
        if not 0 <= eps < math.inf:
            raise InvalidArgumentError(
                f"metric {name!r}: eps must be a small number >= 0, found {eps!r}."
            )
        self.eps = eps
        self.axis = -1
        self.ignore_label = check_ignore_label(name, ignore_label)
        super().__init__(name, output_names, label_names, eps=eps, ignore_label=self.ignore_label)

    def graph_metric(self) -> GraphMetric | None:
        """See :meth:`EvalMetric.graph_metric`."""
        return GraphMetric("nll", ignore_label=self.ignore_label, eps=self.eps)

    def _nll(self, picked: np.ndarray[Any, np.dtype[np.float64]]) -> float:
        # log of 0 (eps=0) is an honest infinity; of a negative "probability", NaN.
        with np.errstate(divide="ignore", invalid="ignore"):
            return float(-np.log(picked + self.eps).sum())


@register
@alias("ce")
class CrossEntropy(_SmoothedLikelihood):
    """Mean ``-log(p + eps)`` of the true classes.

    Args:
        eps: keeps the logarithm finite.
        name, output_names, label_names: as in :class:`EvalMetric`.
        ignore_label: a label that does not count, or None.
    """

    def __init__(
        self,
        eps: float = 1e-12,
        name: str = "cross-entropy",
        output_names: Sequence[str] | None = None,
        label_names: Sequence[str] | None = None,
        *,
        ignore_label: int | None = None,
    ) -> None:
        super().__init__(eps, name, output_names, label_names, ignore_label)


@register
@alias("nll_loss")
class NegativeLogLikelihood(_SmoothedLikelihood):
    """Mean ``-log(p + eps)`` of the true classes; :class:`CrossEntropy` by its other name."""

    def __init__(
        self,
        eps: float = 1e-12,
        name: str = "nll-loss",
        output_names: Sequence[str] | None = None,
        label_names: Sequence[str] | None = None,
        *,
        ignore_label: int | None = None,
    ) -> None:
        super().__init__(eps, name, output_names, label_names, ignore_label)
