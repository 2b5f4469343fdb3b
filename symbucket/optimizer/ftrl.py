"""FTRL-Proximal."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from symbucket.errors import InvalidArgumentError
from symbucket.ir import Builder
from symbucket.optimizer.base import Optimizer, register


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

    def emit(
        self,
        g: Builder,
        weight: ir.Value,
        grad: ir.Value,
        states: dict[str, ir.Value],
        scalars: dict[str, ir.Value],
    ) -> tuple[ir.Value, dict[str, ir.Value]]:
        """Fifteen passes over memory, one of them to keep the old ``n`` until its root is taken."""
        grad = self.gradient(g, weight, grad, scalars)
        n = g.op("Add", states["n"], g.op("Mul", grad, grad))
        root = g.op("Sqrt", n)
        rise = g.op("Mul", g.op("Sub", root, g.op("Sqrt", states["n"])), scalars["inverse"])
        z = g.op("Sub", g.op("Add", states["z"], grad), g.op("Mul", rise, weight))
        high = g.op("Squeeze", scalars["lamda1"], g.ints(0))
        beyond = g.op("Sub", g.op("Clip", z, g.op("Neg", high), high), z)
        scale = g.op("Add", g.op("Mul", root, scalars["inverse"]), scalars["floor"])
        return g.op("Div", beyond, scale), {"z": z, "n": n}
