"""Batches in a fixed order, and the loss and time of every step of ``fit``."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import symbucket as sb


class FixedOrder(sb.io.DataIter):
    """Hands out the given batches in their order; shapes are described by the ``largest``."""

    def __init__(self, batches: Sequence[sb.io.DataBatch], largest: sb.io.DataBatch) -> None:
        super().__init__(largest.data[0].shape[0])
        self._batches = batches
        self._left: Iterator[sb.io.DataBatch] = iter(batches)
        self.default_bucket_key = largest.bucket_key
        self.provide_data = [sb.io.DataDesc(*pair) for pair in largest.provide_data]
        self.provide_label = [sb.io.DataDesc(*pair) for pair in largest.provide_label]

    def reset(self) -> None:
        self._left = iter(self._batches)

    def next(self) -> sb.io.DataBatch:
        return next(self._left)


class Recorder:
    """A batch-end callback that notes each step's mean loss and seconds."""

    def __init__(self) -> None:
        self.steps: list[tuple[float, float]] = []
        self._before = (0.0, 0.0, time.perf_counter())

    def __call__(self, param: Any) -> None:
        total, count, then = self._before
        metric, now = param.eval_metric, time.perf_counter()
        self._before = (metric.sum_metric, metric.num_inst, now)
        loss = (metric.sum_metric - total) / (metric.num_inst - count)
        self.steps.append((float(loss), now - then))
