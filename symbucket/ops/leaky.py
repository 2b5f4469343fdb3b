"""LeakyReLU: the activations that let something through below zero."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import onnx_ir as ir

from symbucket.errors import ShapeError
from symbucket.ir import Expr, shape_of
from symbucket.ir.expr import where
from symbucket.ops.record import Emitter, Operator, operator
from symbucket.ops.shape import unify
from symbucket.types import InferredShapes, PartialShape

FAMILY = "Leaky activations"


@operator("LeakyReLU")
class LeakyReLU(Operator):
    """An activation of kind ``act_type``, element by element; x above zero, and below it:

    leaky ``slope * x``; prelu ``gamma * x`` with a learned gamma for each channel (one for all if
    its shape is (1,), one for each element of the first axes if its shape is theirs); elu
    ``slope * (exp(x) - 1)``; selu elu with fixed constants, scaled on both sides. gelu is x times
    the standard normal's distribution function, everywhere.
    rrelu: a slope drawn for each element from ``lower_bound`` to ``upper_bound`` in training, their
    mean at inference; the slopes (1 above zero) are a second output, ``mask``.
    """

    formula = (
        "y = x above 0; below: leaky slope x; prelu gamma x; elu slope (exp(x) - 1); rrelu a drawn "
        "slope"
    )
    example = "LeakyReLU([-2, 3], slope=0.5) -> [-1, 3]"
    shapes = "(*d), (c,) -> (*d) or (*c, *e), (*c) -> (*c, *e)"
    random = True
    implicit = ("gamma",)

    act_type: Literal["leaky", "elu", "prelu", "selu", "gelu", "rrelu"] = "leaky"
    slope: float = 0.25
    lower_bound: float = 0.125
    upper_bound: float = 0.334

    def arguments(self) -> tuple[str, ...]:
        return ("data", "gamma") if self.act_type == "prelu" else ("data",)

    def __post_init__(self) -> None:
        self.check(
            0.0 <= self.lower_bound <= self.upper_bound,
            f"lower_bound={self.lower_bound} must be from 0 to upper_bound={self.upper_bound}",
        )

    def outputs(self) -> tuple[str, ...]:
        return ("output", "mask") if self.act_type == "rrelu" else ("output",)

    def draws(self, training: bool) -> int:
        return int(training and self.act_type == "rrelu")

    def initial_values(self) -> Mapping[str, float]:
        return {"gamma": 0.25}

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        data = unify(ins[0], outs[0])
        if self.act_type != "prelu":
            return [data], [data] * len(outs)
        gamma = ins[1]
        if gamma is not None and len(gamma) > 1:
            if data is not None and len(gamma) <= len(data):
                first = unify(gamma, data[: len(gamma)]) or ()
                return [(*first, *data[len(first) :]), first], [data]
            return [data, gamma], [data]
        if data is not None and gamma != (1,):
            if len(data) < 2:
                raise ShapeError(
                    f"prelu learns a slope for each channel (axis 1), but data has shape {data}; "
                    "give gamma the shape (1,) for one slope"
                )
            gamma = unify(gamma, (data[1],))
        return [data, gamma], [data]

    def _random_slopes(self, g: Emitter, data: ir.Value) -> Sequence[ir.Value]:
        x = Expr(g, data)
        slopes = x.const((self.lower_bound + self.upper_bound) / 2.0)
        if g.training:
            drawn = Expr(g, g.noise("uniform", x.shape)).cast(x.dtype)
            slopes = drawn * (self.upper_bound - self.lower_bound) + self.lower_bound
        mask = where(x > 0.0, x.const(1.0), slopes)
        return [(x * mask).value, mask.value]

    def emit(
        self, g: Emitter, data: ir.Value, gamma: ir.Value | None = None
    ) -> ir.Value | Sequence[ir.Value]:
        if self.act_type == "rrelu":
            return self._random_slopes(g, data)
        if self.act_type == "leaky":
            return g.op("LeakyRelu", data, alpha=self.slope)
        if self.act_type == "elu":
            return g.op("Elu", data, alpha=self.slope)
        if gamma is not None:
            first = shape_of(gamma)
            after = [1] * (len(shape_of(data)) - max(2, len(first)))
            column = (*first, *after)
            return g.op("PRelu", data, g.reshape(gamma, column))
        return g.op("Selu" if self.act_type == "selu" else "Gelu", data)


@operator("gelu", method="gelu")
class Gelu(Operator):
    """``x`` times the standard normal's distribution function (Hendrycks and Gimpel, 2016).

    ``approximate="tanh"`` computes the distribution function with a hyperbolic tangent, as GPT-2
    does. ``LeakyReLU(act_type="gelu")`` is the exact one.
    """

    formula = "y = x (1 + erf(x / sqrt(2))) / 2"
    example = "gelu([-1, 0, 1]) -> [-0.1587, 0, 0.8413]"

    approximate: Literal["none", "tanh"] = "none"

    def emit(self, g: Emitter, data: ir.Value) -> ir.Value:
        if self.approximate == "none":
            return g.op("Gelu", data)
        return g.op("Gelu", data, approximate=self.approximate)
