"""``Observers``: those who watch a call of ``fit``, and the record that they are told from."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from symbucket import hooks
from symbucket.callback.display import Display, batches_of
from symbucket.callback.progress import BatchEndParam
from symbucket.callback.run_record import MetricWindow, RunRecord, perplexities
from symbucket.callback.tokens import TokenCounter
from symbucket.errors import CheckpointError, InvalidArgumentError
from symbucket.files import make_folder
from symbucket.metric import EvalMetric
from symbucket.module.training.memory_use import memory_use
from symbucket.module.training.tracking import Trackers
from symbucket.stopwatch import Laps

_SECONDS_BETWEEN_REPORTS = 30.0


class Observers:
    """The display, the trackers and the report of one call of ``fit``.

    Args:
        module: what is trained; it has an optimizer.
        data: the iterator. metric, validation_metric: those of ``fit``.
        progress, trackers, report: arguments of ``fit``.
        epochs: number of the last epoch, plus 1.
    """

    def __init__(
        self,
        module: Any,
        data: Any,
        metric: EvalMetric,
        validation_metric: EvalMetric,
        epochs: int,
        progress: str,
        trackers: Any,
        report: str | os.PathLike[str] | None,
    ) -> None:
        self._module, self._report = module, report_file(report)
        self._trackers = Trackers(trackers, module)
        self.record = RunRecord(type(module).__name__, epochs_planned=epochs, started=time.time())
        self.record.perplexities = perplexities(metric, validation_metric)
        self._laps = Laps()
        self._counter, self._window = TokenCounter(data, metric), MetricWindow(metric)
        self._display = Display(module.logger, progress, batches_of(data), self.record)
        self._reported = time.monotonic()

    @contextlib.contextmanager
    def watching(self, epoch: int, batches: int) -> Iterator[Observers]:
        """Watch in a block; the run goes on after so many batches of an epoch."""
        record = self.record
        if self._report is not None and (epoch or batches):
            hooks.read_run_page(record, self._report, epoch, batches)
        record.config = self._trackers.config()
        self._laps.seconds = record.seconds
        self._laps.lap("start")
        with self._display.shown(), contextlib.closing(self._trackers):
            self._trackers.begin()
            try:
                yield self
                record.state = "finished"
            except BaseException as error:
                record.state = type(error).__name__
                raise
            finally:
                self._laps.lap("callbacks")
                self._write_report()

    def begin_epoch(self, epoch: int) -> None:
        """An epoch begins, or goes on."""
        self.record.begin_epoch(epoch)

    def fetched(self, batches: Iterable[Any]) -> Iterator[Any]:
        """Yield the batches of an epoch; what it takes to make them is the time of data."""
        iterator = iter(batches)
        while True:
            self._laps.lap("callbacks")
            try:
                batch = next(iterator)
            except StopIteration:
                return
            finally:
                self._laps.lap("data")
            yield batch

    def batch_done(self, param: BatchEndParam, batch: Any) -> None:
        """A batch was trained on, and the metric has seen it."""
        seconds, record = self._laps.lap("step"), self.record
        record.batch_done(getattr(batch, "bucket_key", None), self._counter, batch, seconds)
        if record.window_is_due:
            record.add_window({f"train-{n}": v for n, v in self._window.values().items()})
        self._display.batch_done(param)
        assert param.eval_metric is not None
        self._trackers.batch_done(param.epoch, param.nbatch, param.eval_metric)

    def epoch_trained(self) -> None:
        """The batches of an epoch are done."""
        self._display.clear()

    def lap(self, kind: str) -> None:
        """Count the time since the last call as this kind of work."""
        self._laps.lap(kind)

    def epoch_done(self, epoch: int, scores: Mapping[str, float]) -> None:
        """The values of an epoch are known."""
        self.record.add_epoch(self._trackers.epoch_done(epoch, scores))
        if time.monotonic() - self._reported >= _SECONDS_BETWEEN_REPORTS:
            self._write_report()
        self._laps.lap("callbacks")

    def _write_report(self) -> None:
        """Write the report, if one is wanted; that it cannot be written ends nothing."""
        if self._report is None:
            return
        self._reported = time.monotonic()
        self.record.memory = memory_use(self._module)
        try:
            hooks.write_run_page(self.record, self._report)
        except CheckpointError as error:
            self._module.logger.error("%s. Training goes on", error)


def report_file(report: str | os.PathLike[str] | None) -> Path | None:
    """Return the file of the report; its folder is made.

    Raises InvalidArgumentError for other than a name that ends in .html, and for a file that is
    there and no report; CheckpointError if the folder cannot be made.
    """
    if report is None:
        return None
    if not isinstance(report, (str, os.PathLike)) or Path(report).suffix.lower() != ".html":
        raise InvalidArgumentError(
            f"fit: report is {report!r}; expected the name of a page, as 'run.html', or None"
        )
    path = Path(report)
    make_folder(path)
    hooks.check_run_page(path)
    return path
