"""Coefficients of correlation between labels and outputs."""

from __future__ import annotations

import abc
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from symbucket.checks import check_choice
from symbucket.errors import DataError, UnsupportedError
from symbucket.metric.arrays import class_labels, class_rows, pairs, same_shape
from symbucket.metric.base import EvalMetric, NameValue, alias, register
from symbucket.types import Array


class _Correlation(EvalMetric):
    """A coefficient of sums over samples, which cannot be added up: windows keep the sums.

    ``average``: "macro" is the mean of the coefficients of all updates, "micro" the coefficient of
    all samples together.
    """

    def __init__(
        self,
        name: str,
        output_names: Sequence[str] | None,
        label_names: Sequence[str] | None,
        average: str,
        kwargs: dict[str, Any],
    ) -> None:
        self.average = check_choice(average, f"metric {name!r}: average", ("macro", "micro"))
        self._sums = self._past_sums = self._no_sums()
        super().__init__(name, output_names, label_names, **kwargs)

    @abc.abstractmethod
    def _no_sums(self) -> Array:
        """Return the sums over no samples."""

    @abc.abstractmethod
    def _joined(self, first: Array, second: Array) -> Array:
        """Return the sums over the samples of both."""

    @abc.abstractmethod
    def _coefficient(self, sums: Array) -> float:
        """Return the coefficient of the samples in sums."""

    def _instances(self, sums: Array) -> int:
        """Return how many instances one update of the micro average counts as."""
        return 1

    def _add_samples(self, sums: Array) -> None:
        """Add the sums of one update."""
        if self.average == "macro":
            self._add(self._coefficient(sums), 1)
            return
        self._sums = self._joined(self._sums, sums)
        self.num_inst += self._instances(sums)
        self.sum_metric = self._coefficient(self._sums) * self.num_inst

    def update_sums(self, total: Any, count: Any) -> None:
        """Add a sum of coefficients and their number; only for the macro average."""
        if self.average == "micro":
            raise UnsupportedError(
                f"metric {self.name!r}: a coefficient of all samples cannot be added up from those "
                "of parts; use average='macro' or update(labels, preds)."
            )
        super().update_sums(total, count)

    def reset(self) -> None:
        """Forget everything."""
        super().reset()
        self._sums = self._past_sums = self._no_sums()

    def reset_local(self) -> None:
        """Start a new window; :meth:`get_global` still covers the old one."""
        super().reset_local()
        self._past_sums = self._joined(self._past_sums, self._sums)
        self._sums = self._no_sums()

    def get_global(self) -> NameValue:
        """Return name and value since the last :meth:`reset`."""
        if self.average == "micro" and self.global_num_inst:
            return self.name, self._coefficient(self._joined(self._past_sums, self._sums))
        return super().get_global()


class _Confusion(_Correlation):
    """A coefficient of the confusion matrix; predicted classes are its rows."""

    def _no_sums(self) -> Array:
        return np.zeros((2, 2))

    def _joined(self, first: Array, second: Array) -> Array:
        size = max(len(first), len(second))
        return sum(np.pad(m, (0, size - len(m))) for m in (first, second))  # type: ignore[return-value]


def _count_of_each(rows: Array) -> Array:
    """Return 1 for each row of outputs; NaN, which makes the coefficient NaN, if it has one."""
    nan = np.isnan(rows.astype(np.float64)).any(axis=1)
    return np.where(nan, np.nan, 1.0)


@register
class MCC(_Confusion):
    """Matthews correlation coefficient of a classification into two classes.

    ``(TP * TN - FP * FN) / sqrt((TP + FP)(TP + FN)(TN + FP)(TN + FN))``, where factors that are 0
    count as 1: 1 for what is always right, 0 for chance, -1 for what is always wrong.

    Args:
        name, output_names, label_names: as in :class:`EvalMetric`.
        average: "macro" is the mean of the coefficients of the updates; "micro" is that of all
            samples together.
    """

    def __init__(
        self,
        name: str = "mcc",
        output_names: Sequence[str] | None = None,
        label_names: Sequence[str] | None = None,
        average: str = "macro",
    ) -> None:
        super().__init__(name, output_names, label_names, average, {"average": average})

    def update(self, labels: Any, preds: Any) -> None:
        """Add one batch of labels 0 or 1, (N,), and outputs (N, 2)."""
        matrix = self._no_sums()
        for label, pred in pairs(self.name, labels, preds):
            rows = class_rows(self.name, pred, 1 if pred.ndim > 1 else 0)
            if pred.ndim != 2 or rows.shape[1] != 2:
                raise DataError(
                    f"metric {self.name!r} knows two classes; outputs must be (rows, 2), found "
                    f"shape {pred.shape}. PCC takes any number of classes."
                )
            true, _ = class_labels(self.name, label, rows.shape, None)
            np.add.at(matrix, (rows.argmax(axis=1), true), _count_of_each(rows))
        self._add_samples(matrix)

    def _instances(self, sums: Array) -> int:
        total = sums.sum()
        return 1 if np.isnan(total) else int(total)

    def _coefficient(self, sums: Array) -> float:
        (true_neg, false_neg), (false_pos, true_pos) = sums.tolist()
        factors = (
            true_pos + false_pos,
            true_pos + false_neg,
            true_neg + false_pos,
            true_neg + false_neg,
        )
        product = math.prod(factor or 1.0 for factor in factors)
        return float((true_pos * true_neg - false_pos * false_neg) / math.sqrt(product))


