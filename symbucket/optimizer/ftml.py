"""FTML: follow the moving leader."""

from __future__ import annotations

from typing import Any

from symbucket.errors import InvalidArgumentError
from symbucket.ir import Expr
from symbucket.ir.expr import sqrt
from symbucket.optimizer.base import Optimizer, register
from symbucket.optimizer.operands import Operands, Step


@register
class FTML(Optimizer):
    """Follow the moving leader: the weight is a function of the states alone.

    The weight decay is L2: it joins the gradient before clipping, as in MXNet.
    Source: Zheng and Kwok, Follow the moving leader in deep learning, 2017.
    """

    structural = ()

    def __init__(
        self, beta1: float = 0.6, beta2: float = 0.999, epsilon: float = 1e-8, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.beta1 = self._number("beta1", beta1, 0, 1)
        self.beta2 = self._number("beta2", beta2, 0, 1)
        self.epsilon = self._epsilon(epsilon)

    def state_values(self) -> dict[str, float]:
        """``d`` (the scale), ``v`` (mean of squares) and ``z`` (the leader)."""
        return {"d": 0.0, "v": 0.0, "z": 0.0}

    def scalars(self, t: int, lr: float, wd: float) -> dict[str, float]:
        """Decays, the factor of the scale, and the correction of ``v``."""
        if lr == 0:
            raise InvalidArgumentError(
                "optimizer ftml divides by the learning rate and found 0 (learning_rate, the "
                "scheduler or an lr_mult). To freeze a parameter, leave it out of the update: "
                "fixed_param_names, or grad_req='null'."
            )
        return {
            **self._preprocessing(l2=wd),
            "beta1": self.beta1,
            "share1": 1 - self.beta1,
            "beta2": self.beta2,
            "share2": 1 - self.beta2,
            "epsilon": self.epsilon,
            "scale": (1 - self.beta1**t) / lr,
            "correction": 1 / (1 - self.beta2**t),
        }

    def step(self, w: Expr, g: Expr, s: Operands, k: Operands) -> Step:
        """Eighteen passes over memory."""
        v = s.v * k.beta2 + g * g * k.share2
        d = (sqrt(v * k.correction) + k.epsilon) * k.scale
        z = s.z * k.beta1 + g * k.share1 - (d - s.d * k.beta1) * w
        return -(z / d), {"d": d, "v": v, "z": z}
