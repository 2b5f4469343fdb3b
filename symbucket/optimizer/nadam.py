"""Nadam: Adam with Nesterov momentum."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import onnx_ir as ir

from symbucket.ir import Builder
from symbucket.optimizer.adam import Adam
from symbucket.optimizer.base import register


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
        found = super().scalars(t, lr, wd)
        root = (1 - self.beta2**t) ** 0.5
        found.pop("rate")
        # Both sides of the quotient are multiplied by the root of the variance's correction.
        found["epsilon"] *= root
        found["ahead_g"] = lr * root * (1 - now) / (1 - self.m_schedule) * self.rescale_grad
        found["ahead_m"] = lr * root * later / (1 - self.m_schedule * later)
        return found

    def emit(
        self,
        g: Builder,
        weight: ir.Value,
        grad: ir.Value,
        states: dict[str, ir.Value],
        scalars: dict[str, ir.Value],
    ) -> tuple[ir.Value, dict[str, ir.Value]]:
        """Fourteen passes over memory."""
        grad = self.gradient(g, weight, grad, scalars)
        mean, var = self.moments(g, grad, states, scalars)
        ahead = g.op(
            "Add",
            g.op("Mul", grad, scalars["ahead_g"]),
            g.op("Mul", mean, scalars["ahead_m"]),
        )
        step = g.op("Div", ahead, g.op("Add", g.op("Sqrt", var), scalars["epsilon"]))
        return g.op("Sub", weight, step), {"mean": mean, "var": var}

    def counters(self) -> dict[str, Any]:
        """The base's, and the product of the momentum schedule."""
        return {**super().counters(), "m_schedule": self.m_schedule}

    def set_counters(self, counters: Mapping[str, Any]) -> None:
        """Go on from ``counters``."""
        m_schedule = float(counters["m_schedule"])
        super().set_counters(counters)
        self.m_schedule = m_schedule
