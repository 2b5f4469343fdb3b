"""RMSProp, plain and centered."""

from __future__ import annotations

from typing import Any

from symbucket.ir import Expr
from symbucket.ir.expr import sqrt
from symbucket.optimizer.base import Optimizer, register
from symbucket.optimizer.operands import Operands, Step, limit


@register
class RMSProp(Optimizer):
    """Gradients divided by the root of a running mean of their squares.

    ``gamma1`` is the decay of the running means. ``centered=True`` subtracts the squared running
    mean of the gradient and adds momentum ``gamma2``. ``clip_weights``: weights are clipped to
    ``[-clip_weights, clip_weights]`` after each update. The weight decay is L2, before clipping.
    Sources: Tieleman and Hinton, lecture 6.5, 2012; centered: Graves, Generating sequences, 2013,
    equations 38 to 45.
    """

    structural = ("centered",)

    def __init__(
        self,
        learning_rate: float | None = 0.001,
        gamma1: float = 0.9,
        gamma2: float = 0.9,
        epsilon: float = 1e-8,
        centered: bool = False,
        clip_weights: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate=learning_rate, **kwargs)
        self.gamma1 = self._number("gamma1", gamma1, 0, 1)
        self.gamma2 = self._number("gamma2", gamma2, 0)
        self.epsilon = self._epsilon(epsilon)
        self.centered = bool(centered)
        self.clip_weights = clip_weights

    def state_values(self) -> dict[str, float]:
        """``n`` (mean of squares), and centered ``g`` (mean) and ``delta`` (last step)."""
        return {"n": 0.0, "g": 0.0, "delta": 0.0} if self.centered else {"n": 0.0}

    def scalars(self, t: int, lr: float, wd: float) -> dict[str, float]:
        """Decays, shares of the new gradient and its square, epsilon, rate."""
        rescale = self.rescale_grad
        scalars = {
            **self._preprocessing(l2=wd, folded=True),
            "gamma1": self.gamma1,
            "share2": (1 - self.gamma1) * rescale * rescale,
            "epsilon": self.epsilon,
            "rate": lr * rescale,
        }
        if self.centered:
            scalars |= {"share1": (1 - self.gamma1) * rescale, "gamma2": self.gamma2}
        if self.clip_weights is not None and self._number("clip_weights", self.clip_weights) > 0:
            scalars["clip_weights"] = self.clip_weights
        return scalars

    def step(self, w: Expr, g: Expr, s: Operands, k: Operands) -> Step:
        """Nine passes over memory, sixteen centered."""
        n = s.n * k.gamma1 + g * g * k.share2
        states, variance = {"n": n}, n
        if self.centered:
            states["g"] = mean = s.g * k.gamma1 + g * k.share1
            variance = n - mean * mean
        step = g * k.rate / sqrt(variance + k.epsilon)
        if self.centered:
            states["delta"] = delta = s.delta * k.gamma2 - step
            new = w + delta
        else:
            new = w - step
        return limit(new, k.clip_weights) if "clip_weights" in k else new, states
