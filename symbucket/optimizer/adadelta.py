"""AdaDelta."""

from __future__ import annotations

from typing import Any

from symbucket.ir import Expr
from symbucket.ir.expr import sqrt
from symbucket.optimizer.base import Optimizer, register
from symbucket.optimizer.operands import Operands, Step


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
        self.epsilon = self._epsilon(epsilon)

    def state_values(self) -> dict[str, float]:
        """Running means of the squared gradient and of the squared step."""
        return {"acc_g": 0.0, "acc_delta": 0.0}

    def scalars(self, t: int, lr: float, wd: float) -> dict[str, float]:
        """``rho``, ``share`` (its complement), ``epsilon``; ``keep`` with weight decay."""
        scalars = {**self._preprocessing(), "rho": self.rho, "share": 1 - self.rho}
        scalars["epsilon"] = self.epsilon
        if wd != 0:
            scalars["keep"] = 1 - wd
        return scalars

    def step(self, w: Expr, g: Expr, s: Operands, k: Operands) -> Step:
        """Fifteen passes over memory; rescaling, clipping and decay add one each."""

        def running_mean(square: Expr, x: Expr) -> Expr:
            return square * k.rho + x * x * k.share

        acc_g = running_mean(s.acc_g, g)
        delta = sqrt(s.acc_delta + k.epsilon) / sqrt(acc_g + k.epsilon) * g
        acc_delta = running_mean(s.acc_delta, delta)
        new = (w * k.keep if "keep" in k else w) - delta
        return new, {"acc_g": acc_g, "acc_delta": acc_delta}
