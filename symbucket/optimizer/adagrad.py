"""AdaGrad."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from symbucket.ir import Builder
from symbucket.optimizer.base import Optimizer, register


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
        found = {**self._preprocessing(), "lr": lr, "eps": self.float_stable_eps}
        if wd != 0:
            found["keep"] = 1 - lr * wd
        return found

    def emit(
        self,
        g: Builder,
        weight: ir.Value,
        grad: ir.Value,
        states: dict[str, ir.Value],
        scalars: dict[str, ir.Value],
    ) -> tuple[ir.Value, dict[str, ir.Value]]:
        """Seven passes over memory; rescaling, clipping and decay add one each."""
        grad = self.gradient(g, weight, grad, scalars)
        history = g.op("Add", states["history"], g.op("Mul", grad, grad))
        root = g.op("Sqrt", g.op("Add", history, scalars["eps"]))
        step = g.op("Div", g.op("Mul", grad, scalars["lr"]), root)
        kept = g.op("Mul", weight, scalars["keep"]) if "keep" in scalars else weight
        return g.op("Sub", kept, step), {"history": history}
