"""FTRL-Proximal."""

from __future__ import annotations

from typing import Any

from symbucket.errors import InvalidArgumentError
from symbucket.ir import Expr
from symbucket.ir.expr import sqrt
from symbucket.optimizer.base import Optimizer, register
from symbucket.optimizer.operands import Operands, Step, limit


@register
class Ftrl(Optimizer):
    """Follow the regularized leader: weights whose ``|z|`` stays within ``lamda1`` are zero.

    ``wd`` is the L2 term of the leader. The weight is a function of the states alone, so the first
    update forgets the initial value up to the term that ``z`` takes from it.
    Source: McMahan et al., Ad click prediction, 2013, algorithm 1.
    """

    structural = ()

    def __init__(
        self,
        lamda1: float = 0.01,
        learning_rate: float | None = 0.1,
        beta: float = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate=learning_rate, **kwargs)
        self.lamda1 = self._number("lamda1", lamda1, 0)
        self.beta = self._number("beta", beta, 0)

    def state_values(self) -> dict[str, float]:
        """``z`` (sum of adjusted gradients) and ``n`` (sum of squares)."""
        return {"z": 0.0, "n": 0.0}

    def scalars(self, t: int, lr: float, wd: float) -> dict[str, float]:
        """``lamda1``, the inverse rate, and ``floor`` of the denominator."""
        if lr == 0:
            raise InvalidArgumentError(
                "optimizer ftrl divides by the learning rate and found 0 (learning_rate, the "
                "scheduler or an lr_mult). To freeze a parameter, leave it out of the update: "
                "fixed_param_names, or grad_req='null'."
            )
        return {
            **self._preprocessing(),
            "lamda1": self.lamda1,
            "inverse": 1 / lr,
            "floor": self.beta / lr + wd,
        }

    def step(self, w: Expr, g: Expr, s: Operands, k: Operands) -> Step:
        """Fifteen passes over memory, one of them to keep the old ``n`` until its root is taken."""
        n = s.n + g * g
        root = sqrt(n)
        rise = (root - sqrt(s.n)) * k.inverse
        z = s.z + g - rise * w
        beyond = limit(z, k.lamda1) - z
        return beyond / (root * k.inverse + k.floor), {"z": z, "n": n}
