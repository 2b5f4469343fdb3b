"""Stochastic gradient descent, with or without momentum."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from symbucket.ir import Builder
from symbucket.optimizer.base import Index, Optimizer, register


@register
class SGD(Optimizer):
    """``w -= lr * (grad + wd * w)``, or with momentum ``m = momentum * m - lr * (grad + wd * w)``.

    ``w += m`` then. Clipping applies to the gradient without the decay. ``lazy_update`` is
    accepted for MXNet's sake; it concerns sparse gradients only.
    """

    structural = ()

    def __init__(self, momentum: float = 0.0, lazy_update: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.momentum = self._number("momentum", momentum)
        self.lazy_update = lazy_update

    def state_values(self) -> dict[str, float]:
        """``mom`` where there is momentum."""
        return {"mom": 0.0} if self.momentum != 0 else {}

    def scalars(self, t: int, lr: float, wd: float) -> dict[str, float]:
        """``step`` of the gradient; ``keep`` of the weight, ``momentum``, ``decay`` if needed."""
        found = {"step": lr * self.rescale_grad, **self._preprocessing(folded=True)}
        if self.momentum != 0:
            found["momentum"] = self.momentum
            if wd != 0:
                found["decay"] = lr * wd
        elif wd != 0:
            found["keep"] = 1 - lr * wd
        return found

    def rows_suffice(self, index: Index) -> bool:
        """True for plain descent; not with momentum, weight decay or clipping."""
        return set(self.scalars(1, 1.0, self.wd * self._mult("wd", index))) == {"step"}

    def emit(
        self,
        g: Builder,
        weight: ir.Value,
        grad: ir.Value,
        states: dict[str, ir.Value],
        scalars: dict[str, ir.Value],
    ) -> tuple[ir.Value, dict[str, ir.Value]]:
        """Two passes over memory (Mul, Sub) in the plainest case, four with momentum."""
        step = g.op("Mul", self.gradient(g, weight, grad, scalars), scalars["step"])
        if "mom" not in states:
            kept = g.op("Mul", weight, scalars["keep"]) if "keep" in scalars else weight
            return g.op("Sub", kept, step), {}
        if "decay" in scalars:
            step = g.op("Add", step, g.op("Mul", weight, scalars["decay"]))
        mom = g.op("Sub", g.op("Mul", states["mom"], scalars["momentum"]), step)
        return g.op("Add", weight, mom), {"mom": mom}
