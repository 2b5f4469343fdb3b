"""Operators that draw random numbers: Dropout, random_uniform, random_normal.

What a node draws is a function of the library's seed, the step, and the node's place among the
drawing nodes of its network: neither rebuilding a session nor the order of bucket keys changes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import onnx_ir as ir

from symbucket.ir import (
    OWN_DOMAIN,
    Builder,
    Expr,
    attr,
    expansion,
    gradient,
    mark,
    same_as_first,
    shape_of,
    shape_rule,
)
from symbucket.ops.record import Emitter, Operator, operator
from symbucket.ops.shape import axis_of, unify, with_dim
from symbucket.types import InferredShapes, InferredTypes, PartialDType, PartialShape

FAMILY = "Random numbers"


# ``Masked(x, keep)`` is ``scale * x`` where ``keep`` is true, else 0. A node of its own, so that
# only the booleans wait for the backward pass.
#
# ONNX's Dropout is not used: docs/runtimes.md says what is wrong with it.
mark("Masked", domain=OWN_DOMAIN, elementwise=True)
shape_rule("Masked", domain=OWN_DOMAIN)(same_as_first)


@gradient("Masked", domain=OWN_DOMAIN)
def _masked_gradient(x: Expr, keep: Expr, dy: Expr, *, scale: float) -> Expr:
    return dy.own("Masked", keep, scale=scale)


@expansion("Masked")
def _expand_masked(g: Builder, node: ir.Node) -> Sequence[ir.Value]:
    x, keep = node.inputs
    assert x is not None
    factor = g.op("Where", keep, g.const(attr(node, "scale"), like=x), g.const(0.0, like=x))
    return [g.op("Mul", x, factor)]


@operator("Dropout")
class Dropout(Operator):
    """While training a share ``p`` of the elements is 0, the others are divided by ``1 - p``.

    mode "always" does so at inference too. Along the axes ``axes`` one choice holds for all
    positions (variational dropout).
    """

    formula = "y = x keep / (1 - p), keep 0 with probability p, else 1; outside of training y = x"
    example = "Dropout([1, 2], p=0.5) -> [1, 2]"
    random = True
    p: float = 0.5
    mode: Literal["training", "always"] = "training"
    axes: tuple[int, ...] = ()
    cudnn_off: bool = False

    def __post_init__(self) -> None:
        self.check(0.0 <= self.p < 1.0, f"p={self.p} must be from 0 up to below 1")

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        shape = unify(ins[0], outs[0])
        if shape is not None:
            for axis in self.axes:
                axis_of(axis, len(shape))
        return [shape], [shape]

    def draws(self, training: bool) -> int:
        return int(self.p > 0.0 and (training or self.mode == "always"))

    def emit(self, g: Emitter, data: ir.Value) -> ir.Value:
        if self.p == 0.0 or not (g.training or self.mode == "always"):
            return g.op("Identity", data)
        shape = shape_of(data)
        for axis in self.axes:
            shape = with_dim(shape, axis_of(axis, len(shape)), 1)
        keep = g.noise("bernoulli", shape, probability=1.0 - self.p)
        return g.own("Masked", data, keep, scale=1.0 / (1.0 - self.p))


class Drawn(Operator):
    """Random numbers of a shape; 0 in ``shape`` is a dimension to be inferred from its use."""

    shapes = "-> (*shape)"
    random = True

    shape: tuple[int, ...] = ()
    dtype: str = "float32"

    def arguments(self) -> tuple[str, ...]:
        return ()

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        return [], [unify(outs[0], self.shape or None)]

    def draws(self, training: bool) -> int:
        return 1

    def onnx_dtype(self) -> ir.DataType:
        """The dtype."""
        return ir.DataType.from_numpy(np.dtype(self.name_of_dtype()))

    def name_of_dtype(self) -> str:
        """The name of the dtype; MXNet's files say "None" for the default."""
        return "float32" if self.dtype == "None" else self.dtype

    def infer_type(self, ins: list[PartialDType], outs: list[PartialDType]) -> InferredTypes:
        return [], [np.dtype(self.name_of_dtype())]


@operator("_random_uniform", "random_uniform", "uniform")
class RandomUniform(Drawn):
    """Numbers drawn evenly from ``low`` up to below ``high``, new ones at every run."""

    formula = "p(y) = 1 / (high - low)"
    example = "random.uniform(0, 1, shape=(2, 3)).shape -> (2, 3)"

    low: float = 0.0
    high: float = 1.0
    shape: tuple[int, ...] = ()
    dtype: str = "float32"

    def emit(self, g: Emitter) -> ir.Value:
        drawn = Expr(g, g.noise("uniform", g.out_shapes[0]))
        return (drawn * (self.high - self.low) + self.low).cast(self.onnx_dtype()).value


@operator("_random_normal", "random_normal", "normal")
class RandomNormal(Drawn):
    """Numbers of the normal distribution around ``loc`` with standard deviation ``scale``."""

    formula = "p(y) = exp(-(y - loc)^2 / (2 scale^2)) / (scale sqrt(2 pi))"
    example = "random.normal(0, 1, shape=(2, 3)).shape -> (2, 3)"

    loc: float = 0.0
    scale: float = 1.0
    shape: tuple[int, ...] = ()
    dtype: str = "float32"

    def __post_init__(self) -> None:
        self.check(self.scale >= 0, f"scale={self.scale} must not be negative")

    def emit(self, g: Emitter) -> ir.Value:
        drawn = Expr(g, g.noise("normal", g.out_shapes[0]))
        return (drawn * self.scale + self.loc).cast(self.onnx_dtype()).value
