"""Signum and signSGD."""

from __future__ import annotations

import math
from typing import Any

from symbucket.ir import Expr
from symbucket.ir.expr import sign
from symbucket.optimizer.base import Optimizer, register
from symbucket.optimizer.operands import Operands, Step


@register
class Signum(Optimizer):
    """Steps of one size in the direction of the sign of the momentum (of the gradient without).

    ``wd`` decays through the gradient, ``wd_lh`` straight through the weight (momentum only).
    Source: Bernstein et al., signSGD, 2018; the form of the momentum is MXNet's.
    """

    structural = ()

    def __init__(
        self,
        learning_rate: float | None = 0.01,
        momentum: float = 0.9,
        wd_lh: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate=learning_rate, **kwargs)
        self.momentum = self._momentum(momentum)
        self.wd_lh = self._number("wd_lh", wd_lh)

    def state_values(self) -> dict[str, float]:
        """``mom``, if there is momentum."""
        return {"mom": 0.0} if self.momentum != 0 else {}

    def scalars(self, t: int, lr: float, wd: float) -> dict[str, float]:
        """``lr``; ``keep`` of the weight if not 1; momentum, and shares of gradient and decay."""
        scalars = {"lr": lr}
        if self.momentum == 0:
            self._preprocessing()
            scalars["lr"] = math.copysign(lr, self.rescale_grad)  # clipping keeps signs
            keep = 1 - lr * wd
        else:
            scalars |= self._preprocessing(folded=True)
            scalars["momentum"] = self.momentum
            scalars["share"] = (1 - self.momentum) * self.rescale_grad
            if wd != 0:
                scalars["decay"] = (1 - self.momentum) * wd
            keep = 1 - lr * self.wd_lh
        if keep != 1:
            scalars["keep"] = keep
        return scalars

    def step(self, w: Expr, g: Expr, s: Operands, k: Operands) -> Step:
        """Six passes over memory with momentum, three without."""
        shrunk = w * k.keep if "keep" in k else w
        if "mom" not in s:
            return shrunk - sign(g) * k.lr, {}
        down = super().preprocessed(w, g, k) * k.share
        if "decay" in k:
            down = down + w * k.decay
        mom = s.mom * k.momentum - down
        return shrunk + sign(mom) * k.lr, {"mom": mom}

    def preprocessed(self, w: Expr, g: Expr, k: Operands) -> Expr:
        """The gradient as it is: ``step`` clips it after the decay of the weight."""
        return g
