"""Operators on positions: numbers of elements and back, single elements replaced, histograms."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from symbucket.errors import ShapeError
from symbucket.ir import Expr, shape_of
from symbucket.ops.indexing import positions
from symbucket.ops.record import Emitter, Operator, operator
from symbucket.ops.shape import axis_of, unify
from symbucket.types import InferredShapes, InferredTypes, PartialDType, PartialShape

FAMILY = "Indexing"


class _Shaped(Operator):
    """Positions in an array of ``shape``."""

    no_gradient = ("data",)

    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        self.check(
            len(self.shape) > 0 and min(self.shape[1:], default=1) > 0,
            f"shape={self.shape} must be sizes; only the first may be -1",
        )

    def strides(self) -> list[int]:
        """Return how far apart the elements along each axis are."""
        return [math.prod(self.shape[axis + 1 :]) for axis in range(len(self.shape))]


@operator("_ravel_multi_index", "ravel_multi_index")
class RavelMultiIndex(_Shaped):
    """The number of each element in an array of ``shape``; its position stands in a column."""

    formula = "y[i] = data[0, i] shape[1] + data[1, i], for two axes"
    example = "ravel_multi_index([[1, 0], [2, 1]], shape=(2, 3)) -> [5, 1]"
    shapes = "(k, *d) -> (*d)"
    no_gradient = ("data",)

    shape: tuple[int, ...]

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        data = ins[0]
        if data is None:
            return ins, outs
        if data[0] and data[0] != len(self.shape):
            raise ShapeError(f"data {data} must have a row for each axis of shape={self.shape}")
        return ins, [unify(outs[0], data[1:])]

    def emit(self, g: Emitter, data: ir.Value) -> ir.Value:
        x = Expr(g, data)
        column = np.array(self.strides()).reshape(-1, *[1] * (x.rank - 1))
        return (x.cast(ir.DataType.INT64) * column).sum(0).cast(x.dtype).value


@operator("_unravel_index", "unravel_index")
class UnravelIndex(_Shaped):
    """The position of each element in an array of ``shape``, in a column, from its number."""

    formula = "y[0, i] = data[i] // shape[1], y[1, i] = data[i] % shape[1], for two axes"
    example = "unravel_index([5, 1], shape=(2, 3)) -> [[1, 0], [2, 1]]"
    shapes = "(*d) -> (k, *d)"
    no_gradient = ("data",)

    shape: tuple[int, ...]

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        data = ins[0]
        if data is None:
            return ins, outs
        return ins, [unify(outs[0], (len(self.shape), *data))]

    def emit(self, g: Emitter, data: ir.Value) -> ir.Value:
        x = Expr(g, data)
        whole = x.cast(ir.DataType.INT64)
        rows = []
        for axis, stride in enumerate(self.strides()):
            row = whole.op("Div", whole.const(stride))
            if axis:
                row = row.op("Mod", whole.const(self.shape[axis]))
            rows.append(row.cast(x.dtype).reshape((1, *x.shape)).value)
        return g.op("Concat", *rows, axis=0)


@operator("fill_element_0index")
class FillElement(Operator):
    """``lhs`` (n, k) with ``mhs[i]`` as element ``rhs[i]`` of every row i."""

    formula = "y = lhs; y[i, rhs[i]] = mhs[i]"
    example = "fill_element_0index([[1, 2], [3, 4]], [8, 9], [1, 0]) -> [[1, 8], [9, 4]]"
    shapes = "(n, k), (n,), (n,) -> (n, k)"
    no_gradient = ("rhs",)

    def arguments(self) -> tuple[str, ...]:
        return ("lhs", "mhs", "rhs")

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        lhs, rows = unify(ins[0], outs[0]), unify(ins[1], ins[2])
        if lhs is not None:
            if len(lhs) != 2:
                raise ShapeError(f"lhs must have two axes, it has shape {lhs}")
            rows = unify(rows, lhs[:1])
        return [lhs, rows, rows], [lhs]

    def infer_type(self, ins: list[PartialDType], outs: list[PartialDType]) -> InferredTypes:
        dtype = ins[0] or ins[1] or outs[0]
        return [dtype, dtype, ins[2]], [dtype]

    def emit(self, g: Emitter, lhs: ir.Value, mhs: ir.Value, rhs: ir.Value) -> ir.Value:
        rows, columns = shape_of(lhs)
        index = g.reshape(positions(g, rhs, columns, "clip"), (rows, 1))
        return g.op("ScatterElements", lhs, index, g.reshape(mhs, (rows, 1)), axis=1)


@operator("_contrib_index_array")
class IndexArray(Operator):
    """The position of every element of the data in a new last axis, int64.

    ``axes`` chooses some of its coordinates, in this order.
    """

    formula = "y[i, j] = (i, j)"
    example = "contrib.index_array([[7, 8]]) -> [[[0, 0], [0, 1]]]"
    shapes = "(*d) -> (*d, k)"
    no_gradient = ("data",)

    axes: tuple[int, ...] | None = None

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        data = ins[0]
        if data is None:
            return ins, outs
        return ins, [unify(outs[0], (*data, len(self._axes(len(data)))))]

    def infer_type(self, ins: list[PartialDType], outs: list[PartialDType]) -> InferredTypes:
        return ins, [np.dtype(np.int64)]

    def _axes(self, rank: int) -> list[int]:
        return [axis_of(axis, rank) for axis in (range(rank) if self.axes is None else self.axes)]

    def emit(self, g: Emitter, data: ir.Value) -> ir.Value:
        shape = shape_of(data)
        return g.const(np.stack([np.indices(shape)[a] for a in self._axes(len(shape))], axis=-1))


@operator("_contrib_index_copy")
class IndexCopy(Operator):
    """``old_tensor`` with the slices ``new_tensor[i]`` at the rows ``index_vector[i]``.

    Rows must not repeat.
    """

    formula = "y = old_tensor; y[index_vector[i]] = new_tensor[i]"
    example = "contrib.index_copy([[1], [2], [3]], [2, 0], [[8], [9]]) -> [[9], [2], [8]]"
    shapes = "(n, *d), (k,), (k, *d) -> (n, *d)"
    no_gradient = ("index_vector",)

    def arguments(self) -> tuple[str, ...]:
        return ("old_tensor", "index_vector", "new_tensor")

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        old, index, new = unify(ins[0], outs[0]), ins[1], ins[2]
        if old is not None and index is not None:
            new = unify(new, (*index[:1], *old[1:]))
        return [old, index, new], [old]

    def infer_type(self, ins: list[PartialDType], outs: list[PartialDType]) -> InferredTypes:
        dtype = ins[0] or ins[2] or outs[0]
        return [dtype, ins[1], dtype], [dtype]

    def emit(
        self, g: Emitter, old_tensor: ir.Value, index_vector: ir.Value, new_tensor: ir.Value
    ) -> ir.Value:
        count = shape_of(index_vector)[0]
        index = g.reshape(g.cast(index_vector, ir.DataType.INT64), (count, 1))
        return g.op("ScatterND", old_tensor, index, new_tensor)


@operator("_histogram")
class Histogram(Operator):
    """The number of elements in each bin, int64, and the edges of the bins.

    Bins are ``bin_cnt`` equal parts of ``range``, or lie between the numbers of the input ``bins``,
    in ascending order. The last bin includes its upper edge.
    """

    formula = "count[i] = elements from bins[i] up to below bins[i + 1]"
    example = "histogram([1, 2, 2.5, 4], bins=2, range=(0, 4)) -> [1, 3], [0, 2, 4]"
    shapes = "(*d), (k,) -> (m,), (k,)"
    no_gradient = ("data", "bins")

    bin_cnt: int | None = None
    range: tuple[float, ...] | None = None

    def _limits(self) -> tuple[float, float]:
        low, high = self.range or (0.0, 0.0)
        return low, high

    def __post_init__(self) -> None:
        if self.bin_cnt is not None:
            self.check(self.bin_cnt > 0, f"bin_cnt={self.bin_cnt} must be positive")
            pair = self.range or ()
            self.check(
                len(pair) == 2 and pair[0] < pair[-1],
                f"range={self.range} must be (low, high) with low < high",
            )

    def arguments(self) -> tuple[str, ...]:
        return ("data",) if self.bin_cnt is not None else ("data", "bins")

    def outputs(self) -> tuple[str, ...]:
        return ("output0", "output1")

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        edges = ins[1] if self.bin_cnt is None else (self.bin_cnt + 1,)
        if edges is None:
            return ins, outs
        if len(edges) != 1 or edges[0] == 1:
            raise ShapeError(f"bins must be two or more numbers, its shape is {edges}")
        counts = (max(edges[0] - 1, 0),)
        return ins, [unify(outs[0], counts), unify(outs[1], edges)]

    def infer_type(self, ins: list[PartialDType], outs: list[PartialDType]) -> InferredTypes:
        dtype = next((d for d in [*ins, outs[1]] if d is not None), None)
        return [d or dtype for d in ins], [np.dtype(np.int64), dtype]

    def emit(self, g: Emitter, data: ir.Value, bins: ir.Value | None = None) -> Sequence[ir.Value]:
        if bins is None:
            assert self.bin_cnt is not None
            low, high = self._limits()
            bins = g.const(np.linspace(low, high, self.bin_cnt + 1), like=data)
        edges = Expr(g, bins)
        x = Expr(g, data).reshape((math.prod(shape_of(data)), 1))
        below = (x >= edges).cast(ir.DataType.INT64).sum(0)  # how many lie at or above each edge
        count = edges.size
        last = Expr(g, g.op("Slice", bins, g.ints(count - 1), g.ints(count)))
        above = (x > last).cast(ir.DataType.INT64).sum(0)
        lower = below.op("Slice", [0], [count - 1])
        upper = below.op("Slice", [1], [count - 1]) if count > 2 else None
        ends = above if upper is None else upper.op("Concat", above, axis=0)
        return [(lower - ends).value, g.own("BlockGrad", bins)]
