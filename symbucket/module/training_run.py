"""What ``fit`` does to survive: checkpoints while it goes on, and going on from one."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from symbucket.checkpoint.whole import WholeCheckpoint
from symbucket.errors import CheckpointError, InvalidArgumentError
from symbucket.metric import EvalMetric
from symbucket.module.checkpoint_manager import CheckpointManager, Schedule
from symbucket.module.stop_signals import StopSignals
from symbucket.module.training_state import (
    Record,
    iterator_state,
    random_state,
    require_trainable,
    restore_iterator,
    take_record,
)


@dataclass
class TrainingRun:
    """One call of ``fit``: where it is, and the checkpoints that it writes.

    Attributes:
        module: what is trained.
        manager: where checkpoints go; None: there are none, and nothing here does anything.
        train_data, eval_data, metric: those of ``fit``.
        earlier: the checkpoint to go on from, if any.
    """

    module: Any
    manager: CheckpointManager | None
    train_data: Any
    eval_data: Any
    metric: EvalMetric
    earlier: WholeCheckpoint | None = None
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
    ) -> TrainingRun:
        """Check the arguments of ``fit`` and read the checkpoint to go on from."""
        manager = _manager_of(checkpoint, resume)
        if manager is not None:
            require_trainable(module)
        earlier = None if manager is None else manager.latest()
        return TrainingRun(module, manager, train_data, eval_data, metric, earlier)

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
        if self.manager is not None and iterator_state(self.train_data) is None:
            self._epoch_random = random_state()

    def rest(self) -> Iterator[Any]:
        """Return the batches of an epoch that began before this call of ``fit``."""
        return iter(self.train_data)

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

    def epoch_done(self, epoch: int, scores: Mapping[str, float]) -> None:
        """Write the checkpoint between two epochs."""
        if self.manager is None:
            return
        self._scores = dict(scores)
        self._write(self._record(epoch + 1, 0))
        self._stop_if_told(epoch + 1, 0)

    def _record(self, epoch: int, batch: int) -> Record:
        module = self.module
        updates = module.updater.optimizer.num_update
        progress = {"epoch": epoch, "batch": batch, "updates": updates}
        record = take_record(module, progress, self._scores if batch == 0 else {})
        state = iterator_state(self.train_data)
        if state is None:
            state = {
                "iterator": type(self.train_data).__name__,
                "batches": batch,
                "random": self._epoch_random,
            }
        evaluation = None if self.eval_data is None else iterator_state(self.eval_data)
        return record | {
            "iterator": state,
            "eval_iterator": evaluation,
            "epoch_random": self._epoch_random,
            "metric": self.metric.state(),
        }

    def _write(self, record: Record) -> None:
        """Write a checkpoint; if that fails, say so, and try again when the next one is due."""
        assert self.manager is not None
        assert self._schedule is not None
        self._schedule.begin_anew()
        try:
            self.manager.write(self.module, record)
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
