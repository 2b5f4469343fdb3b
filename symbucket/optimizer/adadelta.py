"""AdaDelta."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from symbucket.ir import Builder
from symbucket.optimizer.base import Optimizer, register


@register
class AdaDelta(Optimizer):
    """Steps scaled by the running size of past steps; the learning rate plays no part, as in MXNet.

    ``w -= delta + wd * w``; clipping leaves the decay alone.
    Source: Zeiler, ADADELTA, 2012, algorithm 1.
    """

    structural = ()

    def __init__(self, rho: float = 0.90, epsilon: float = 1e-5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rho = self._number("rho", rho, 0, 1)
        self.epsilon = self._number("epsilon", epsilon, 0)

    def state_values(self) -> dict[str, float]:
        """Running means of the squared gradient and of the squared step."""
        return {"acc_g": 0.0, "acc_delta": 0.0}

    def scalars(self, t: int, lr: float, wd: float) -> dict[str, float]:
        """``rho``, ``share`` (its complement), ``epsilon``; ``keep`` with weight decay."""
        found = {**self._preprocessing(), "rho": self.rho, "share": 1 - self.rho}
        found["epsilon"] = self.epsilon
        if wd != 0:
            found["keep"] = 1 - wd
        return found

    def emit(
        self,
        g: Builder,
        weight: ir.Value,
        grad: ir.Value,
        states: dict[str, ir.Value],
        scalars: dict[str, ir.Value],
    ) -> tuple[ir.Value, dict[str, ir.Value]]:
        """Fifteen passes over memory; rescaling, clipping and decay add one each."""

        def running(name: str, x: ir.Value) -> ir.Value:
            old = g.op("Mul", states[name], scalars["rho"])
            return g.op("Add", old, g.op("Mul", g.op("Mul", x, x), scalars["share"]))

        def root(x: ir.Value) -> ir.Value:
            return g.op("Sqrt", g.op("Add", x, scalars["epsilon"]))

        grad = self.gradient(g, weight, grad, scalars)
        acc_g = running("acc_g", grad)
        delta = g.op("Mul", g.op("Div", root(states["acc_delta"]), root(acc_g)), grad)
        acc_delta = running("acc_delta", delta)
        kept = g.op("Mul", weight, scalars["keep"]) if "keep" in scalars else weight
        return g.op("Sub", kept, delta), {"acc_g": acc_g, "acc_delta": acc_delta}
