"""Signum and signSGD."""

from __future__ import annotations

import math
from typing import Any

import onnx_ir as ir

from symbucket.ir import Builder
from symbucket.optimizer.base import Optimizer, register


@register
class Signum(Optimizer):
    """Steps of one size in the direction of the sign of the momentum (of the gradient without).

    ``wd`` decays through the gradient, ``wd_lh`` straight through the weight (momentum only).
    Source: Bernstein et al., signSGD, 2018; the form of the momentum is MXNet's.
    """

    structural = ()

    def __init__(
        self,
        learning_rate: float | None = 0.01,
        momentum: float = 0.9,
        wd_lh: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate=learning_rate, **kwargs)
        self.momentum = self._number("momentum", momentum)
        self.wd_lh = self._number("wd_lh", wd_lh)

    def state_values(self) -> dict[str, float]:
        """``mom`` where there is momentum."""
        return {"mom": 0.0} if self.momentum != 0 else {}

    def scalars(self, t: int, lr: float, wd: float) -> dict[str, float]:
        """``lr``; ``keep`` of the weight if not 1; momentum, and shares of gradient and decay."""
        found = {"lr": lr}
        if self.momentum == 0:
            self._preprocessing()
            found["lr"] = math.copysign(lr, self.rescale_grad)  # clipping keeps signs
            keep = 1 - lr * wd
        else:
            found |= self._preprocessing(folded=True)
            found["momentum"] = self.momentum
            found["share"] = (1 - self.momentum) * self.rescale_grad
            if wd != 0:
                found["decay"] = (1 - self.momentum) * wd
            keep = 1 - lr * self.wd_lh
        if keep != 1:
            found["keep"] = keep
        return found

    def emit(
        self,
        g: Builder,
        weight: ir.Value,
        grad: ir.Value,
        states: dict[str, ir.Value],
        scalars: dict[str, ir.Value],
    ) -> tuple[ir.Value, dict[str, ir.Value]]:
        """Six passes over memory with momentum, three without."""
        kept = g.op("Mul", weight, scalars["keep"]) if "keep" in scalars else weight
        if "mom" not in states:
            return g.op("Sub", kept, g.op("Mul", g.op("Sign", grad), scalars["lr"])), {}
        down = g.op("Mul", self.gradient(g, weight, grad, scalars), scalars["share"])
        if "decay" in scalars:
            down = g.op("Add", down, g.op("Mul", weight, scalars["decay"]))
        mom = g.op("Sub", g.op("Mul", states["mom"], scalars["momentum"]), down)
        return g.op("Add", kept, g.op("Mul", g.op("Sign", mom), scalars["lr"])), {"mom": mom}
