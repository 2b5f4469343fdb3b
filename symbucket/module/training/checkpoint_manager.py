"""``CheckpointManager``: a folder of whole checkpoints, of which the newest and the best stay."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from symbucket.callback.early_stopping import best_mode, check_monitored
from symbucket.checkpoint.whole import (
    WholeCheckpoint,
    checkpoint_name,
    checkpoints_in,
    read_record,
)
from symbucket.checks import check_integer, check_number
from symbucket.engine.ownership import exclusive_of
from symbucket.errors import CheckpointError, InvalidArgumentError, SymbucketError
from symbucket.files import make_folder
from symbucket.io.state import state_of
from symbucket.module.training.state import (
    check_fits,
    put_back,
    random_state,
    require_trainable,
    restore_iterator,
    restore_random,
    take_arrays,
    take_record,
)

logger = logging.getLogger("symbucket.checkpoint")

_STRANGE = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""What values raise that stand where others are expected."""


class CheckpointManager:
    """Writes and finds checkpoints of everything that training depends on.

    A checkpoint is one file: parameters, auxiliary states, the optimizer's states and counters,
    learning rate, random numbers, the iterator's position, the metric, versions, a digest of the
    network, and a checksum over all. It is there as a whole or not at all, whatever happens to the
    process or the machine.

    Args:
        folder: where they lie; made now if it is not there.
        keep: how many of the newest stay.
        keep_best: the metric whose best checkpoint stays too, as "val-perplexity" (of
            ``eval_data``) or "train-accuracy". Measured at the end of an epoch.
        every_batches: ``fit`` writes one after every so many batches,
        every_minutes: and whenever so many minutes have gone by; always at the end of an epoch.
        mode: "min" or "max", which value is the best; by default what the metric's name says.

    Raises CheckpointError if the folder cannot be made or written.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        keep: int = 3,
        keep_best: str | None = None,
        every_batches: int | None = None,
        every_minutes: float | None = None,
        mode: str | None = None,
    ) -> None:
        who = "CheckpointManager"
        self.keep = check_integer(keep, f"{who}: keep", 1)
        check_monitored(keep_best, f"{who}: keep_best")
        self.keep_best = keep_best
        if every_batches is not None:
            check_integer(every_batches, f"{who}: every_batches", 1)
        if every_minutes is not None:
            check_number(every_minutes, f"{who}: every_minutes", 0)
        self.every_batches, self.every_minutes = every_batches, every_minutes
        self.mode = best_mode(keep_best or "", mode)
        self.folder = Path(folder)
        make_folder(self.folder / "checkpoint")
        if not os.access(self.folder, os.W_OK):
            raise CheckpointError(f"{who}: cannot write into the folder {str(self.folder)!r}")
        self._scores: dict[Path, dict[str, float]] = {}

    # Writing ---------------------------------------------------------------------------------

    def save(
        self,
        module: Any,
        iterator: Any = None,
        metric: Any = None,
        *,
        epoch: int = 0,
        batch: int = 0,
        scores: Mapping[str, float] | None = None,
    ) -> WholeCheckpoint:
        """Write a checkpoint, and remove those that are not to stay.

        Args:
            module: bound, with parameters; its optimizer goes with it if there is one.
            iterator: has ``state()``; the next batch that it gives is the first after restoring.
            metric: the running one, if any.
            epoch, batch: where training is, for the reader: batches of the epoch that are done.
            scores: values of metrics by name, for ``keep_best``.

        Raises CheckpointError if it cannot be written; older ones are untouched then.
        """
        require_trainable(module)
        with exclusive_of(module, "CheckpointManager.save"):
            module._require(params=True)
            progress = {"epoch": epoch, "batch": batch, "updates": _updates(module)}
            record = take_record(module, progress, scores or {})
            record["iterator"] = None if iterator is None else iterator.state()
            record["metric"] = None if metric is None else metric.state()
            return self.write(module, record)

    def write(
        self, module: Any, record: Mapping[str, Any], more: Mapping[str, Any] | None = None
    ) -> WholeCheckpoint:
        """Write a record with the module's arrays of now, and more of them; see ``save``."""
        present = checkpoints_in(self.folder)
        number = 1 + max((int(p.stem.rpartition("-")[2]) for p in present), default=0)
        path = self.folder / checkpoint_name(number)
        checkpoint = WholeCheckpoint(take_arrays(module) | dict(more or {}), record).write(path)
        self._scores[path] = checkpoint.scores
        self._prune([path, *present])
        return WholeCheckpoint({}, record, str(path))

    def _prune(self, newest_first: list[Path]) -> None:
        staying = {*newest_first[: self.keep], self._best_of(newest_first)}
        for path in newest_first:
            if path not in staying:
                with contextlib.suppress(OSError):
                    path.unlink()
                self._scores.pop(path, None)

    # Finding ---------------------------------------------------------------------------------

    def paths(self) -> list[str]:
        """Return the files, the newest first."""
        return [str(path) for path in checkpoints_in(self.folder)]

    def latest(self) -> WholeCheckpoint | None:
        """Return the newest whole checkpoint, verified; None if the folder has none.

        A damaged one is passed over, with an error in the log. Raises CheckpointError if all are.
        """
        paths = checkpoints_in(self.folder)
        for path in paths:
            try:
                return WholeCheckpoint.read(path)
            except CheckpointError as error:
                logger.error("passed over a checkpoint: %s", error)
        if paths:
            raise CheckpointError(
                f"all {len(paths)} checkpoints in {str(self.folder)!r} are damaged; move them away "
                "to begin anew"
            )
        return None

    def best(self) -> WholeCheckpoint | None:
        """Return the checkpoint with the best ``keep_best``; None if no epoch was measured."""
        if self.keep_best is None:
            raise InvalidArgumentError("CheckpointManager.best needs keep_best=, as val-perplexity")
        path = self._best_of(checkpoints_in(self.folder))
        return None if path is None else WholeCheckpoint.read(path)

    def _best_of(self, paths: list[Path]) -> Path | None:
        sign = 1 if self.mode == "min" else -1
        ranked = [
            (sign * value, -position, path)
            for position, path in enumerate(reversed(paths))
            if (value := self._scores_of(path).get(self.keep_best or "")) is not None
            and not math.isnan(value)
        ]
        return min(ranked)[2] if ranked else None

    def _scores_of(self, path: Path) -> dict[str, float]:
        if path not in self._scores:
            try:
                self._scores[path] = dict(read_record(path)["scores"])
            except (CheckpointError, KeyError, TypeError, ValueError):
                self._scores[path] = {}  # latest() says that it is damaged
        return self._scores[path]

    # Going on --------------------------------------------------------------------------------

    def restore(
        self,
        module: Any,
        iterator: Any = None,
        metric: Any = None,
        checkpoint: WholeCheckpoint | None = None,
    ) -> WholeCheckpoint | None:
        """Put back the newest checkpoint (or the one given) and return it; None if there is none.

        ``module`` is bound and has an optimizer of the same kind, if the checkpoint has one. What
        has changed since (batch size, buckets, numbers of the optimizer, versions) is logged.

        Raises CheckpointError if it is that of another network or optimizer, DataError if
        ``iterator`` is in the middle of an epoch over other data; nothing is changed then.
        """
        require_trainable(module)
        checkpoint = self.latest() if checkpoint is None else checkpoint
        if checkpoint is None:
            return None
        with exclusive_of(module, "CheckpointManager.restore"):
            check_fits(module, checkpoint)
            record = checkpoint.record
            if metric is not None and record["metric"] is not None:
                restore_metric(metric, record["metric"])
            before, random = state_of(iterator), random_state()
            try:
                if iterator is not None:
                    restore_iterator(iterator, record["iterator"])
                put_back(module, checkpoint)
            except BaseException as error:
                restore_random(random)
                if before is not None:
                    iterator.restore(before)
                if isinstance(error, _STRANGE) and not isinstance(error, SymbucketError):
                    raise CheckpointError(
                        f"{checkpoint.path or 'the checkpoint'} has a record that cannot be read: "
                        f"{error!r}"
                    ) from error
                raise
        return checkpoint


class Schedule:
    """Schedule by which ``fit`` writes checkpoints."""

    def __init__(self, manager: CheckpointManager) -> None:
        self._manager = manager
        self._batches, self._since = 0, time.monotonic()

    def count(self) -> bool:
        """Count a batch; return whether a checkpoint is due."""
        self._batches += 1
        every, minutes = self._manager.every_batches, self._manager.every_minutes
        by_batches = every is not None and self._batches >= every
        by_time = minutes is not None and time.monotonic() - self._since >= 60 * minutes
        return by_batches or by_time

    def begin_anew(self) -> None:
        """Count from now, after a checkpoint was written."""
        self._batches, self._since = 0, time.monotonic()


def restore_metric(metric: Any, state: Mapping[str, Any]) -> None:
    """Let a metric go on; one that is another than then begins with what comes now."""
    try:
        metric.restore(state)
    except _STRANGE as error:
        logger.warning("the metric begins with the next batch: %s", error)


def _updates(module: Any) -> int:
    return module.updater.optimizer.num_update if module.optimizer_initialized else 0
