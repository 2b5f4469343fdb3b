"""Operators whose gradient is another one than that of what they compute."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from symbucket.ir import (
    OWN_DOMAIN,
    Builder,
    Expr,
    expansion,
    gradient,
    no_gradient,
    same_as_first,
    shape_rule,
)
from symbucket.ops.record import Emitter, Operator, operator
from symbucket.ops.shape import unify
from symbucket.types import InferredShapes, PartialShape

FAMILY = "Losses and gradient blocks"

# WithGradient(x, y) is y and has the gradient of x, times ``scale``; GradientPlus(x, more) is x,
# with ``more`` added to its gradient.

no_gradient("WithGradient", domain=OWN_DOMAIN, inputs=[1], because="is the value of the output")
no_gradient("GradientPlus", domain=OWN_DOMAIN, inputs=[1], because="is itself a gradient")
shape_rule("WithGradient", "GradientPlus", domain=OWN_DOMAIN)(same_as_first)


@gradient("WithGradient", domain=OWN_DOMAIN)
def _with_gradient(x: Expr, y: Expr, dy: Expr, *, scale: float) -> Expr:
    return dy if scale == 1.0 else dy * scale


@gradient("GradientPlus", domain=OWN_DOMAIN)
def _gradient_plus(x: Expr, more: Expr, dy: Expr) -> Expr:
    return dy + more


@expansion("WithGradient")
def _expand_with_gradient(g: Builder, node: ir.Node) -> Sequence[ir.Value]:
    return [g.op("Identity", node.inputs[1])]


@expansion("GradientPlus")
def _expand_gradient_plus(g: Builder, node: ir.Node) -> Sequence[ir.Value]:
    return [g.op("Identity", node.inputs[0])]


@operator("_contrib_round_ste")
class RoundSTE(Operator):
    """The nearest whole number, halves away from zero; the gradient is passed on as it is."""

    formula = "y = round(x), dy/dx = 1"
    example = "contrib.round_ste([-1.5, 0.5, 2.4]) -> [-2, 1, 2]"

    def emit(self, g: Emitter, data: ir.Value) -> ir.Value:
        x = Expr(g, data)
        return x.own("WithGradient", x.op("Sign") * (abs(x) + 0.5).op("Floor"), scale=1.0).value


@operator("_contrib_sign_ste")
class SignSTE(Operator):
    """-1, 0 or 1; the gradient is passed on as it is."""

    formula = "y = sign(x), dy/dx = 1"
    example = "contrib.sign_ste([-1.5, 0, 2]) -> [-1, 0, 1]"

    def emit(self, g: Emitter, data: ir.Value) -> ir.Value:
        x = Expr(g, data)
        return x.own("WithGradient", x.op("Sign"), scale=1.0).value


@operator("_contrib_gradientmultiplier")
class GradientMultiplier(Operator):
    """The data; its gradient times ``scalar`` (-1 reverses it, Ganin and Lempitsky 2015)."""

    formula = "y = x, dy/dx = scalar"
    example = "contrib.gradientmultiplier([1, 2], scalar=-1) -> [1, 2]"

    scalar: float = 1.0
    is_int: bool = True

    def emit(self, g: Emitter, data: ir.Value) -> ir.Value:
        return g.own("WithGradient", data, data, scale=self.scalar)


@operator("IdentityAttachKLSparseReg")
class IdentityAttachKLSparseReg(Operator):
    """The data, outputs of sigmoids (n, c), with a penalty on units that are active too often.

    In training the gradient of ``penalty`` times KL(``sparseness_target`` || average of a unit) is
    added to that of the data. The auxiliary state is the moving average over batches.
    """

    formula = "y = x; dx += penalty ((1 - target) / (1 - average) - target / average)"
    example = "IdentityAttachKLSparseReg([[0.2, 0.4]], [0.5, 0.5]) -> [[0.2, 0.4]]"
    shapes = "(n, c), (c,) -> (n, c)"
    implicit = ("moving_avg",)
    no_gradient = ("moving_avg",)

    sparseness_target: float = 0.1
    penalty: float = 0.001
    momentum: float = 0.9

    def __post_init__(self) -> None:
        target = self.sparseness_target
        self.check(0 < target < 1, f"sparseness_target={target} must lie between 0 and 1")
        self.check(0 <= self.momentum <= 1, f"momentum={self.momentum} must be from 0 to 1")

    def auxiliary(self) -> tuple[str, ...]:
        return ("moving_avg",)

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        data = unify(unify(ins[0], outs[0]), (0, 0))
        assert data is not None
        return [data, unify(ins[1], (data[1],))], [data]

    def emit(self, g: Emitter, data: ir.Value, moving_avg: ir.Value) -> ir.Value:
        if not g.training:
            return g.op("Identity", data)
        x, old = Expr(g, data), Expr(g, moving_avg)
        new = old * self.momentum + x.mean(0) * (1.0 - self.momentum)
        g.update_aux(moving_avg, new.value)
        target = self.sparseness_target
        more = ((1.0 - target) / (1.0 - new) - target / new) * self.penalty
        return x.own("GradientPlus", more.expand(x.shape)).value
