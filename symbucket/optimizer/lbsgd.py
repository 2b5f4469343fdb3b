"""LBSGD: large batches made of small ones, with a warm-up."""

from __future__ import annotations

import logging
import math
from typing import Any

import numpy as np

from symbucket.checks import check_integer
from symbucket.errors import InvalidArgumentError
from symbucket.optimizer.base import Optimizer, register
from symbucket.optimizer.host_interface import limited_gradient
from symbucket.optimizer.hyperparameters import Index
from symbucket.runtime.ndarray import NDArray

_STRATEGIES = ("linear", "power2", "sqrt", "lars")


@register
class LBSGD(Optimizer):
    """SGD that updates after every ``batch_scale`` batches, with the mean of their gradients.

    Args:
        momentum: factor of the last step.
        warmup_strategy: how the rate grows to ``batch_scale`` times itself over
            ``warmup_epochs`` of ``updates_per_epoch``: "linear", "power2", "sqrt"; or "lars": a
            rate for each layer from its norms.
        begin_epoch: the epoch that training starts at. num_epochs: MXNet's, without effect.
    """

    def __init__(
        self,
        momentum: float = 0.0,
        multi_precision: bool = False,
        warmup_strategy: str = "linear",
        warmup_epochs: int = 5,
        batch_scale: int = 1,
        updates_per_epoch: int = 32,
        begin_epoch: int = 0,
        num_epochs: int = 60,
        **kwargs: Any,
    ) -> None:
        super().__init__(multi_precision=multi_precision, **kwargs)
        if warmup_strategy not in _STRATEGIES:
            raise InvalidArgumentError(
                f"optimizer lbsgd: warmup_strategy is {warmup_strategy!r}; expected one of "
                f"{', '.join(_STRATEGIES)}"
            )
        self.momentum = self._momentum(momentum)
        self.warmup_strategy = warmup_strategy
        self.warmup_epochs = check_integer(warmup_epochs, "lbsgd: warmup_epochs", 0)
        self.batch_scale = check_integer(batch_scale, "lbsgd: batch_scale", 1)
        self.updates_per_epoch = check_integer(updates_per_epoch, "lbsgd: updates_per_epoch", 1)
        self.init_updates = begin_epoch * updates_per_epoch
        self.num_epochs = num_epochs
        logging.info("Running Large-Batch SGD Algorithm")
        logging.info(
            "(Batch_scale=%f, warmup_epochs=%d, warmup_strategy=%s, updates_per_epoch=%d)",
            batch_scale,
            warmup_epochs,
            warmup_strategy,
            updates_per_epoch,
        )

    def create_state(self, index: Index, weight: NDArray) -> Any:
        """Return the sum of gradients so far, and the momentum if there is one."""
        count = 2 if self.momentum != 0 else 1
        return [NDArray.zeros(weight.shape, weight.dtype, weight.context) for _ in range(count)]

    def update(self, index: Index, weight: NDArray, grad: NDArray, state: Any) -> None:
        """Add the gradient; take a step if it is the last one of a large batch."""
        lr, wd = self._get_lr(index), self._get_wd(index)
        self._update_count(index)
        count = self.init_updates + self._index_update_count[index] - self.begin_num_update
        total = state[0]
        total[...] = total.view() + grad.view()
        if count % self.batch_scale != 0:
            return
        mean = NDArray.of(total.view() / self.batch_scale, weight.context)
        total[...] = 0
        w = weight.asnumpy()
        lr *= self._warmup(count) if self.warmup_strategy != "lars" else _trust(w, mean.view(), wd)
        step = -lr * (limited_gradient(self, mean) + wd * w)
        if len(state) > 1:
            state[1][...] = state[1].view() * self.momentum + step
            step = state[1].asnumpy()
        weight[...] = w + step

    def _warmup(self, count: int) -> float:
        """Return the factor of the learning rate at an update."""
        end = self.warmup_epochs * self.updates_per_epoch
        if count >= end:
            return float(self.batch_scale)
        if end <= 1:
            return 1.0
        share = count / end
        share = {"linear": share, "power2": share**2, "sqrt": math.sqrt(share)}[
            self.warmup_strategy
        ]
        return 1.0 + (self.batch_scale - 1) * share


def _trust(w: np.ndarray[Any, Any], g: np.ndarray[Any, Any], wd: float) -> float:
    """Return the rate of a layer from its norms, between 0.01 and 100."""
    size, slope = float((w * w).sum()), float((g * g).sum())
    return min(max(math.sqrt(size / (slope + wd * size + 1e-18)), 0.01), 100.0)
