"""AdamW: Adam with a weight decay of its own."""

from __future__ import annotations

import math

from symbucket.ir import Expr
from symbucket.ir.expr import sqrt
from symbucket.optimizer.adam import Adam
from symbucket.optimizer.base import register
from symbucket.optimizer.operands import Operands, Step


@register
class AdamW(Adam):
    """Adam whose weight decay shrinks the weight, and does not join the gradient.

    ``w *= 1 - lr * wd``, then Adam's step without decay, as PyTorch's ``AdamW`` computes it.
    Source: Loshchilov and Hutter, Decoupled weight decay regularization, 2019.
    """

    def scalars(self, t: int, lr: float, wd: float) -> dict[str, float]:
        """Adam's, without decay in the gradient; ``keep`` of the weight."""
        scalars = super().scalars(t, lr, 0.0)
        scalars["epsilon"] *= math.sqrt(1 - self.beta2**t)
        if wd != 0:
            scalars["keep"] = 1 - lr * wd
        return scalars

    def step(self, w: Expr, g: Expr, s: Operands, k: Operands) -> Step:
        """Thirteen passes over memory."""
        mean, var = self.moments(g, s, k)
        decayed = w * k.keep if "keep" in k else w
        return decayed - mean / (sqrt(var) + k.epsilon) * k.rate, {"mean": mean, "var": var}
