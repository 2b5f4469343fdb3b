"""Nesterov's accelerated gradient."""

from __future__ import annotations

import onnx_ir as ir

from symbucket.ir import Builder
from symbucket.optimizer.base import register
from symbucket.optimizer.sgd import SGD


@register
class NAG(SGD):
    """SGD that looks ahead: with ``s = lr * grad`` and ``m = momentum * mom``,

    ``w += momentum * (m - s) - s`` and ``mom = m - s``. The weight decay of ``w`` uses the old
    weight and that of ``mom`` the new one; MXNet's kernel does so, and its numbers need it.
    Without momentum it is SGD.
    Source: Sutskever et al., On the importance of initialization and momentum, 2013.
    """

    def scalars(self, t: int, lr: float, wd: float) -> dict[str, float]:
        """SGD's, and ``keep``, the share of the old weight that stays."""
        found = super().scalars(t, lr, wd)
        if "decay" in found:
            found["keep"] = 1 - (1 + self.momentum) * lr * wd
        return found

    def emit(
        self,
        g: Builder,
        weight: ir.Value,
        grad: ir.Value,
        states: dict[str, ir.Value],
        scalars: dict[str, ir.Value],
    ) -> tuple[ir.Value, dict[str, ir.Value]]:
        """Six passes over memory, nine with weight decay."""
        if "mom" not in states:
            return super().emit(g, weight, grad, states, scalars)
        step = g.op("Mul", self.gradient(g, weight, grad, scalars), scalars["step"])
        mom = g.op("Sub", g.op("Mul", states["mom"], scalars["momentum"]), step)
        move = g.op("Sub", g.op("Mul", mom, scalars["momentum"]), step)
        if "decay" not in scalars:
            return g.op("Add", weight, move), {"mom": mom}
        new = g.op("Add", g.op("Mul", weight, scalars["keep"]), move)
        return new, {"mom": g.op("Sub", mom, g.op("Mul", new, scalars["decay"]))}
