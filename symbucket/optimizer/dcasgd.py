"""DCASGD: descent that makes up for gradients that come late."""

from __future__ import annotations

from typing import Any

from symbucket.optimizer.base import Optimizer, register
from symbucket.optimizer.host_interface import limited_gradient
from symbucket.optimizer.hyperparameters import Index
from symbucket.runtime.ndarray import NDArray


@register
class DCASGD(Optimizer):
    """SGD with the term ``lamda * g * g * (w - w_previous)`` in the gradient.

    Source: Zheng et al., Asynchronous stochastic gradient descent with delay compensation, 2016.

    Args:
        momentum: factor of the last step. lamda: factor of the compensation.
    """

    def __init__(self, momentum: float = 0.0, lamda: float = 0.04, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.momentum = self._momentum(momentum)
        self.lamda = self._number("lamda", lamda)

    def create_state(self, index: Index, weight: NDArray) -> Any:
        """Return (momentum or None, the weight before)."""
        mom = None
        if self.momentum != 0:
            mom = NDArray.zeros(weight.shape, weight.dtype, weight.context)
        return mom, weight.copy()

    def update(self, index: Index, weight: NDArray, grad: NDArray, state: Any) -> None:
        """Take one step, in Python."""
        self._update_count(index)
        lr, wd = self._get_lr(index), self._get_wd(index)
        mom, previous = state
        g, w = limited_gradient(self, grad), weight.asnumpy()
        step = -lr * (g + wd * w + self.lamda * g * g * (w - previous.view()))
        if mom is not None:
            mom[...] = mom.view() * self.momentum + step
            step = mom.asnumpy()
        previous[...] = w
        weight[...] = w + step
