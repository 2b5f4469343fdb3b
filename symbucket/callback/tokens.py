"""Tokens and padding of batches, as far as somebody knows them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from symbucket.io.desc import LENGTHS
from symbucket.metric import EvalMetric


class TokenCounter:
    """Counts positions of batches, and tokens among them.

    Batches of an integer key that have an input ``valid_length`` tell it themselves.

    Args:
        data: the iterator. If it (or the one that it wraps) has a ``bucket_table``, the table says
            which part of a bucket is padding; that is right over an epoch.
        metric: the running one. Without a table, a metric with an ``ignore_label`` tells: it counts
            the labels that are no padding.
    """

    def __init__(self, data: Any, metric: EvalMetric) -> None:
        self._shares = _padding_shares(data)
        leaves = [m for m in metric.leaves() if getattr(m, "ignore_label", None) is not None]
        self._counting = leaves[0] if leaves and not self._shares else None
        self._counted = 0.0

    def count(self, batch: Any, key: Any) -> tuple[int, int, float]:
        """Return samples, positions and tokens of a batch that the metric has seen."""
        samples = _rows(batch) - (getattr(batch, "pad", None) or 0)
        lengths = _lengths(batch) if isinstance(key, int) else None
        if lengths is not None:
            return samples, samples * key, float(lengths[:samples].sum())
        if key in self._shares:
            length, share = self._shares[key]
            return samples, samples * length, samples * length * (1 - share)
        if self._counting is not None:
            now = self._counting.global_num_inst
            tokens = now - self._counted if now >= self._counted else now
            self._counted = now
            labels = [math.prod(np.shape(label)) for label in (batch.label or [])[:1]]
            return samples, max([*labels, math.ceil(tokens)]), tokens
        return samples, 0, 0.0


def _lengths(batch: Any) -> Any:
    """Return the lengths of the rows, if they are an input."""
    for described, array in zip(getattr(batch, "provide_data", None) or (), batch.data):
        if described[0] == LENGTHS:
            return array.asnumpy() if hasattr(array, "asnumpy") else np.asarray(array)
    return None


def _rows(batch: Any) -> int:
    if not batch.data:
        return 1
    described = getattr(batch, "provide_data", None)
    axis = getattr(described[0], "batch_axis", 0) if described else 0
    shape = np.shape(batch.data[0])
    return int(shape[axis]) if len(shape) > axis else 1


def _padding_shares(data: Any) -> dict[Any, tuple[int, float]]:
    """Return length and share of padding of each bucket of an iterator."""
    while not hasattr(data, "bucket_table"):
        inner = getattr(data, "data_iter", None) or getattr(data, "iters", [None])[0]
        if inner is None:
            return {}
        data = inner
    shares = {}
    for row in data.bucket_table():
        lengths = row.key if isinstance(row.key, tuple) else (row.key,)
        if all(isinstance(length, int) for length in lengths):
            shares[row.key] = sum(lengths), row.padding_share
    return shares
