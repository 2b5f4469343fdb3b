"""``Test``: adds gradients, as MXNet's tests of stores use it."""

from __future__ import annotations

from typing import Any

from symbucket.optimizer.base import Optimizer, register
from symbucket.optimizer.hyperparameters import Index
from symbucket.runtime.ndarray import NDArray


@register
class Test(Optimizer):
    """``w += rescale_grad * grad``; the state is a copy of the weight."""

    def create_state(self, index: Index, weight: NDArray) -> Any:
        """Return zeros of the weight's shape."""
        return NDArray.zeros(weight.shape, weight.dtype, weight.context)

    def update(self, index: Index, weight: NDArray, grad: NDArray, state: Any) -> None:
        """Add the gradient."""
        weight[...] = weight.view() + grad.view() * self.rescale_grad
        state[...] = weight
