"""Metrics of classification into two classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from symbucket.errors import DataError, InvalidArgumentError, UnsupportedError
from symbucket.metric.arrays import class_labels, class_rows, pairs
from symbucket.metric.base import EvalMetric, NameValue, register

# True positives, false positives, false negatives.
Counts = tuple[float, float, float]
_NONE: Counts = (0.0, 0.0, 0.0)


def _f1(counts: Counts) -> float:
    hit, false_alarm, miss = counts
    if np.isnan(hit):
        return float("nan")
    # 2PR / (P + R) without its two divisions by what may be 0.
    return 2 * hit / (2 * hit + false_alarm + miss) if hit else 0.0


def _sum(a: Counts, b: Counts) -> Counts:
    return (a[0] + b[0], a[1] + b[1], a[2] + b[2])


@register
class F1(EvalMetric):
    """F1 score of class 1 against class 0: harmonic mean of precision and recall; 0 without hits.

    Args:
        name, output_names, label_names: as in :class:`EvalMetric`.
        average: ``"macro"`` is the mean of the scores of the updates; ``"micro"`` is the score of
            all samples together.

    For :meth:`update_sums` (macro only): the sum of scores and their number.
    """

    def __init__(
        self,
        name: str = "f1",
        output_names: Sequence[str] | None = None,
        label_names: Sequence[str] | None = None,
        average: str = "macro",
    ) -> None:
        if average not in ("macro", "micro"):
            raise InvalidArgumentError(
                f"metric {name!r}: average must be 'macro' or 'micro', found {average!r}."
            )
        self.average = average
        self._counts = self._past_counts = _NONE
        super().__init__(name, output_names, label_names, average=average)

    def update(self, labels: Any, preds: Any) -> None:
        """Add one batch of labels 0 or 1, (N,), and outputs (N, 2)."""
        counts, samples = _NONE, 0
        for label, pred in pairs(self.name, labels, preds):
            rows = class_rows(self.name, pred, 1 if pred.ndim > 1 else 0)
            if pred.ndim != 2 or rows.shape[1] != 2:
                raise DataError(
                    f"metric {self.name!r} knows two classes; outputs must be (rows, 2), found "
                    f"shape {pred.shape}."
                )
            true, _ = class_labels(self.name, label, rows.shape, None)
            best = rows.argmax(axis=1)
            hit = float(np.count_nonzero((best == 1) & (true == 1)))
            if np.isnan(rows.astype(np.float64)).any():
                hit = np.nan
            counts = _sum(
                counts,
                (
                    hit,
                    float(np.count_nonzero((best == 1) & (true == 0))),
                    float(np.count_nonzero((best == 0) & (true == 1))),
                ),
            )
            samples += true.size
        if self.average == "micro":
            self._counts = _sum(self._counts, counts)
            self.num_inst += samples
            self.sum_metric = _f1(self._counts) * self.num_inst
        else:
            self._add(_f1(counts), 1)

    def update_sums(self, total: Any, count: Any) -> None:
        """Add a sum of scores and their number; only for the macro average."""
        if self.average == "micro":
            raise UnsupportedError(
                f"metric {self.name!r}: a micro F1 cannot be added up from scores; use "
                "average='macro' or update(labels, preds)."
            )
        super().update_sums(total, count)

    def reset(self) -> None:
        """Forget everything."""
        super().reset()
        self._counts = self._past_counts = _NONE

    def reset_local(self) -> None:
        """Start a new window; :meth:`get_global` still covers the old one."""
        super().reset_local()
        self._past_counts = _sum(self._past_counts, self._counts)
        self._counts = _NONE

    def get_global(self) -> NameValue:
        """Name and value since the last :meth:`reset`."""
        if self.average == "micro" and self.global_num_inst:
            return self.name, _f1(_sum(self._past_counts, self._counts))
        return super().get_global()
