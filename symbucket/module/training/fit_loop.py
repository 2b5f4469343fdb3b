"""``FitLoop``: the epochs of one call of ``fit``."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from symbucket.callback import BatchEndParam
from symbucket.errors import DivergenceError
from symbucket.metric import EvalMetric
from symbucket.module.training.callbacks import Callbacks, call_all, callback_list
from symbucket.module.training.epochs import epoch_batches, labels_of
from symbucket.module.training.observers import Observers
from symbucket.module.training.run import TrainingRun, full_disks_said
from symbucket.monitor import Monitor

if TYPE_CHECKING:
    from symbucket.module.base import BaseModule

MAX_LISTED_FAILURES = 5


@dataclass
class FitLoop:
    """The loop over epochs and batches, of a module that has its parameters and an optimizer.

    Attributes:
        module: what is trained.
        run: where the call of ``fit`` is, and its checkpoints.
        watch: who sees how it goes.
        names: local variables of ``fit``, which callbacks get besides those of the batch.

    The others are arguments of ``fit``.
    """

    module: BaseModule
    run: TrainingRun
    watch: Observers
    train_data: Any
    eval_data: Any
    eval_metric: EvalMetric
    validation_metric: EvalMetric
    epoch_end_callback: Callbacks
    batch_end_callback: Callbacks
    eval_end_callback: Callbacks
    eval_batch_end_callback: Callbacks
    monitor: Monitor | None
    on_divergence: str
    accumulate: int
    names: Mapping[str, Any]
    _tic: float = 0.0  # when the epoch began

    def train(self, begin: int, end: int, batches: Iterator[Any] | None) -> None:
        """Train from epoch ``begin`` up to ``end``.

        ``batches``: those of the first epoch if it has begun; None if a checkpoint goes on.
        """
        run = self.run
        with run, self.watch.watching(begin, run.batches_done(begin)):
            for epoch in range(begin, begin if run.is_over else end):
                self._tic = time.perf_counter()
                batches = self._batches(epoch, batches)
                self.watch.begin_epoch(epoch)
                count = self._train_batches(epoch, batches)
                batches = None
                run.update_rest()
                self._check_parameters(epoch)
                self.watch.epoch_trained()
                values = self._training_values(epoch)
                self._call_epoch_end(epoch)
                if self.eval_data is not None:
                    values |= self._validation_values(epoch, count)
                self.watch.epoch_done(epoch, values)
                if run.epoch_done(epoch, values):
                    break
            run.use_best()

    def _batches(self, epoch: int, begun: Iterator[Any] | None) -> Iterator[Any]:
        """Return the batches of an epoch that are to come."""
        if self.run.batches_done(epoch):
            return self.run.rest()
        self.eval_metric.reset()
        if begun is not None:
            return begun
        self.run.begin_epoch()
        return epoch_batches(self.train_data, epoch)

    def _train_batches(self, epoch: int, batches: Iterator[Any]) -> int:
        """Train on the batches of an epoch; return how many it had, with those before this call."""
        count, skipped = self.run.batches_done(epoch), 0
        for nbatch, batch in enumerate(self.watch.fetched(batches), count):
            count = nbatch + 1
            failures = self._gradients(epoch, nbatch, batch)
            param = self._param(epoch, nbatch, batch)
            if failures:
                skipped += 1
                self.module.logger.warning(
                    "Epoch[%d] Batch [%d]%s skipped (%d so far in this epoch): %s",
                    epoch,
                    nbatch,
                    _bucket_key(batch),
                    skipped,
                    _listing(failures),
                )
                self.watch.lap("step")
            else:
                self.run.update(self.accumulate)
                self.module.update_metric(self.eval_metric, labels_of(batch))
                if self.monitor is not None:
                    self.monitor.toc_print()
                self.watch.batch_done(param, batch)
            call_all(self.batch_end_callback, param)
            self.run.batch_done(epoch, nbatch)
        return count

    def _gradients(self, epoch: int, nbatch: int, batch: Any) -> list[str]:
        """Compute the gradients of a batch; undo it if it has NaN or infinity, and return where."""
        module, monitor = self.module, self.monitor
        if monitor is not None:
            monitor.tic()
        module.prepare(batch)
        with module.measuring(self.eval_metric if monitor is None else None):
            module.forward_backward(batch)
        failures = [] if self.on_divergence == "ignore" else module.failures()
        if failures:
            if monitor is not None:
                monitor.toc_print()  # now its numbers matter most
            module._undo()
            if self.on_divergence == "raise":
                raise self._divergence(epoch, nbatch, batch, failures)
        return failures

    def _param(self, epoch: int, nbatch: int, batch: Any) -> BatchEndParam:
        of_batch = {"epoch": epoch, "nbatch": nbatch, "data_batch": batch, "tic": self._tic}
        return BatchEndParam(epoch, nbatch, self.eval_metric, {**self.names, **of_batch})

    def _divergence(
        self, epoch: int, nbatch: int, batch: Any, failures: Sequence[str]
    ) -> DivergenceError:
        """Return the error for a batch; the node that it comes from is looked for."""
        try:
            node = self.module.first_failure()
        except Exception:  # the batch is bad all the same
            self.module.logger.debug("the first node was not found", exc_info=True)
            node = None
        return DivergenceError(
            f"Training diverged in epoch {epoch}, batch {nbatch}{_bucket_key(batch)}: "
            f"{_listing(failures)}; {f'{node}. ' if node else ''}The parameters are those before "
            "this batch, and checkpoints are untouched. Use a lower learning_rate or "
            'clip_gradient, look at this batch, or leave such batches out: on_divergence="skip".'
        )

    # Between two epochs ----------------------------------------------------------------------

    def _check_parameters(self, epoch: int) -> None:
        """Raise DivergenceError if a parameter has NaN, before it is saved."""
        lost = [] if self.on_divergence == "ignore" else self.module.lost_parameters()
        if lost:
            raise DivergenceError(
                f"Training diverged in epoch {epoch}: at its end {_listing(lost)}, although no "
                "gradient or output had. Go on from the parameters of an earlier epoch, with a "
                "lower learning_rate or clip_gradient; look whether the initial parameters have NaN"
            )

    def _training_values(self, epoch: int) -> dict[str, float]:
        """Log the training metrics of an epoch and how long it took; return them by name."""
        log, line = self.module.logger.info, self.module._epoch_line
        values = self.eval_metric.get_global_name_value()
        if line is None:
            for name, value in values:
                log("Epoch[%d] Train-%s=%f", epoch, name, value)
        else:
            log(line, epoch)
        log("Epoch[%d] Time cost=%.3f", epoch, time.perf_counter() - self._tic)
        return {f"train-{name}": value for name, value in values}

    def _call_epoch_end(self, epoch: int) -> None:
        if self.epoch_end_callback is None:
            return
        arg, aux = self.module.get_params()
        for callback in callback_list(self.epoch_end_callback):
            with full_disks_said(self.module.logger):
                callback(epoch, self.module._saved_symbol(), arg, aux)

    def _validation_values(self, epoch: int, batches: int) -> dict[str, float]:
        """Score the validation data after so many batches; log the metrics, return them by name."""
        self.watch.lap("callbacks")
        before = self.run.before_scoring(epoch, batches)
        values = self.module.score(
            self.eval_data,
            self.validation_metric,
            batch_end_callback=[
                *callback_list(self.eval_batch_end_callback),
                lambda _: self.run.scored_batch(before),
            ],
            score_end_callback=self.eval_end_callback,
            epoch=epoch,
        )
        for name, value in values:
            self.module.logger.info("Epoch[%d] Validation-%s=%f", epoch, name, value)
        self.watch.lap("validation")
        return {f"val-{name}": value for name, value in values}


def _bucket_key(batch: Any) -> str:
    key = getattr(batch, "bucket_key", None)
    return "" if key is None else f", bucket key {key!r}"


def _listing(failures: Sequence[str]) -> str:
    more = len(failures) - MAX_LISTED_FAILURES
    return ", ".join(failures[:MAX_LISTED_FAILURES]) + (f" and {more} more" if more > 0 else "")
