"""``EarlyStopping``: end training when a metric gets no better, with the best parameters."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from symbucket.checks import check_choice, check_integer, check_number
from symbucket.errors import InvalidArgumentError

Array = np.ndarray[Any, Any]

_HIGHER_IS_BETTER = ("acc", "f1", "mcc", "pcc", "pearsonr", "top_k", "correlation")


def best_mode(metric: str, mode: str | None) -> str:
    """Return "min" or "max": as given, or what a metric of this name is best at."""
    if mode is not None:
        return check_choice(mode, "mode", ("min", "max"))
    return "max" if any(word in metric.lower() for word in _HIGHER_IS_BETTER) else "min"


def check_monitored(metric: str | None, who: str) -> None:
    """Raise InvalidArgumentError unless ``metric`` names one of an epoch's values, or is None."""
    if metric is not None and not str(metric).startswith(("val-", "train-")):
        raise InvalidArgumentError(
            f"{who} is {metric!r}; expected val-NAME or train-NAME of a metric, as val-perplexity"
        )


class EarlyStopping:
    """For ``fit(early_stopping=...)``: ends training after epochs that bring no better value.

    Args:
        metric: whose value counts: "val-NAME" of a metric of ``eval_data``, or "train-NAME".
        patience: epochs without a better value after which training ends.
        min_delta: what a value must be better by.
        mode: "min" or "max", which value is the best; by default what the metric's name says.
        restore_best: set the parameters of the best epoch at the end, however training ends.

    Attributes:
        best: the best value; None before the first epoch.
        best_epoch: its epoch.
    """

    def __init__(
        self,
        metric: str,
        patience: int = 3,
        min_delta: float = 0.0,
        mode: str | None = None,
        restore_best: bool = True,
    ) -> None:
        check_monitored(metric, "EarlyStopping: metric")
        self.metric = metric
        self.patience = check_integer(patience, "EarlyStopping: patience", 1)
        self.min_delta = check_number(min_delta, "EarlyStopping: min_delta", 0)
        self.mode = best_mode(metric, mode)
        self.restore_best = bool(restore_best)
        self.reset()

    def reset(self) -> None:
        """Forget all epochs."""
        self.best: float | None = None
        self.best_epoch = -1
        self.waited = 0
        self.params: dict[str, Array] = {}
        """``arg:NAME`` and ``aux:NAME`` of the best epoch."""

    def epoch_done(
        self, epoch: int, scores: Mapping[str, float], params: Mapping[str, Any]
    ) -> bool:
        """Count an epoch; return whether training ends.

        ``params`` are copied if it is the best one. Raises InvalidArgumentError if ``scores`` have
        no such metric.
        """
        if self.metric not in scores:
            raise InvalidArgumentError(
                f"EarlyStopping: there is no {self.metric!r} among the values of an epoch: "
                f"{', '.join(scores) or 'none'}"
                + ("; fit needs eval_data for it" if self.metric.startswith("val-") else "")
            )
        value = scores[self.metric]
        if self._is_better(value):
            self.best, self.best_epoch, self.waited = value, epoch, 0
            if self.restore_best:
                self.params = {name: np.array(array) for name, array in params.items()}
        else:
            self.waited += 1
        return self.waited >= self.patience

    def _is_better(self, value: float) -> bool:
        if math.isnan(value):
            return False
        sign = 1 if self.mode == "min" else -1
        return self.best is None or sign * (self.best - value) > self.min_delta

    def state(self) -> dict[str, Any]:
        """Return what it has counted, as JSON values; ``params`` go with it."""
        return {
            "metric": self.metric,
            "best": self.best,
            "best_epoch": self.best_epoch,
            "waited": self.waited,
        }

    def restore(self, state: Mapping[str, Any], params: Mapping[str, Array]) -> None:
        """Go on from ``state()``; that of another metric is passed over."""
        if state["metric"] == self.metric:
            self.best, self.best_epoch = state["best"], state["best_epoch"]
            self.waited, self.params = state["waited"], dict(params)
