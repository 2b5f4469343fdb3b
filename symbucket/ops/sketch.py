"""Count sketches: many columns summed into few, with signs (Charikar et al., 2002)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from symbucket.ir import Expr
from symbucket.ir.expr import where
from symbucket.ops.record import Emitter, IndexBounds, Operator, operator
from symbucket.ops.shape import unify
from symbucket.types import InferredShapes, PartialShape, Shape

FAMILY = "Matrices"


@operator("_contrib_count_sketch")
class CountSketch(Operator):
    """Column j of data (n, k), times the sign ``s[j]``, is added to column ``h[j]`` of the result.

    ``h`` and ``s`` have shape (1, k). ``processing_batch_size`` tunes MXNet's kernels.
    """

    formula = "y[n, c] = sum over j with h[j] = c of s[j] x[n, j]"
    example = "contrib.count_sketch([[1, 2, 4]], [[0, 1, 0]], [[1, 1, -1]], out_dim=2) -> [[-3, 2]]"
    shapes = "(n, k), (1, k), (1, k) -> (n, out_dim)"
    no_gradient = ("h", "s")

    out_dim: int
    processing_batch_size: int = 32

    def __post_init__(self) -> None:
        self.check(self.out_dim > 0, f"out_dim={self.out_dim} must be positive")

    def arguments(self) -> tuple[str, ...]:
        return ("data", "h", "s")

    def index_bounds(self, ins: Sequence[Shape]) -> dict[str, IndexBounds]:
        return {"h": IndexBounds("columns of the sketch", self.out_dim)}

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        data = unify(ins[0], (0, 0))
        row: PartialShape = (1, 0)
        for shape in ins[1:]:
            row = unify(row, shape)
        assert data is not None
        assert row is not None
        row = unify(row, (1, data[1]))
        assert row is not None
        data = unify(data, (0, row[1]))
        out = unify(outs[0], (data[0] if data else 0, self.out_dim))
        assert out is not None
        return [unify(data, (out[0], 0)), row, row], [out]

    def emit(self, g: Emitter, data: ir.Value, h: ir.Value, s: ir.Value) -> ir.Value:
        x = Expr(g, data)
        columns = Expr(g, g.cast(h, ir.DataType.INT64)).reshape((x.shape[1], 1))
        places = Expr(g, g.const(np.arange(self.out_dim).reshape(1, -1)))
        signs = Expr(g, g.own("BlockGrad", s)).cast(x.dtype).reshape((x.shape[1], 1))
        return (x @ where(columns == places, signs, x.const(0.0))).value
