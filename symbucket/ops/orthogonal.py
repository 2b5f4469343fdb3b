"""A matrix as a lower triangular one times orthonormal rows, by reflections."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from symbucket.errors import ShapeError
from symbucket.ir import (
    OWN_DOMAIN,
    Builder,
    Expr,
    dtype_of,
    expansion,
    gradient,
    shape_of,
    shape_rule,
)
from symbucket.ir.expr import sqrt, where
from symbucket.ops.decompositions import lower, lower_inverse
from symbucket.ops.record import Emitter, Operator, operator
from symbucket.ops.shape import unify
from symbucket.types import InferredShapes, PartialShape

FAMILY = "Matrices"


@operator("_linalg_gelqf", "linalg_gelqf")
class GelqF(Operator):
    """Q with orthonormal rows and a lower triangular L, whose product ``L Q`` is A.

    A has full rank and no more rows than columns. Signs are LAPACK's: those of reflections.
    """

    formula = "L Q = A, Q Q^T = I"
    example = "linalg.gelqf([[3, 4]]) -> [[-0.6, -0.8]], [[-5]]"
    shapes = "(*d, m, n) -> (*d, m, n), (*d, m, m)"

    def arguments(self) -> tuple[str, ...]:
        return ("A",)

    def outputs(self) -> tuple[str, ...]:
        return ("output0", "output1")

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        shape = unify(ins[0], outs[0])
        if shape is None:
            return ins, outs
        if len(shape) < 2 or (shape[-2] > shape[-1] > 0):
            raise ShapeError(f"A needs as many columns as rows, or more; its shape is {shape}")
        return [shape], [shape, unify(outs[1], (*shape[:-1], shape[-2]))]

    def emit(self, g: Emitter, A: ir.Value) -> Sequence[ir.Value]:
        shape = shape_of(A)
        stack = Expr(g, g.reshape(A, (int(np.prod(shape[:-2])), *shape[-2:])))
        rows, triangle = stack.ops("RowFactors", outputs=2, domain=OWN_DOMAIN)
        return [x.reshape(s).value for x, s in zip((rows, triangle), g.out_shapes)]


@shape_rule("RowFactors", domain=OWN_DOMAIN)
def _shapes(node: ir.Node) -> list[tuple[tuple[int, ...], ir.DataType]]:
    x = node.inputs[0]
    assert x is not None
    b, m, n = shape_of(x)
    return [((b, m, n), dtype_of(x)), ((b, m, m), dtype_of(x))]


@gradient("RowFactors", domain=OWN_DOMAIN)
def _gradient(outputs: list[Expr], grads: list[Expr | None]) -> Expr:
    """Seeger et al., 2017, "Auto-differentiating linear algebra"."""
    rows, triangle = outputs
    d_rows, d_triangle = grads
    inner = triangle.filled(0.0)
    if d_triangle is not None:
        inner = triangle.swap_last() @ d_triangle
    if d_rows is not None:
        inner = inner - d_rows @ rows.swap_last()
    half = lower(inner)
    size = triangle.shape[1]
    whole = half + half.swap_last() * (1.0 - np.eye(size))
    result = whole @ rows
    if d_rows is not None:
        result = result + d_rows
    return lower_inverse(triangle).swap_last() @ result


@expansion("RowFactors")
def _expand(g: Builder, node: ir.Node) -> Sequence[ir.Value]:
    """Householder, 1958: each reflection makes a row of A end at its diagonal element."""
    assert node.inputs[0] is not None
    work = Expr(g, node.inputs[0])
    b, m, n = work.shape
    reflections = []
    for k in range(m):
        row = work.op("Slice", [k, k], [k + 1, n], [1, 2])
        first = row.op("Slice", [0], [1], [2])
        if k == n - 1:
            break
        rest = row.op("Slice", [1], [n], [2])
        tail = (rest * rest).sum(2, keepdims=True)
        length = sqrt(first * first + tail)
        reflected = where(first < 0.0, length, -length)
        is_done = tail == 0.0  # the row ends there already
        scale = where(is_done, first.const(1.0), first - reflected)
        share = where(
            is_done, first.const(0.0), (reflected - first) / where(is_done, 1.0, reflected)
        )
        one = first.const(np.ones((b, 1, 1)))
        vector = one.op("Concat", rest / scale, axis=2)
        if k:
            vector = vector.op("Pad", [0, 0, k, 0, 0, 0])
        work = work - (work @ vector.swap_last()) @ (vector * share)
        reflections.append((vector, share))
    rows = work.const(np.broadcast_to(np.eye(m, n), (b, m, n)))
    for vector, share in reversed(reflections):
        rows = rows - (rows @ vector.swap_last()) @ (vector * share)
    return [rows.value, lower(work.op("Slice", [0], [m], [2])).value]
