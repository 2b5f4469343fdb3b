"""Operators that order elements by size: topk, sort, argsort. A NaN counts as plus infinity."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import onnx_ir as ir

from symbucket.errors import ShapeError
from symbucket.ir import Expr, dtype_of, shape_of
from symbucket.ops.extremes import check_positions, ordered
from symbucket.ops.record import Emitter, Operator, operator
from symbucket.ops.shape import axis_of, unify, with_dim
from symbucket.types import InferredShapes, InferredTypes, PartialDType, PartialShape, Shape

FAMILY = "Order"


class _Ordered(Operator):
    """Elements in order along ``axis`` (None: of all elements)."""

    axis: int | None = -1
    is_ascend: bool = False

    def lined_up(self, shape: Shape) -> tuple[Shape, int]:
        """Return the shape in which an axis is put in order, and that axis."""
        if self.axis is None:
            return (0 if 0 in shape else math.prod(shape),), 0
        return shape, axis_of(self.axis, len(shape))

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        data = ins[0]
        if data is None:
            return ins, outs
        shape, axis = self.lined_up(data)
        size = with_dim(shape, axis, self.count(shape[axis]))
        return ins, [unify(out, size) for out in outs]

    def count(self, size: int) -> int:
        """Return how many of ``size`` elements are wanted."""
        return size

    def ordered(self, g: Emitter, data: ir.Value) -> tuple[ir.Value, ir.Value]:
        """Return the elements in order, and their positions (int64)."""
        shape, axis = self.lined_up(shape_of(data))
        data, dtype = g.reshape(data, shape), dtype_of(data)
        if dtype in (ir.DataType.FLOAT16, ir.DataType.UINT8, ir.DataType.INT8):
            wide = ir.DataType.FLOAT if dtype == ir.DataType.FLOAT16 else ir.DataType.INT32
            data = g.cast(data, wide)  # the runtimes order no others
        count = Expr(g, g.ints(self.count(shape[axis])))
        values, positions = ordered(Expr(g, data), count, axis, largest=not self.is_ascend)
        return g.cast(values.value, dtype), positions.value

    def numbered(
        self, g: Emitter, data: ir.Value, positions: ir.Value, dtype: np.dtype[Any]
    ) -> ir.Value:
        """Return positions as numbers of ``dtype``; ShapeError if it does not hold them."""
        shape, axis = self.lined_up(shape_of(data))
        check_positions(shape[axis], dtype, f"{self.op_name}(dtype={dtype.name!r})")
        return g.cast(positions, ir.DataType.from_numpy(dtype))


@operator("topk", method="topk")
class TopK(_Ordered):
    """The ``k`` largest elements along ``axis`` (smallest with ``is_ascend``); all if k < 1.

    ``ret_typ`` says what is returned: their positions as numbers of ``dtype`` ("indices"), their
    values ("value"), both (two outputs, values first), or 1 at their places and 0 elsewhere
    ("mask"). With ``axis=None`` the data is flattened. A NaN counts as plus infinity.
    """

    formula = "x[y[0]] >= x[y[1]] >= ..."
    example = "topk([3, 1, 2], k=2) -> [0, 2]"
    shapes = "(*d) -> (*e)"

    axis: int | None = -1
    k: int = 1
    ret_typ: Literal["indices", "value", "both", "mask"] = "indices"
    is_ascend: bool = False
    dtype: str = "float32"

    def outputs(self) -> tuple[str, ...]:
        return ("output0", "output1") if self.ret_typ == "both" else ("output",)

    def count(self, size: int) -> int:
        if size and self.k > size:
            raise ShapeError(f"k={self.k} is more than the {size} elements along axis={self.axis}")
        return self.k if self.k >= 1 else size

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        if self.ret_typ != "mask":
            return super().infer_shape(ins, outs)
        data = unify(ins[0], outs[0])
        if data is not None:
            shape, axis = self.lined_up(data)
            self.count(shape[axis])
        return [data], [data]

    def infer_type(self, ins: list[PartialDType], outs: list[PartialDType]) -> InferredTypes:
        data, index = ins[0], np.dtype(self.dtype)
        if self.ret_typ == "both":
            data = data or outs[0]
            return [data], [data, index]
        if self.ret_typ == "indices":
            return [data], [index]
        data = data or outs[0]
        return [data], [data]

    def emit(self, g: Emitter, data: ir.Value) -> ir.Value | Sequence[ir.Value]:
        values, positions = self.ordered(g, data)
        if self.ret_typ == "value":
            return values
        if self.ret_typ == "mask":
            shape, axis = self.lined_up(shape_of(data))
            dtype = dtype_of(data)
            zeros = g.filled(shape, 0.0, dtype)
            ones = g.filled(shape_of(positions), 1.0, dtype)
            mask = g.op("ScatterElements", zeros, positions, ones, axis=axis)
            return g.reshape(mask, shape_of(data))
        index = self.numbered(g, data, positions, np.dtype(self.dtype))
        return [values, index] if self.ret_typ == "both" else index


@operator("sort", method="sort")
class Sort(_Ordered):
    """The elements in order along ``axis``, the smallest first; ``axis=None`` flattens the data.

    A NaN counts as plus infinity.
    """

    formula = "y[0] <= y[1] <= ..."
    example = "sort([3, 1, 2]) -> [1, 2, 3]"
    shapes = "(*d) -> (*e)"

    axis: int | None = -1
    is_ascend: bool = True

    def emit(self, g: Emitter, data: ir.Value) -> ir.Value:
        return self.ordered(g, data)[0]


@operator("argsort", method="argsort")
class ArgSort(_Ordered):
    """The positions that would sort the data along ``axis``, as numbers of ``dtype``.

    A NaN counts as plus infinity.
    """

    formula = "x[y[0]] <= x[y[1]] <= ..."
    example = "argsort([3, 1, 2]) -> [1, 2, 0]"
    shapes = "(*d) -> (*e)"
    no_gradient = ("data",)

    axis: int | None = -1
    is_ascend: bool = True
    dtype: str = "float32"

    def infer_type(self, ins: list[PartialDType], outs: list[PartialDType]) -> InferredTypes:
        return ins, [np.dtype(self.dtype)]

    def emit(self, g: Emitter, data: ir.Value) -> ir.Value:
        return self.numbered(g, data, self.ordered(g, data)[1], np.dtype(self.dtype))
