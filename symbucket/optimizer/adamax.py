"""AdaMax."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from symbucket.ir import Builder
from symbucket.optimizer.base import Optimizer, register

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

    def emit(
        self,
        g: Builder,
        weight: ir.Value,
        grad: ir.Value,
        states: dict[str, ir.Value],
        scalars: dict[str, ir.Value],
    ) -> tuple[ir.Value, dict[str, ir.Value]]:
        """Ten passes over memory."""
        grad = self.gradient(g, weight, grad, scalars)
        mean = g.op(
            "Add",
            g.op("Mul", states["mean"], scalars["beta1"]),
            g.op("Mul", grad, scalars["share"]),
        )
        top = g.op("Max", g.op("Mul", states["max"], scalars["beta2"]), g.op("Abs", grad))
        safe = g.op("Max", top, g.const(_TINY, like=top))
        step = g.op("Div", g.op("Mul", mean, scalars["rate"]), safe)
        return g.op("Sub", weight, step), {"mean": mean, "max": top}
