"""Nesterov's accelerated gradient."""

from __future__ import annotations

from symbucket.ir import Expr
from symbucket.optimizer.base import register
from symbucket.optimizer.operands import Operands, Step
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
        scalars = super().scalars(t, lr, wd)
        if "decay" in scalars:
            scalars["keep"] = 1 - (1 + self.momentum) * lr * wd
        return scalars

    def step(self, w: Expr, g: Expr, s: Operands, k: Operands) -> Step:
        """Six passes over memory, nine with weight decay."""
        if "mom" not in s:
            return super().step(w, g, s, k)
        step = g * k.step
        mom = s.mom * k.momentum - step
        move = mom * k.momentum - step
        if "decay" not in k:
            return w + move, {"mom": mom}
        new = w * k.keep + move
        return new, {"mom": mom - new * k.decay}
