"""Callbacks that say how training goes.

Messages go to the root logger, as in MXNet: scripts configure that one.
"""

from __future__ import annotations

import logging
import math
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO

from symbucket.checks import check_integer

if TYPE_CHECKING:
    from symbucket.metric import EvalMetric


class BatchEndParam(NamedTuple):
    """Arguments of a batch callback.

    ``epoch`` and ``nbatch`` count from 0; ``eval_metric`` is the running metric or None;
    ``locals`` are the local variables of the calling loop, for callbacks that look further.
    """

    epoch: int
    nbatch: int
    eval_metric: EvalMetric | None
    locals: dict[str, Any] | None = None


def _values_text(metric: EvalMetric) -> str:
    return "".join(f"\t{name}={value:f}" for name, value in metric.get_name_value())


def log_train_metric(period: int, auto_reset: bool = False) -> Callable[[BatchEndParam], None]:
    """A batch callback that logs the metric every ``period`` batches.

    ``auto_reset`` starts the metric's running window anew after each message; what it has
    gathered over the epoch stays (``get_global``).
    """
    period = check_integer(period, "log_train_metric: period", 1)

    def callback(param: BatchEndParam) -> None:
        if param.nbatch % period != 0 or param.eval_metric is None:
            return
        for name, value in param.eval_metric.get_name_value():
            logging.info("Iter[%d] Batch[%d] Train-%s=%f", param.epoch, param.nbatch, name, value)
        if auto_reset:
            param.eval_metric.reset_local()

    return callback


class Speedometer:
    """A batch callback that logs samples per second, and the metric, every ``frequent`` batches.

    Args:
        batch_size: samples in a batch.
        frequent: batches between two messages.
        auto_reset: start the metric's running window anew after each message, so a message speaks
            of its own batches; the epoch's values (``get_global``) are kept. Otherwise each
            message speaks of the epoch so far.

    Batch numbers that fall back mean that a new epoch began; its clock starts with its first batch.
    """

    def __init__(self, batch_size: int, frequent: int = 50, auto_reset: bool = True) -> None:
        self.batch_size = check_integer(batch_size, "Speedometer: batch_size", 1)
        self.frequent = check_integer(frequent, "Speedometer: frequent", 1)
        self.auto_reset = auto_reset
        self._last = -1
        self._since: tuple[int, float] | None = None

    def __call__(self, param: BatchEndParam) -> None:
        """Called by ``fit`` after each batch."""
        count = param.nbatch
        if count < self._last:
            self._since = None
        self._last = count
        if self._since is None:
            self._since = (count, time.perf_counter())
            return
        if count % self.frequent != 0:
            return
        now = time.perf_counter()
        start, tic = self._since
        seconds = now - tic
        samples = (count - start) * self.batch_size
        speed = samples / seconds if seconds > 0 else math.inf
        first, values = start, ""
        if param.eval_metric is not None:
            values = _values_text(param.eval_metric)
            if self.auto_reset:
                param.eval_metric.reset_local()
            else:
                first = 0
        logging.info(
            "Epoch[%d] Batch [%d-%d]\tSpeed: %.2f samples/sec%s",
            param.epoch,
            first,
            count,
            speed,
            values,
        )
        self._since = (count, time.perf_counter())


class ProgressBar:
    """A batch callback that draws a bar of ``length`` characters.

    Args:
        total: batches in an epoch.
        length: width of the bar in characters.
        stream: where to draw; standard error by default.
    """

    def __init__(self, total: int, length: int = 80, stream: TextIO | None = None) -> None:
        self.total = check_integer(total, "ProgressBar: total", 1)
        self.length = check_integer(length, "ProgressBar: length", 1)
        self.stream = stream

    def __call__(self, param: BatchEndParam) -> None:
        """Called by ``fit`` after each batch."""
        # nbatch counts from 0, so that batch is done when this is called.
        share = min(1.0, (param.nbatch + 1) / self.total)
        filled = round(self.length * share)
        bar = "=" * filled + "-" * (self.length - filled)
        end = "\n" if share == 1.0 else ""
        stream = self.stream or sys.stderr
        stream.write(f"\r[{bar}] {math.ceil(100 * share)}%{end}")
        stream.flush()


class LogValidationMetricsCallback:
    """An evaluation callback that logs the metric's values after an epoch of validation."""

    def __call__(self, param: BatchEndParam) -> None:
        """Called by ``fit`` after ``score``."""
        if param.eval_metric is None:
            return
        for name, value in param.eval_metric.get_name_value():
            logging.info("Epoch[%d] Validation-%s=%f", param.epoch, name, value)
