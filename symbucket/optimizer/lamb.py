"""LAMB: Adam with a step for each layer in proportion to its weights."""

from __future__ import annotations

from typing import Any

from symbucket.ir import Expr
from symbucket.ir.expr import maximum, minimum, sqrt, where
from symbucket.optimizer.base import Optimizer, register
from symbucket.optimizer.operands import Operands, Step


@register
class LAMB(Optimizer):
    """Adam's direction with weight decay, scaled to the norm of the weight.

    Source: You et al., Large batch optimization for deep learning, 2020.

    Args:
        lower_bound, upper_bound: limits of the weight's norm in the scale; None: none.
        bias_correction: correct the moments of the first updates, as Adam does.
    """

    structural = ()

    def __init__(
        self,
        learning_rate: float | None = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-6,
        lower_bound: float | None = None,
        upper_bound: float | None = None,
        bias_correction: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate=learning_rate, **kwargs)
        self.beta1 = self._number("beta1", beta1, 0, 1)
        self.beta2 = self._number("beta2", beta2, 0, 1)
        self.epsilon = self._epsilon(epsilon)
        self.lower_bound = None if not lower_bound else self._number("lower_bound", lower_bound)
        self.upper_bound = None if not upper_bound else self._number("upper_bound", upper_bound)
        self.bias_correction = bool(bias_correction)

    def state_values(self) -> dict[str, float]:
        """Running mean of the gradient and of its square."""
        return {"mean": 0.0, "var": 0.0}

    def scalars(self, t: int, lr: float, wd: float) -> dict[str, float]:
        """Decays, corrections, epsilon, the rate and the bounds."""
        scalars = {
            **self._preprocessing(),
            "beta1": self.beta1,
            "share1": 1 - self.beta1,
            "beta2": self.beta2,
            "share2": 1 - self.beta2,
            "epsilon": self.epsilon,
            "rate": lr,
        }
        if self.bias_correction:
            scalars["correction1"] = 1 / (1 - self.beta1**t)
            scalars["correction2"] = 1 / (1 - self.beta2**t)
        if wd != 0:
            scalars["decay"] = wd
        if self.lower_bound is not None:
            scalars["lower"] = self.lower_bound
        if self.upper_bound is not None:
            scalars["upper"] = self.upper_bound
        return scalars

    def step(self, w: Expr, g: Expr, s: Operands, k: Operands) -> Step:
        """Twenty passes over memory."""
        mean = s.mean * k.beta1 + g * k.share1
        var = s.var * k.beta2 + g * g * k.share2
        corrected = "correction1" in k
        root = sqrt(var * k.correction2 if corrected else var) + k.epsilon
        direction = (mean * k.correction1 if corrected else mean) / root
        if "decay" in k:
            direction = direction + w * k.decay
        size, length = sqrt((w * w).sum()), sqrt((direction * direction).sum())
        if "lower" in k:
            size = maximum(size, k.lower)
        if "upper" in k:
            size = minimum(size, k.upper)
        scaled = (size > 0.0) & (length > 0.0)
        ratio = where(scaled, size / where(scaled, length, 1.0), 1.0)
        return w - direction * (ratio * k.rate), {"mean": mean, "var": var}
