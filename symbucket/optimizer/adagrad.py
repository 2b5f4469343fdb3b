"""AdaGrad."""

from __future__ import annotations

from typing import Any

from symbucket.ir import Expr
from symbucket.ir.expr import sqrt
from symbucket.optimizer.base import Optimizer, register
from symbucket.optimizer.operands import Operands, Step


@register
class AdaGrad(Optimizer):
    """Gradients divided by the root of the sum of their squares so far.

    ``w -= lr * (grad / sqrt(history + eps) + wd * w)``; clipping leaves the decay alone.
    Source: Duchi, Hazan and Singer, Adaptive subgradient methods, 2011.
    """

    structural = ()

    def __init__(self, eps: float = 1e-7, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.float_stable_eps = self._number("eps", eps, 0)

    def state_values(self) -> dict[str, float]:
        """The sum of squares."""
        return {"history": 0.0}

    def scalars(self, t: int, lr: float, wd: float) -> dict[str, float]:
        """``lr``, ``eps``, and with weight decay ``keep``, the share of the weight that stays."""
        scalars = {**self._preprocessing(), "lr": lr, "eps": self.float_stable_eps}
        if wd != 0:
            scalars["keep"] = 1 - lr * wd
        return scalars

    def step(self, w: Expr, g: Expr, s: Operands, k: Operands) -> Step:
        """Seven passes over memory; rescaling, clipping and decay add one each."""
        history = s.history + g * g
        root = sqrt(history + k.eps)
        step = g * k.lr / root
        return (w * k.keep if "keep" in k else w) - step, {"history": history}
