"""Adam."""

from __future__ import annotations

import math
from typing import Any

from symbucket.ir import Expr
from symbucket.ir.expr import sqrt
from symbucket.optimizer.base import Optimizer, register
from symbucket.optimizer.operands import Operands, Step


@register
class Adam(Optimizer):
    """Adaptive moments, with the bias corrections folded into the learning rate.

    The weight decay is L2: it joins the gradient before clipping, as in MXNet. ``lazy_update`` is
    accepted for MXNet's sake; it concerns sparse gradients only.
    Source: Kingma and Ba, Adam, 2015, the form at the end of section 2.
    """

    structural = ()

    def __init__(
        self,
        learning_rate: float | None = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        lazy_update: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate=learning_rate, **kwargs)
        self.beta1 = self._number("beta1", beta1, 0, 1)
        self.beta2 = self._number("beta2", beta2, 0, 1)
        self.epsilon = self._epsilon(epsilon)
        self.lazy_update = lazy_update

    def state_values(self) -> dict[str, float]:
        """Running mean of the gradient and of its square."""
        return {"mean": 0.0, "var": 0.0}

    def scalars(self, t: int, lr: float, wd: float) -> dict[str, float]:
        """Decays, shares of the new gradient and its square, epsilon, the corrected rate."""
        rescale = self.rescale_grad
        return {
            **self._preprocessing(l2=wd, folded=True),
            "beta1": self.beta1,
            "beta2": self.beta2,
            "share1": (1 - self.beta1) * rescale,
            "share2": (1 - self.beta2) * rescale * rescale,
            "epsilon": self.epsilon,
            "rate": lr * math.sqrt(1 - self.beta2**t) / (1 - self.beta1**t),
        }

    def step(self, w: Expr, g: Expr, s: Operands, k: Operands) -> Step:
        """Twelve passes over memory."""
        mean, var = self.moments(g, s, k)
        return w - mean / (sqrt(var) + k.epsilon) * k.rate, {"mean": mean, "var": var}

    def moments(self, g: Expr, s: Operands, k: Operands) -> tuple[Expr, Expr]:
        """Return the new running mean of the gradient and that of its square."""
        mean = s.mean * k.beta1 + g * k.share1
        var = s.var * k.beta2 + g * g * k.share2
        return mean, var
