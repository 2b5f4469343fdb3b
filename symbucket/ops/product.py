"""Products of matrices: dot, batch_dot and matmul."""

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

    formula = "y[i, j] = sum over k of lhs[i, k] rhs[k, j]"
    example = "dot([[1, 2]], [[3], [4]]) -> [[11]]"
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

    formula = "y[b] = lhs[b] rhs[b]"
    example = "batch_dot([[[1, 2]]], [[[3], [4]]]) -> [[[11]]]"
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


@operator("matmul", method="matmul")
class MatMul(Operator):
    """The product of matrices (the last two axes), ``lhs @ rhs``; leading axes broadcast.

    A vector on the left is one row, a vector on the right one column; that axis is left out of the
    result. The product of two vectors has shape (1,).
    """

    formula = "y = lhs @ rhs"
    example = "matmul([[1, 2]], [[3], [4]]) -> [[11]]"
    shapes = (
        "(*d, m, k), (k, n) -> (*d, m, n) or (*d, m, k), (*e, k, n) -> (*f, m, n)"
        " or (k,), (*d, k, n) -> (*d, n) or (*d, k), (k,) -> (*d) or (k,), (k,) -> (1,)"
    )

    def arguments(self) -> tuple[str, ...]:
        return ("lhs", "rhs")

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        a, b = ins
        if a is None or b is None:
            return ins, outs
        inner_b = max(len(b) - 2, 0)
        k, k2 = a[-1], b[inner_b]
        if k and k2 and k != k2:
            raise ShapeError(
                f"lhs {a} @ rhs {b}: the last axis of lhs has size {k}, the "
                f"{'last but one' if len(b) > 1 else 'only'} axis of rhs {k2}; they must be equal"
            )
        a, b = with_dim(a, len(a) - 1, k or k2), with_dim(b, inner_b, k or k2)
        leading = _broadcast(a[:-2], b[:-2])
        if leading is None:
            raise ShapeError(f"lhs {a} @ rhs {b}: the axes before the last two do not broadcast")
        rows, columns = a[-2:-1], b[-1:] if len(b) > 1 else ()
        return [a, b], [unify(outs[0], (*leading, *rows, *columns) or (1,))]

    def emit(self, g: Emitter, lhs: ir.Value, rhs: ir.Value) -> ir.Value:
        a, b = shape_of(lhs), shape_of(rhs)
        lhs = g.reshape(lhs, (1, *a)) if len(a) == 1 else lhs
        rhs = g.reshape(rhs, (*b, 1)) if len(b) == 1 else rhs
        return g.reshape(g.op("MatMul", lhs, rhs), g.out_shapes[0])


def _broadcast(a: Shape, b: Shape) -> Shape | None:
    """Return the common shape, in which 0 is unknown; None if there is none."""
    rank = max(len(a), len(b))
    sizes = []
    for m, n in zip((1,) * (rank - len(a)) + a, (1,) * (rank - len(b)) + b):
        least, most = sorted((m, n))
        if least > 1 and least != most:
            return None
        sizes.append(most if least or most > 1 else 0)
    return tuple(sizes)
