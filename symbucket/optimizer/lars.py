"""LARS: momentum with a rate for each layer in proportion to its weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from symbucket.ir import Expr
from symbucket.ir.expr import sqrt, where
from symbucket.optimizer.base import Optimizer, register
from symbucket.optimizer.hyperparameters import Index
from symbucket.optimizer.operands import Operands, Step

_PLAIN = ("gamma", "beta", "bias")


@register
class LARS(Optimizer):
    """SGD whose learning rate is multiplied by ``eta * |w| / (|g| + wd * |w| + eps)``.

    Parameters whose names end in gamma, beta or bias have the plain rate, and only ``*_weight``
    decays. Source: You et al., Large batch training of convolutional networks, 2017.

    Args:
        momentum: factor of the last step. lazy_update: MXNet's, without effect.
        eta: the trust coefficient. eps: keeps the quotient finite.
        momentum_correction: scale the momentum with changes of the learning rate.
    """

    structural = ()
    per_parameter = True

    def __init__(
        self,
        momentum: float = 0.0,
        lazy_update: bool = True,
        eta: float = 0.001,
        eps: float = 0,
        momentum_correction: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.momentum = self._momentum(momentum)
        self.lazy_update = lazy_update
        self.eta = self._number("eta", eta, 0)
        self.eps = self._number("eps", eps, 0)
        self.momentum_correction = bool(momentum_correction)
        self.last_lr: float | None = None
        self.cur_lr: float | None = None

    def set_wd_mult(self, args_wd_mult: Mapping[Index, float]) -> None:
        """Set factors of the weight decay; names that do not end in ``_weight`` have 0."""
        super().set_wd_mult(args_wd_mult)
        for name in self.idx2name.values():
            if not name.endswith("_weight"):
                self.wd_mult.setdefault(name, 0.0)

    def state_values(self) -> dict[str, float]:
        """``mom``, if there is momentum."""
        return {"mom": 0.0} if self.momentum != 0 else {}

    def table(self, indices: Sequence[Index]) -> tuple[list[dict[str, float]], list[int]]:
        """Note the learning rate, which the momentum is corrected by, and return the scalars."""
        rate = self.learning_rate
        self.last_lr = rate if self.cur_lr is None else self.cur_lr
        self.cur_lr = rate
        return super().table(indices)

    def scalars_of(self, index: Index, t: int, lr: float, wd: float) -> dict[str, float]:
        """The plain scalars, and ``eta`` and ``eps`` for a layer with a rate of its own."""
        scalars = self.scalars(t, lr, wd)
        if not self.idx2name.get(index, str(index)).endswith(_PLAIN):
            scalars |= {"eta": self.eta, "eps": self.eps, "slope": abs(float(self.rescale_grad))}
        return scalars

    def scalars(self, t: int, lr: float, wd: float) -> dict[str, float]:
        """Rate, decay, and the momentum, corrected."""
        scalars = {"rate": lr, "decay": wd, **self._preprocessing()}
        if self.momentum != 0:
            scalars["momentum"] = self.momentum
            if self.momentum_correction and self.last_lr and self.cur_lr is not None:
                scalars["momentum"] *= self.cur_lr / self.last_lr
        return scalars

    def preprocessed(self, w: Expr, g: Expr, k: Operands) -> Expr:
        """Return the gradient as it came: its norm is taken before it is clipped."""
        return g

    def step(self, w: Expr, g: Expr, s: Operands, k: Operands) -> Step:
        """Eight passes over memory, and two more for the norms."""
        rate = k.rate
        if "eta" in k:
            size, slope = sqrt((w * w).sum()), sqrt((g * g).sum()) * k.slope
            trusted = (size > 0.0) & (slope > 0.0)
            divisor = where(trusted, slope + k.decay * size + k.eps, 1.0)
            rate = rate * where(trusted, k.eta * size / divisor, 1.0)
        step = (super().preprocessed(w, g, k) + w * k.decay) * rate
        if "mom" not in s:
            return w - step, {}
        mom = s.mom * k.momentum - step
        return w + mom, {"mom": mom}

    def counters(self) -> dict[str, Any]:
        """The base's, and the learning rates of the last two updates."""
        return {**super().counters(), "last_lr": self.last_lr, "cur_lr": self.cur_lr}

    def set_counters(self, counters: Mapping[str, Any]) -> None:
        """Go on from ``counters``."""
        last, current = counters["last_lr"], counters["cur_lr"]
        super().set_counters(counters)
        self.last_lr = None if last is None else float(last)
        self.cur_lr = None if current is None else float(current)
