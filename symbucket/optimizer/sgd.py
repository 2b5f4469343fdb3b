"""Stochastic gradient descent, with or without momentum."""

from __future__ import annotations

from typing import Any

from symbucket.ir import Expr
from symbucket.optimizer.base import Optimizer, register
from symbucket.optimizer.hyperparameters import Index
from symbucket.optimizer.operands import Operands, Step


@register
class SGD(Optimizer):
    """``w -= lr * (grad + wd * w)``, or with momentum ``m = momentum * m - lr * (grad + wd * w)``.

    ``w += m`` then. Clipping applies to the gradient without the decay. ``lazy_update`` is
    accepted for MXNet's sake; it concerns sparse gradients only.
    """

    structural = ()

    def __init__(self, momentum: float = 0.0, lazy_update: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.momentum = self._momentum(momentum)
        self.lazy_update = lazy_update

    def state_values(self) -> dict[str, float]:
        """``mom``, if there is momentum."""
        return {"mom": 0.0} if self.momentum != 0 else {}

    def scalars(self, t: int, lr: float, wd: float) -> dict[str, float]:
        """``step`` of the gradient; ``keep`` of the weight, ``momentum``, ``decay`` if needed."""
        scalars = {"step": lr * self.rescale_grad, **self._preprocessing(folded=True)}
        if self.momentum != 0:
            scalars["momentum"] = self.momentum
            if wd != 0:
                scalars["decay"] = lr * wd
        elif wd != 0:
            scalars["keep"] = 1 - lr * wd
        return scalars

    def rows_suffice(self, index: Index) -> bool:
        """True for plain descent; not with momentum, weight decay or clipping."""
        return set(self.scalars(1, 1.0, self.wd * self._mult("wd", index))) == {"step"}

    def step(self, w: Expr, g: Expr, s: Operands, k: Operands) -> Step:
        """Two passes over memory (Mul, Sub) in the plainest case, four with momentum."""
        step = g * k.step
        if "mom" not in s:
            return (w * k.keep if "keep" in k else w) - step, {}
        if "decay" in k:
            step = step + w * k.decay
        mom = s.mom * k.momentum - step
        return w + mom, {"mom": mom}


@register
class ccSGD(SGD):  # noqa: N801 - MXNet's name
    """SGD by an older name."""
