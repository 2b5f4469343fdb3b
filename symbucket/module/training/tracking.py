"""Hands the values of training to trackers, whose faults end nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from symbucket.callback.trackers import Tracker
from symbucket.errors import InvalidArgumentError


class Trackers:
    """The trackers of one call of ``fit``."""

    def __init__(self, trackers: Sequence[Tracker] | Tracker | None, module: Any) -> None:
        if trackers is None:
            trackers = []
        elif isinstance(trackers, str) or not isinstance(trackers, Sequence):
            trackers = [trackers]
        for tracker in trackers:
            if not all(callable(getattr(tracker, name, None)) for name in ("begin", "log", "end")):
                raise InvalidArgumentError(
                    f"fit: trackers has {tracker!r}; expected objects with begin, log and end, as "
                    "symbucket.callback.CSVTracker"
                )
        self._trackers = list(trackers)
        self._module = module

    def begin(self) -> None:
        """Training begins, or goes on."""
        if self._trackers:
            step, config = self._step, self.config()
            self._each(lambda tracker: tracker.begin(step, config))

    def batch_done(self, epoch: int, nbatch: int, metric: Any) -> None:
        """Log the running values for those who want them now."""
        for tracker in self._trackers[:]:
            every = getattr(tracker, "every_batches", None)
            if every and (nbatch + 1) % every == 0:
                values = {f"train-{n}": v for n, v in metric.get_global_name_value()}
                self._log([tracker], epoch, values)

    def epoch_done(self, epoch: int, scores: Mapping[str, float]) -> dict[str, float]:
        """Log the values of an epoch, and return them with the learning rate."""
        return self._log(self._trackers[:], epoch, scores)

    def close(self) -> None:
        """Training has ended."""
        self._each(lambda tracker: tracker.end())

    def _log(
        self, trackers: Sequence[Tracker], epoch: int, scores: Mapping[str, float]
    ) -> dict[str, float]:
        values = dict(scores)
        optimizer = self._optimizer
        if optimizer is not None:
            values["learning_rate"] = optimizer.learning_rate
        step = self._step
        self._each(lambda tracker: tracker.log(step, epoch, values), trackers)
        return values

    @property
    def _optimizer(self) -> Any:
        return getattr(getattr(self._module, "updater", None), "optimizer", None)

    @property
    def _step(self) -> int:
        return int(getattr(self._optimizer, "num_update", 0))

    def config(self) -> dict[str, Any]:
        """Return what training is done with: the optimizer and its numbers."""
        optimizer = self._optimizer
        if optimizer is None:  # a module of one's own, without
            return {}
        numbers = {
            name: value
            for name, value in vars(optimizer).items()
            if isinstance(value, (int, float)) and not name.startswith("_")
        }
        return {"optimizer": type(optimizer).__name__, **numbers}

    def _each(
        self, call: Callable[[Tracker], None], trackers: Sequence[Tracker] | None = None
    ) -> None:
        for tracker in self._trackers[:] if trackers is None else trackers:
            try:
                call(tracker)
            except Exception as error:
                self._trackers.remove(tracker)
                self._module.logger.error(
                    "%s has failed and is left out from now on: %s: %s. Training goes on",
                    type(tracker).__name__,
                    type(error).__name__,
                    error,
                )
