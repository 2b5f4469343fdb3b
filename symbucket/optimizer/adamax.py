"""AdaMax."""

from __future__ import annotations

from typing import Any

from symbucket.ir import Expr
from symbucket.ir.expr import maximum
from symbucket.optimizer.base import Optimizer, register
from symbucket.optimizer.operands import Operands, Step

_TINY = 1e-37  # above the smallest normal float32, below any square root of a gradient that counts


@register
class Adamax(Optimizer):
    """Adam with the infinity norm in place of the root mean square.

    The weight decay is L2, before clipping. Where all gradients so far are exactly zero, MXNet
    divides zero by zero and the weight becomes NaN; here it stays.
    Source: Kingma and Ba, Adam, 2015, algorithm 2.
    """

    structural = ()

    def __init__(
        self,
        learning_rate: float | None = 0.002,
        beta1: float = 0.9,
        beta2: float = 0.999,
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate=learning_rate, **kwargs)
        self.beta1 = self._number("beta1", beta1, 0, 1)
        self.beta2 = self._number("beta2", beta2, 0, 1)

    def state_values(self) -> dict[str, float]:
        """Running mean and decaying maximum."""
        return {"mean": 0.0, "max": 0.0}

    def scalars(self, t: int, lr: float, wd: float) -> dict[str, float]:
        """Decays, the share of the new gradient, the corrected rate."""
        return {
            **self._preprocessing(l2=wd),
            "beta1": self.beta1,
            "beta2": self.beta2,
            "share": 1 - self.beta1,
            "rate": lr / (1 - self.beta1**t),
        }

    def step(self, w: Expr, g: Expr, s: Operands, k: Operands) -> Step:
        """Ten passes over memory."""
        mean = s.mean * k.beta1 + g * k.share
        top = maximum(s.max * k.beta2, abs(g))
        divisor = maximum(top, _TINY)
        return w - mean * k.rate / divisor, {"mean": mean, "max": top}
