"""diag, cumsum, khatri_rao: operators on the rows, columns and diagonals of matrices."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from symbucket.errors import ShapeError
from symbucket.ir import dtype_of, shape_of
from symbucket.ops.record import Emitter, Operator, operator
from symbucket.ops.shape import axis_of, unify
from symbucket.types import Array, InferredShapes, InferredTypes, PartialDType, PartialShape

FAMILY = "Matrices"


def take_elements(g: Emitter, x: ir.Value, places: Array) -> ir.Value:
    """Return the elements ``places`` of the flattened last axes of x; -1 stands for a zero.

    ``x`` is (*d, k) and ``places`` has any shape; the result is (*d, *places.shape).
    """
    lead, size = shape_of(x)[:-1], shape_of(x)[-1]
    if (places < 0).any():
        x = g.op("Concat", x, g.filled((*lead, 1), 0.0, dtype_of(x)), axis=len(lead))
        places = np.where(places < 0, size, places)
    return g.op("Gather", x, g.const(places.astype(np.int64)), axis=len(lead))


@operator("diag", method="diag")
class Diag(Operator):
    """Diagonal ``k`` of the matrices in ``axis1`` and ``axis2``, as a new last axis.

    Data with one axis becomes a matrix with it on its diagonal ``k``.
    """

    formula = "y[i] = x[i, i + k]; of a vector: y[i, i + k] = x[i]"
    example = "diag([[1, 2], [3, 4]]) -> [1, 4]"
    shapes = "(*d) -> (*e)"

    k: int = 0
    axis1: int = 0
    axis2: int = 1

    def _places(self, rows: int, columns: int) -> Array:
        return np.diagonal(np.arange(rows * columns).reshape(rows, columns), self.k)

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        data = ins[0]
        if data is None or 0 in data:
            return ins, outs
        if len(data) == 1:
            size = data[0] + abs(self.k)
            return ins, [unify(outs[0], (size, size))]
        a, b = axis_of(self.axis1, len(data)), axis_of(self.axis2, len(data))
        if a == b:
            raise ShapeError(f"axis1={self.axis1} and axis2={self.axis2} are the same axis")
        count = len(self._places(data[a], data[b]))
        if not count:
            raise ShapeError(f"{data} has no diagonal k={self.k}")
        rest = [d for i, d in enumerate(data) if i not in (a, b)]
        return ins, [unify(outs[0], (*rest, count))]

    def emit(self, g: Emitter, data: ir.Value) -> ir.Value:
        shape = shape_of(data)
        if len(shape) == 1:
            size = shape[0] + abs(self.k)
            places = np.full((size, size), -1)
            lines = np.arange(shape[0])
            places[lines + max(-self.k, 0), lines + max(self.k, 0)] = lines
            return take_elements(g, data, places)
        a, b = axis_of(self.axis1, len(shape)), axis_of(self.axis2, len(shape))
        rest = [i for i in range(len(shape)) if i not in (a, b)]
        flat = g.transpose(data, [*rest, a, b])
        flat = g.reshape(flat, (*(shape[i] for i in rest), shape[a] * shape[b]))
        return take_elements(g, flat, self._places(shape[a], shape[b]))


@operator("cumsum", "_np_cumsum", method="cumsum")
class CumSum(Operator):
    """The sums of the first elements along ``axis``; of the flattened data if it is None."""

    formula = "y[i] = x[0] + ... + x[i]"
    example = "cumsum([1, 2, 3]) -> [1, 3, 6]"
    shapes = "(*d) -> (*e)"

    axis: int | None = None
    dtype: str | None = None

    def arguments(self) -> tuple[str, ...]:
        return ("a",)

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        data = ins[0]
        if data is None:
            return ins, outs
        if self.axis is None:
            return ins, [unify(outs[0], (0 if 0 in data else math.prod(data),))]
        axis_of(self.axis, len(data))
        return ins, [unify(outs[0], data)]

    def infer_type(self, ins: list[PartialDType], outs: list[PartialDType]) -> InferredTypes:
        return ins, [np.dtype(self.dtype) if self.dtype else ins[0]]

    def emit(self, g: Emitter, a: ir.Value) -> ir.Value:
        a = g.reshape(g.cast(a, ir.DataType.from_numpy(g.out_dtypes[0])), g.out_shapes[0])
        axis = axis_of(self.axis or 0, len(g.out_shapes[0]))
        return g.op("CumSum", a, g.const(np.int64(axis)))


@operator("khatri_rao")
class KhatriRao(Operator):
    """The products of all combinations of rows, column by column, of any number of matrices."""

    formula = "y[i m + j, k] = a[i, k] b[j, k], m the rows of b"
    example = "khatri_rao([[1, 2]], [[3, 4], [5, 6]]) -> [[3, 8], [5, 12]]"
    shapes = "(m, k), ... -> (product of m, k)"
    variadic = True

    num_args: int = 1

    def arguments(self) -> tuple[str, ...]:
        return tuple(f"arg{i}" for i in range(self.num_args))

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        if any(shape is None for shape in ins):
            return ins, outs
        shapes = [shape for shape in ins if shape is not None]
        if any(len(shape) != 2 for shape in shapes):
            raise ShapeError(f"the inputs must be matrices, their shapes are {shapes}")
        columns: PartialShape = None
        for shape in shapes:
            columns = unify(columns, shape[1:])
        assert columns is not None
        rows = math.prod(shape[0] for shape in shapes)
        return [(shape[0], *columns) for shape in shapes], [unify(outs[0], (rows, *columns))]

    def emit(self, g: Emitter, *inputs: ir.Value) -> ir.Value:
        product = inputs[0]
        for matrix in inputs[1:]:
            (m, k), n = shape_of(product), shape_of(matrix)[0]
            wide = g.op("Mul", g.reshape(product, (m, 1, k)), g.reshape(matrix, (1, n, k)))
            product = g.reshape(wide, (m * n, k))
        return g.op("Identity", product) if len(inputs) == 1 else product
