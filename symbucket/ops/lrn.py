"""LRN: normalization by the neighbouring channels."""

from __future__ import annotations

import math

import onnx_ir as ir

from symbucket.errors import ShapeError
from symbucket.ir import Expr
from symbucket.ops.record import Emitter, Operator, operator
from symbucket.ops.shape import unify
from symbucket.types import InferredShapes, PartialShape

FAMILY = "Normalization"


@operator("LRN")
class LRN(Operator):
    """``data / (knorm + alpha / nsize * sum of squares)^beta``.

    The squares are those of the ``nsize`` channels around each channel (Krizhevsky et al., 2012).
    """

    formula = (
        "y[c] = x[c] / (knorm + alpha / nsize sum of x[j]^2 over nsize channels around c)^beta"
    )
    example = "LRN([[[[1]], [[2]]]], nsize=3, alpha=1, beta=1, knorm=1) -> [[[[0.375]], [[0.75]]]]"

    alpha: float = 1e-4
    beta: float = 0.75
    knorm: float = 2.0
    nsize: int

    def __post_init__(self) -> None:
        self.check(
            self.nsize > 0 and self.nsize % 2 == 1, f"nsize={self.nsize} must be odd and positive"
        )

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        shape = unify(ins[0], outs[0])
        if shape is not None and len(shape) < 2:
            raise ShapeError(f"data must be (n, c, ...), it has shape {shape}")
        return [shape], [shape]

    def emit(self, g: Emitter, data: ir.Value) -> ir.Value:
        return normalize_by_neighbours(
            Expr(g, data), self.nsize, self.alpha, self.beta, self.knorm
        ).value


def normalize_by_neighbours(x: Expr, size: int, alpha: float, beta: float, least: float) -> Expr:
    """Return x / (least + alpha / size * sum of the squares of ``size`` channels)^beta."""
    n, channels, area = *x.shape[:2], math.prod(x.shape[2:])
    before = (size - 1) // 2
    squares = (x * x).reshape((n, 1, channels, area))
    squares = squares.op("Pad", [0, 0, before, 0, 0, 0, size - 1 - before, 0])
    means = squares.op("AveragePool", kernel_shape=[size, 1], strides=[1, 1]).reshape(x.shape)
    return x / (means * alpha + least) ** beta
