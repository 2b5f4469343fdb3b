"""SGLD: stochastic gradient Langevin dynamics."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from symbucket import seeding
from symbucket.optimizer.base import Optimizer, register
from symbucket.optimizer.host_interface import limited_gradient
from symbucket.optimizer.hyperparameters import Index
from symbucket.runtime.ndarray import NDArray


@register
class SGLD(Optimizer):
    """Half a step down the gradient, and normal noise of variance ``lr``: samples of a posterior.

    The noise is a function of the library's seed, the parameter and the number of its update.
    Source: Welling and Teh, Bayesian learning via stochastic gradient Langevin dynamics, 2011.
    """

    def update(self, index: Index, weight: NDArray, grad: NDArray, state: Any) -> None:
        """Take one step, in Python."""
        self._update_count(index)
        lr, wd = self._get_lr(index), self._get_wd(index)
        values = weight.asnumpy()
        key = self.idx2name.get(index, str(index)), self._index_update_count[index]
        noise = seeding.stream("sgld", *key).normal(0.0, math.sqrt(lr), values.shape)
        step = limited_gradient(self, grad) + wd * values
        weight[...] = values - lr / 2 * step + np.asarray(noise, values.dtype)
