"""Products of matrices: dot and batch_dot."""

from __future__ import annotations

import math

import onnx_ir as ir

from symbucket.errors import ShapeError
from symbucket.ir import shape_of
from symbucket.ops.record import Emitter, Operator, operator
from symbucket.ops.shape import unify, unify_all, with_dim
from symbucket.types import InferredShapes, PartialShape, Shape

FAMILY = "Products of matrices"


class _Product(Operator):
    """Two matrices; the flags exchange the axes of one before the product."""

    transpose_a: bool = False
    transpose_b: bool = False

    def arguments(self) -> tuple[str, ...]:
        return ("lhs", "rhs")


@operator("dot")
class Dot(_Product):
    """The sum of products over the last axis of ``lhs`` and the first of ``rhs``.

    ``transpose_a`` takes the first axis of ``lhs`` instead, ``transpose_b`` the last of ``rhs``.
    The product of two vectors has shape (1,).
    """

    shapes = "(*d, k), (k, *e) -> (*d, *e) or (k,), (k,) -> (1,)"

    transpose_a: bool = False
    transpose_b: bool = False

    def _parts(self, a: Shape, b: Shape) -> tuple[int, Shape, int, Shape]:
        """The summed size and the remaining axes, of either side."""
        left = (a[0], a[1:]) if self.transpose_a else (a[-1], a[:-1])
        right = (b[-1], b[:-1]) if self.transpose_b else (b[0], b[1:])
        return (*left, *right)

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        a, b = ins
        if a is None or b is None:
            return ins, outs
        k, rows, k2, columns = self._parts(a, b)
        if k and k2 and k != k2:
            raise ShapeError(
                f"lhs {a} and rhs {b} are summed over axes of size {k} and {k2}, which differ "
                f"(transpose_a={self.transpose_a}, transpose_b={self.transpose_b})"
            )
        a = with_dim(a, 0 if self.transpose_a else len(a) - 1, k or k2)
        b = with_dim(b, len(b) - 1 if self.transpose_b else 0, k or k2)
        return [a, b], [unify(outs[0], (*rows, *columns) or (1,))]

    def emit(self, g: Emitter, lhs: ir.Value, rhs: ir.Value) -> ir.Value:
        k, rows, _, columns = self._parts(shape_of(lhs), shape_of(rhs))
        m, n = math.prod(rows), math.prod(columns)
        lhs = g.reshape(lhs, (k, m) if self.transpose_a else (m, k))
        rhs = g.reshape(rhs, (n, k) if self.transpose_b else (k, n))
        product = g.op(
            "Gemm",
            lhs,
            rhs,
            transA=int(self.transpose_a) or None,
            transB=int(self.transpose_b) or None,
        )
        return g.reshape(product, g.out_shapes[0])


@operator("batch_dot")
class BatchDot(_Product):
    """A product of matrices (the last two axes) for every index of the leading axes."""

    shapes = "(*d, m, k), (*d, k, n) -> (*d, m, n)"

    transpose_a: bool = False
    transpose_b: bool = False

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        a, b, out = *ins, outs[0]
        for name, shape in (("lhs", a), ("rhs", b)):
            if shape is not None and len(shape) < 3:
                raise ShapeError(f"{name} must have three or more axes, it has shape {shape}")
        lead = unify_all([s[:-2] for s in (a, b, out) if s is not None])
        if lead is None:
            return ins, outs
        row, inner_a = (-1, -2) if self.transpose_a else (-2, -1)
        inner_b, column = (-1, -2) if self.transpose_b else (-2, -1)
        k = unify_all([s[i : i + 1 or None] for s, i in ((a, inner_a), (b, inner_b)) if s]) or (0,)
        known_out = out or (0, 0)
        m = unify(a[row : row + 1 or None] if a else None, known_out[-2:-1]) or (0,)
        n = unify(b[column : column + 1 or None] if b else None, known_out[-1:]) or (0,)
        a = (*lead, *k, *m) if self.transpose_a else (*lead, *m, *k)
        b = (*lead, *n, *k) if self.transpose_b else (*lead, *k, *n)
        return [a, b], [(*lead, *m, *n)]

    def emit(self, g: Emitter, lhs: ir.Value, rhs: ir.Value) -> ir.Value:
        rank = len(shape_of(lhs))
        swap = [*range(rank - 2), rank - 1, rank - 2]
        lhs = g.transpose(lhs, swap) if self.transpose_a else lhs
        rhs = g.transpose(rhs, swap) if self.transpose_b else rhs
        return g.op("MatMul", lhs, rhs)
