"""RMSProp, plain and centered."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from symbucket.ir import Builder
from symbucket.optimizer.base import Optimizer, register


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
        self.epsilon = self._number("epsilon", epsilon, 0)
        self.centered = bool(centered)
        self.clip_weights = clip_weights

    def state_values(self) -> dict[str, float]:
        """``n`` (mean of squares), and centered ``g`` (mean) and ``delta`` (last step)."""
        return {"n": 0.0, "g": 0.0, "delta": 0.0} if self.centered else {"n": 0.0}

    def scalars(self, t: int, lr: float, wd: float) -> dict[str, float]:
        """Decays, shares of the new gradient and its square, epsilon, rate."""
        rescale = self.rescale_grad
        found = {
            **self._preprocessing(l2=wd, folded=True),
            "gamma1": self.gamma1,
            "share2": (1 - self.gamma1) * rescale * rescale,
            "epsilon": self.epsilon,
            "rate": lr * rescale,
        }
        if self.centered:
            found |= {"share1": (1 - self.gamma1) * rescale, "gamma2": self.gamma2}
        if self.clip_weights is not None and self._number("clip_weights", self.clip_weights) > 0:
            found["clip_weights"] = self.clip_weights
        return found

    def emit(
        self,
        g: Builder,
        weight: ir.Value,
        grad: ir.Value,
        states: dict[str, ir.Value],
        scalars: dict[str, ir.Value],
    ) -> tuple[ir.Value, dict[str, ir.Value]]:
        """Nine passes over memory, sixteen centered."""
        grad = self.gradient(g, weight, grad, scalars)
        n = g.op(
            "Add",
            g.op("Mul", states["n"], scalars["gamma1"]),
            g.op("Mul", g.op("Mul", grad, grad), scalars["share2"]),
        )
        new_states = {"n": n}
        spread = n
        if self.centered:
            mean = g.op(
                "Add",
                g.op("Mul", states["g"], scalars["gamma1"]),
                g.op("Mul", grad, scalars["share1"]),
            )
            spread = g.op("Sub", n, g.op("Mul", mean, mean))
            new_states["g"] = mean
        step = g.op("Mul", grad, scalars["rate"])
        step = g.op("Div", step, g.op("Sqrt", g.op("Add", spread, scalars["epsilon"])))
        if self.centered:
            delta = g.op("Sub", g.op("Mul", states["delta"], scalars["gamma2"]), step)
            new_states["delta"] = delta
            new = g.op("Add", weight, delta)
        else:
            new = g.op("Sub", weight, step)
        if "clip_weights" in scalars:
            high = g.op("Squeeze", scalars["clip_weights"], g.ints(0))
            new = g.op("Clip", new, g.op("Neg", high), high)
        return new, new_states
