"""Nadam: Adam with Nesterov momentum."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from symbucket.ir import Expr
from symbucket.ir.expr import sqrt
from symbucket.optimizer.adam import Adam
from symbucket.optimizer.base import register
from symbucket.optimizer.operands import Operands, Step


@register
class Nadam(Adam):
    """Adam that looks ahead, with a momentum schedule.

    MXNet keeps one product of the schedule for the whole optimizer and multiplies it once for every
    parameter that is updated; its numbers come out only if this does the same.
    Source: Dozat, Incorporating Nesterov momentum into Adam, 2016.
    """

    per_parameter = True

    def __init__(
        self,
        learning_rate: float | None = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        schedule_decay: float = 0.004,
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate, beta1, beta2, epsilon, **kwargs)
        self.schedule_decay = self._number("schedule_decay", schedule_decay)
        self.m_schedule = 1.0

    def scalars(self, t: int, lr: float, wd: float) -> dict[str, float]:
        """Adam's decays and shares; ``ahead_g`` and ``ahead_m`` weigh gradient and mean."""
        now, later = (
            self.beta1 * (1 - 0.5 * 0.96 ** (step * self.schedule_decay)) for step in (t, t + 1)
        )
        self.m_schedule *= now
        scalars = super().scalars(t, lr, wd)
        root = (1 - self.beta2**t) ** 0.5
        scalars.pop("rate")
        # Both sides of the quotient are multiplied by the root of the variance's correction.
        scalars["epsilon"] *= root
        scalars["ahead_g"] = lr * root * (1 - now) / (1 - self.m_schedule) * self.rescale_grad
        scalars["ahead_m"] = lr * root * later / (1 - self.m_schedule * later)
        return scalars

    def step(self, w: Expr, g: Expr, s: Operands, k: Operands) -> Step:
        """Fourteen passes over memory."""
        mean, var = self.moments(g, s, k)
        ahead = g * k.ahead_g + mean * k.ahead_m
        return w - ahead / (sqrt(var) + k.epsilon), {"mean": mean, "var": var}

    def counters(self) -> dict[str, Any]:
        """The base's, and the product of the momentum schedule."""
        return {**super().counters(), "m_schedule": self.m_schedule}

    def set_counters(self, counters: Mapping[str, Any]) -> None:
        """Go on from ``counters``."""
        m_schedule = float(counters["m_schedule"])
        super().set_counters(counters)
        self.m_schedule = m_schedule
