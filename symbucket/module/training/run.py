"""What ``fit`` does to survive: checkpoints while it goes on, and going on from one."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from symbucket.callback.early_stopping import EarlyStopping
from symbucket.checkpoint.whole import WholeCheckpoint
from symbucket.errors import CheckpointError, InvalidArgumentError, UnsupportedError
from symbucket.io.desc import batch_size_of
from symbucket.io.state import state_of
from symbucket.metric import EvalMetric
from symbucket.module.checkpointed import Checkpointed
from symbucket.module.training.checkpoint_manager import CheckpointManager, Schedule
from symbucket.module.training.state import (
    Record,
    random_state,
    require_trainable,
    restore_iterator,
    take_record,
)
from symbucket.module.training.stop_signals import StopSignals
from symbucket.stopwatch import timed


@dataclass
class TrainingRun:
    """One call of ``fit``: where it is, and the checkpoints that it writes.

    Attributes:
        module: what is trained.
        manager: where checkpoints go; None: there are none, and nothing here does anything.
        train_data, eval_data, metric: those of ``fit``.
        stopping: what may end training early.
        pending: batches whose gradients were added up since the last update, and
        samples: how many samples they had.
        earlier: the checkpoint to go on from, if any.
    """

    module: Any
    manager: CheckpointManager | None
    train_data: Any
    eval_data: Any
    metric: EvalMetric
    stopping: EarlyStopping | None = None
    earlier: WholeCheckpoint | None = None
    pending: int = 0
    samples: int = 0
    signals: StopSignals = field(default_factory=StopSignals)
    _schedule: Schedule | None = None
    _epoch_random: Any = None
    _scores: dict[str, float] = field(default_factory=dict)

    @staticmethod
    def begin(
        module: Any,
        checkpoint: Any,
        resume: str | None,
        train_data: Any,
        eval_data: Any,
        metric: EvalMetric,
        stopping: EarlyStopping | None,
    ) -> TrainingRun:
        """Check the arguments of ``fit`` and read the checkpoint to go on from."""
        manager = _manager_of(checkpoint, resume)
        if manager is not None:
            require_trainable(module)
        earlier = None if manager is None else manager.latest()
        if stopping is not None:
            stopping.reset()
        return TrainingRun(module, manager, train_data, eval_data, metric, stopping, earlier)

    # Beginning -------------------------------------------------------------------------------

    def __enter__(self) -> TrainingRun:
        if self.manager is not None:
            self._schedule = Schedule(self.manager)
            self.signals.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        if self.manager is not None:
            self.signals.__exit__(*error)

    def restore(self) -> None:
        """Put back the checkpoint to go on from; say where that is."""
        if self.earlier is None or self.manager is None:
            return
        self.manager.restore(self.module, self.train_data, self.metric, self.earlier)
        record = self.earlier.record
        self.pending = record["progress"]["pending"]
        self.samples = record["progress"]["samples"]
        if self.stopping is not None and record["early_stopping"] is not None:
            self.stopping.restore(record["early_stopping"], self.earlier.group("best"))
        restore_iterator(self.eval_data, record["eval_iterator"])
        self.earlier = WholeCheckpoint({}, record, self.earlier.path)  # its arrays have been copied
        self._scores = self.earlier.scores
        self._epoch_random = record["epoch_random"]
        self.module.logger.info(
            "goes on from %s: epoch %d, after %d batches",
            self.earlier.path,
            self.earlier.epoch,
            self.earlier.batch,
        )

    def batches_done(self, epoch: int) -> int:
        """Return how many batches of an epoch had their turn before this call of ``fit``."""
        earlier = self.earlier
        return earlier.batch if earlier is not None and earlier.epoch == epoch else 0

    def begin_epoch(self) -> None:
        """Note the random numbers before ``reset``, if the iterator cannot say where it is."""
        if self.manager is not None and state_of(self.train_data) is None:
            self._epoch_random = random_state()

    def rest(self) -> Iterator[Any]:
        """Return the batches of an epoch that began before this call of ``fit``."""
        return iter(self.train_data)

    # Updates ---------------------------------------------------------------------------------

    def check(self, accumulate: int) -> None:
        """Check what a module can do, once it has an optimizer.

        Raises InvalidArgumentError if gradients of several batches cannot be added up, and
        UnsupportedError for checkpoints of several processes.
        """
        module = self.module
        if self.manager is not None and module.updater.exchange is not None:
            raise UnsupportedError(
                "fit: checkpoint= is for one process: workers that train in step could go on from "
                "checkpoints of different moments. Save from one of them, with do_checkpoint"
            )
        if accumulate > 1 and not (isinstance(module, Checkpointed) and module.sums_gradients):
            raise InvalidArgumentError(
                f"fit: accumulate={accumulate} needs a module whose gradients add up, and "
                f'{type(module).__name__} is bound with grad_req="write"; bind it with '
                'grad_req="add", or let fit do it (force_rebind=True)'
            )
        if accumulate > 1:
            module.accumulates = True
        if getattr(module, "accumulates", False):  # a run that was broken off may have left some
            self._forget_gradients()

    def update(self, accumulate: int) -> None:
        """Count a batch; update if it is the last of ``accumulate``."""
        module = self.module
        if not getattr(module, "accumulates", False):
            module.update()
            return
        self.pending += 1
        self.samples += batch_size_of(module.data_shapes)
        if self.pending >= accumulate:
            self.update_rest()

    def update_rest(self) -> None:
        """Update with the gradients that were added up since the last update, if any."""
        if not self.pending:
            return
        module = self.module
        module.updater.samples = self.samples
        module.update()
        self.pending = self.samples = 0
        self._forget_gradients()

    def _forget_gradients(self) -> None:
        for gradient in self.module.store.grads.values():
            gradient[...] = 0

    # Going on --------------------------------------------------------------------------------

    def batch_done(self, epoch: int, nbatch: int) -> None:
        """Write a checkpoint if one is due; write one and stop if a signal came."""
        if self.manager is None:
            return
        assert self._schedule is not None
        due = self._schedule.count()
        if due or self.signals.requested is not None:
            self._write(self._record(epoch, nbatch + 1))
        self._stop_if_told(epoch, nbatch + 1)

    def before_scoring(self, epoch: int, batches: int) -> Record | None:
        """Return the record of the moment between training and validation."""
        return None if self.manager is None else self._record(epoch, batches)

    def scored_batch(self, before: Record | None) -> None:
        """Stop if a signal came during validation, which is then done again as a whole."""
        if before is not None and self.signals.requested is not None:
            self._write(before)
            self._stop_if_told(before["progress"]["epoch"], before["progress"]["batch"])

    def epoch_done(self, epoch: int, scores: Mapping[str, float]) -> bool:
        """Write the checkpoint between two epochs; return whether training ends with this one."""
        ends = False
        if self.stopping is not None:
            store = self.module.store
            params = {f"arg:{n}": a for n, a in store.args.items()}
            params |= {f"aux:{n}": a for n, a in store.aux.items()}
            ends = self.stopping.epoch_done(epoch, scores, params)
        if self.manager is None:
            return ends
        self._scores = dict(scores)
        self._write(self._record(epoch + 1, 0))
        self._stop_if_told(epoch + 1, 0)
        return ends

    @property
    def is_over(self) -> bool:
        """Whether the run that is gone on with was ended early."""
        stopping = self.stopping
        return stopping is not None and stopping.waited >= stopping.patience

    def use_best(self) -> None:
        """Set the parameters of the best epoch, if there is one and they are wanted."""
        stopping = self.stopping
        if stopping is None or not stopping.params:
            return
        store = self.module.store
        for prefix, arrays in (("arg", store.args), ("aux", store.aux)):
            for name, array in arrays.items():
                array[...] = stopping.params[f"{prefix}:{name}"]
        self.module.logger.info(
            "Epoch[%d] was the best one, with %s=%f; its parameters are set",
            stopping.best_epoch,
            stopping.metric,
            stopping.best,
        )

    def _record(self, epoch: int, batch: int) -> Record:
        module = self.module
        updates = module.updater.optimizer.num_update
        progress = {
            "epoch": epoch,
            "batch": batch,
            "updates": updates,
            "pending": self.pending,
            "samples": self.samples,
        }
        record = take_record(module, progress, self._scores if batch == 0 else {})
        state = state_of(self.train_data)
        if state is None:
            state = {
                "iterator": type(self.train_data).__name__,
                "batches": batch,
                "random": self._epoch_random,
            }
        evaluation = None if self.eval_data is None else state_of(self.eval_data)
        return record | {
            "iterator": state,
            "eval_iterator": evaluation,
            "epoch_random": self._epoch_random,
            "metric": self.metric.state(),
            "early_stopping": None if self.stopping is None else self.stopping.state(),
        }

    def _write(self, record: Record) -> None:
        """Write a checkpoint; if that fails, say so, and try again when the next one is due."""
        assert self.manager is not None
        assert self._schedule is not None
        self._schedule.begin_anew()
        try:
            best = {} if self.stopping is None else self.stopping.params
            with timed("checkpoint"):
                self.manager.write(self.module, record, {f"best:{n}": a for n, a in best.items()})
        except (CheckpointError, OSError, MemoryError) as error:
            self.module.logger.error(
                "NO CHECKPOINT WAS WRITTEN: %s. Training goes on; the next one is tried when it is "
                "due. The newest one is %s",
                error,
                next(iter(self.manager.paths()), "none"),
            )

    def _stop_if_told(self, epoch: int, batches: int) -> None:
        signals = self.signals
        if signals.requested is None:
            return
        assert self.manager is not None
        self.module.logger.warning(
            "Stopped by %s in epoch %d, after %d batches. The newest checkpoint is %s; the same "
            "program with fit(..., checkpoint=%r, resume='auto') goes on from there",
            signals.name,
            epoch,
            batches,
            next(iter(self.manager.paths()), "none"),
            str(self.manager.folder),
        )
        signals.obey()


@contextmanager
def full_disks_said(logger: Any) -> Iterator[None]:
    """Log a checkpoint that cannot be written in the block as an error, and go on."""
    try:
        yield
    except CheckpointError as error:
        if not isinstance(error.__cause__, OSError):
            raise
        logger.error(
            "NO CHECKPOINT WAS WRITTEN: %s. Training goes on; older files are as they were", error
        )


def _manager_of(checkpoint: Any, resume: str | None) -> CheckpointManager | None:
    """Return the manager for ``fit``'s argument; a path stands for one with its defaults."""
    if resume not in (None, "auto"):
        raise InvalidArgumentError(
            f"fit: resume is {resume!r}; expected 'auto' (go on from the newest checkpoint, if "
            "there is one) or None"
        )
    if isinstance(checkpoint, (str, os.PathLike)):
        checkpoint = CheckpointManager(checkpoint)
    if checkpoint is not None and not isinstance(checkpoint, CheckpointManager):
        raise InvalidArgumentError(
            f"fit: checkpoint is {checkpoint!r}; expected a CheckpointManager or a folder"
        )
    if checkpoint is None and resume is not None:
        raise InvalidArgumentError("fit: resume='auto' needs checkpoint=, a folder or manager")
    if checkpoint is not None and resume is None and checkpoint.paths():
        raise InvalidArgumentError(
            f"fit: {str(checkpoint.folder)!r} has checkpoints already. resume='auto' goes on "
            "from the newest one; to begin anew, use another folder or empty this one"
        )
    return checkpoint