@register
class PCC(_Confusion):
    """Pearson correlation of a classification into any number of classes, by all samples.

    For two classes it is :class:`MCC`. NaN if only one class was predicted, or is right.
    Source: Gorodkin, Comparing two K-category assignments by a K-category correlation
    coefficient, 2004.

    Args:
        name, output_names, label_names: as in :class:`EvalMetric`.
        has_global_stats: MXNet's, without effect.
    """

    def __init__(
        self,
        name: str = "pcc",
        output_names: Sequence[str] | None = None,
        label_names: Sequence[str] | None = None,
        has_global_stats: bool = True,
    ) -> None:
        super().__init__(name, output_names, label_names, "micro", {})

    def update(self, labels: Any, preds: Any) -> None:
        """Add one batch of labels (N,) and outputs (N, classes), or (N,) predicted classes."""
        matrix = self._no_sums()
        for label, pred in pairs(self.name, labels, preds):
            if pred.shape == label.shape:
                rows, classes = pred.reshape(-1, 1), 0
                predicted = self._classes(rows)
            else:
                rows = class_rows(self.name, pred, 1 if pred.ndim > 1 else 0)
                predicted, classes = rows.argmax(axis=1), rows.shape[1]
            most = int(max(predicted.max(initial=0), np.max(label, initial=0))) + 1
            size = max(classes, most, len(matrix))
            true, _ = class_labels(self.name, label, (len(predicted), size), None)
            matrix = self._joined(matrix, np.zeros((size, size)))
            np.add.at(matrix, (predicted, true), _count_of_each(rows))
        self._add_samples(matrix)

    def _classes(self, rows: Array) -> Array:
        """Return class numbers, (N,), from outputs (N, 1) that are such; 0 for NaN."""
        classes: Array = np.nan_to_num(np.trunc(rows[:, 0].astype(np.float64)))
        if (classes < 0).any():
            raise DataError(
                f"metric {self.name!r}: the output {classes.min():g} is no class number"
            )
        return classes.astype(np.int64)

    def _coefficient(self, sums: Array) -> float:
        total, predicted, true = sums.sum(), sums.sum(axis=1), sums.sum(axis=0)
        spread = (predicted * (total - predicted)).sum() * (true * (total - true)).sum()
        if spread == 0:
            return math.nan
        common = (sums.diagonal() * total - predicted * true).sum()
        return float(common / math.sqrt(spread))


@register
@alias("pearsonr")
class PearsonCorrelation(_Correlation):
    """Pearson correlation of outputs and labels, over all elements.

    Args:
        name, output_names, label_names: as in :class:`EvalMetric`.
        average: "macro" is the mean of the coefficients of all pairs of label and output; "micro"
            is that of all elements together.
    """

    def __init__(
        self,
        name: str = "pearsonr",
        output_names: Sequence[str] | None = None,
        label_names: Sequence[str] | None = None,
        average: str = "macro",
    ) -> None:
        super().__init__(name, output_names, label_names, average, {"average": average})

    def update(self, labels: Any, preds: Any) -> None:
        """Add one batch; labels and outputs have equal shapes."""
        for label, pred in pairs(self.name, labels, preds):
            x, y = same_shape(self.name, label, pred)
            dx, dy = x - x.mean(), y - y.mean()
            products = ((dx * dx).sum(), (dy * dy).sum(), (dx * dy).sum())
            self._add_samples(np.array([x.size, x.mean(), y.mean(), *products]))

    def _no_sums(self) -> Array:
        return np.zeros(6)  # elements, both means, sums of squares and of products around them

    def _joined(self, first: Array, second: Array) -> Array:
        count = first[0] + second[0]
        if count == 0:
            return first
        shift = second[1:3] - first[1:3]
        weight = first[0] * second[0] / count
        means = first[1:3] + shift * (second[0] / count)
        around = np.array([shift[0] ** 2, shift[1] ** 2, shift[0] * shift[1]]) * weight
        return np.concatenate([[count], means, first[3:] + second[3:] + around])

    def _coefficient(self, sums: Array) -> float:
        spread = sums[3] * sums[4]
        return float(sums[5] / math.sqrt(spread)) if spread > 0 else math.nan
