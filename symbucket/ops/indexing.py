"""Operators that choose elements by computed positions: take, pick, where, one_hot, gather_nd."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import onnx_ir as ir

from symbucket.elements import as_element
from symbucket.errors import ShapeError
from symbucket.ir import dtype_of, shape_of
from symbucket.ops.record import Emitter, IndexBounds, Operator, operator
from symbucket.ops.shape import axis_of, is_known, unify, with_dim
from symbucket.types import InferredShapes, InferredTypes, PartialDType, PartialShape, Shape

FAMILY = "Indexing"

_INTEGERS = (ir.DataType.INT32, ir.DataType.INT64)


def _integers(g: Emitter, index: ir.Value) -> ir.Value:
    return index if dtype_of(index) in _INTEGERS else g.cast(index, ir.DataType.INT64)


def positions(g: Emitter, index: ir.Value, size: int, mode: str) -> ir.Value:
    """``index`` as integers inside 0 to size - 1: clipped, wrapped around, or ("raise") refused.

    Of the last kind the runtimes refuse what is too large, and take from the end what is negative.
    """
    index = _integers(g, index)
    if mode == "clip":
        index = g.cast(index, ir.DataType.INT64)  # CUDA has no Clip of int32
        return g.op("Clip", index, g.const(0, like=index), g.const(size - 1, like=index))
    if mode == "wrap":
        return g.op("Mod", index, g.const(size, like=index))
    if mode == "raise":
        negative = g.op("Less", index, g.const(0, like=index))
        return g.op("Where", negative, g.const(size, like=index), index)
    return index


class _ByIndex(Operator):
    """The dtype of the index has nothing to do with that of the data."""

    def infer_type(self, ins: list[PartialDType], outs: list[PartialDType]) -> InferredTypes:
        dtype = ins[0] or outs[0]
        return [dtype, ins[1]], [dtype]


@operator("take", method="take")
class Take(_ByIndex):
    """Slices of ``a`` along ``axis`` at the positions ``indices``.

    Positions outside are clipped, wrapped around, or refused on the host ("raise").
    """

    formula = "y[i] = a[indices[i]] along axis"
    example = "take([[1, 2], [3, 4], [5, 6]], [2, 0]) -> [[5, 6], [1, 2]]"
    shapes = "(*d, k, *e), (*i) -> (*d, *i, *e)"
    no_gradient = ("indices",)

    axis: int = 0
    mode: Literal["clip", "wrap", "raise"] = "clip"

    def arguments(self) -> tuple[str, ...]:
        return ("a", "indices")

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        a, index = ins
        if a is None or index is None:
            return ins, outs
        axis = axis_of(self.axis, len(a))
        return ins, [unify(outs[0], (*a[:axis], *index, *a[axis + 1 :]))]

    def index_bounds(self, ins: Sequence[Shape]) -> dict[str, IndexBounds]:
        if self.mode != "raise":
            return {}
        return {"indices": IndexBounds("positions", ins[0][self.axis])}

    def emit(self, g: Emitter, a: ir.Value, indices: ir.Value) -> ir.Value:
        axis = axis_of(self.axis, len(shape_of(a)))
        indices = positions(g, indices, shape_of(a)[axis], self.mode)
        return g.op("Gather", a, indices, axis=axis)


@operator("batch_take")
class BatchTake(_ByIndex):
    """Element ``indices[i]`` of every row i of ``a`` (n, k); positions outside are clipped."""

    formula = "y[i] = a[i, indices[i]]"
    example = "batch_take([[1, 2], [3, 4]], [0, 1]) -> [1, 4]"
    shapes = "(n, k), (n,) -> (n,)"
    no_gradient = ("indices",)

    def arguments(self) -> tuple[str, ...]:
        return ("a", "indices")

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        a, out = ins[0], unify(ins[1], outs[0])
        if a is not None:
            if len(a) != 2:
                raise ShapeError(f"a must have two axes, it has shape {a}")
            out = unify(out, a[:1])
        return [a, out], [out]

    def emit(self, g: Emitter, a: ir.Value, indices: ir.Value) -> ir.Value:
        rows, columns = shape_of(a)
        indices = g.reshape(positions(g, indices, columns, "clip"), (rows, 1))
        return g.reshape(g.op("GatherElements", a, indices, axis=1), (rows,))


@operator("pick", "choose_element_0index", method="pick")
class Pick(_ByIndex):
    """One element along ``axis`` for every other position: ``out[i] = data[i, index[i]]``.

    ``index`` has the data's shape without ``axis``, or with size 1 there. Without ``axis`` the
    data is flattened. Positions outside are clipped or wrapped around.
    """

    formula = "y[i] = data[i, index[i]]"
    example = "pick([[1, 2], [3, 4]], [0, 1]) -> [1, 4]"
    shapes = "(*d), (*e) -> (*f)"
    no_gradient = ("index",)

    axis: int | None = -1
    keepdims: bool = False
    mode: Literal["clip", "wrap"] = "clip"

    def arguments(self) -> tuple[str, ...]:
        return ("data", "index")

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        data, index = ins
        if data is None:
            return ins, outs
        if self.axis is None:
            single: Shape = (1,) * len(data)
            out = unify(outs[0], single if self.keepdims else (1,))
            return [data, unify(index, (1,))], [out]
        axis = axis_of(self.axis, len(data))
        with_one, without = with_dim(data, axis, 1), (*data[:axis], *data[axis + 1 :]) or (1,)
        whole = index is not None and len(index) == len(data)
        index = unify(index, with_one if whole else without)
        return [data, index], [unify(outs[0], with_one if self.keepdims else without)]

    def emit(self, g: Emitter, data: ir.Value, index: ir.Value) -> ir.Value:
        if self.axis is None:
            data = g.reshape(data, (math.prod(shape_of(data)),))
        shape = shape_of(data)
        axis = axis_of(-1 if self.axis is None else self.axis, len(shape))
        index = g.reshape(positions(g, index, shape[axis], self.mode), with_dim(shape, axis, 1))
        return g.reshape(g.op("GatherElements", data, index, axis=axis), g.out_shapes[0])


@operator("one_hot", method="one_hot")
class OneHot(Operator):
    """``on_value`` at the position that an index says, ``off_value`` elsewhere, in a last axis.

    An index outside 0 to ``depth`` - 1 makes a row of ``off_value``.
    """

    formula = "y[i, j] = on_value if j = indices[i], else off_value"
    example = "one_hot([0, 2], depth=3) -> [[1, 0, 0], [0, 0, 1]]"
    shapes = "(*d) -> (*d, depth)"
    no_gradient = ("indices",)

    depth: int
    on_value: float = 1.0
    off_value: float = 0.0
    dtype: str = "float32"

    def __post_init__(self) -> None:
        self.check(self.depth > 0, f"depth={self.depth} must be positive")

    def arguments(self) -> tuple[str, ...]:
        return ("indices",)

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        index, out = ins[0], outs[0]
        if index is not None:
            out = unify(out, (*index, self.depth))
        elif out is not None:
            index = out[:-1]
        return [index], [out]

    def infer_type(self, ins: list[PartialDType], outs: list[PartialDType]) -> InferredTypes:
        return ins, [np.dtype(self.dtype)]

    def emit(self, g: Emitter, indices: ir.Value) -> ir.Value:
        index = g.cast(indices, ir.DataType.INT64)
        index = g.reshape(index, (*shape_of(index), 1))
        hit = g.op("Equal", index, g.const(np.arange(self.depth, dtype=np.int64)))
        dtype = np.dtype(self.dtype)
        if (self.on_value, self.off_value) == (1.0, 0.0):
            return g.cast(hit, ir.DataType.from_numpy(dtype))
        on, off = (g.const(as_element(v, dtype)) for v in (self.on_value, self.off_value))
        return g.op("Where", hit, on, off)


@operator("where")
class Where(Operator):
    """``x`` where ``condition`` is not 0, else ``y``.

    ``condition`` has their shape, or is a vector that chooses whole slices of the first axis.
    """

    formula = "y = x where condition != 0, else y"
    example = "where([1, 0], [1, 2], [3, 4]) -> [1, 4]"
    shapes = "(*c), (*d), (*d) -> (*d)"
    no_gradient = ("condition",)

    def arguments(self) -> tuple[str, ...]:
        return ("condition", "x", "y")

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        condition = ins[0]
        shape = unify(unify(ins[1], ins[2]), outs[0])
        if condition is not None and shape is not None and len(condition) == 1 < len(shape):
            condition = unify(condition, shape[:1])
        elif condition is None or len(condition) > 1 or shape is not None:
            shape = condition = unify(condition, shape)
        return [condition, shape, shape], [shape]

    def infer_type(self, ins: list[PartialDType], outs: list[PartialDType]) -> InferredTypes:
        dtype = ins[1] or ins[2] or outs[0]
        return [ins[0], dtype, dtype], [dtype]

    def emit(self, g: Emitter, condition: ir.Value, x: ir.Value, y: ir.Value) -> ir.Value:
        shape, rank = shape_of(condition), len(shape_of(x))
        condition = g.reshape(condition, (*shape, *[1] * (rank - len(shape))))
        return g.op("Where", g.cast(condition, ir.DataType.BOOL), x, y)


@operator("gather_nd")
class GatherND(_ByIndex):
    """``data[indices[0, i], indices[1, i], ...]`` for every i; negative positions from the end."""

    formula = "y[i] = data[indices[0, i], indices[1, i], ...]"
    example = "gather_nd([[1, 2], [3, 4]], [[0, 1], [1, 0]]) -> [2, 3]"
    shapes = "(*d), (k, *e) -> (*e, *rest)"
    no_gradient = ("indices",)

    def arguments(self) -> tuple[str, ...]:
        return ("data", "indices")

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        data, index = ins
        if data is None or not is_known(index):
            return ins, outs
        assert index is not None
        if len(index) < 2 or index[0] > len(data):
            raise ShapeError(
                f"indices {index} must have two or more axes and at most {len(data)} rows, one "
                f"for each axis of data {data}"
            )
        return ins, [unify(outs[0], (*index[1:], *data[index[0] :]))]

    def emit(self, g: Emitter, data: ir.Value, indices: ir.Value) -> ir.Value:
        return g.op("GatherND", data, _last_first(g, indices))


@operator("scatter_nd")
class ScatterND(_ByIndex):
    """Zeros of ``shape`` with ``data`` at ``indices``, the inverse of gather_nd.

    Positions must not repeat.
    """

    formula = "y[indices[0, i], indices[1, i], ...] = data[i], 0 elsewhere"
    example = "scatter_nd([5, 6], [[0, 1], [1, 0]], shape=(2, 2)) -> [[0, 5], [6, 0]]"
    shapes = "(*d), (k, *e) -> (*shape)"
    no_gradient = ("indices",)

    shape: tuple[int, ...]

    def arguments(self) -> tuple[str, ...]:
        return ("data", "indices")

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        data, index = ins
        if is_known(index):
            assert index is not None
            if len(index) < 2 or index[0] > len(self.shape):
                raise ShapeError(
                    f"indices {index} must have two or more axes and at most {len(self.shape)} "
                    f"rows, one for each axis of shape={self.shape}"
                )
            data = unify(data, (*index[1:], *self.shape[index[0] :]))
        return [data, index], [unify(outs[0], self.shape)]

    def emit(self, g: Emitter, data: ir.Value, indices: ir.Value) -> ir.Value:
        zeros = g.filled(self.shape, 0.0, dtype_of(data))
        return g.op("ScatterND", zeros, _last_first(g, indices), data)


def _last_first(g: Emitter, index: ir.Value) -> ir.Value:
    """MXNet's positions stand in the first axis, ONNX's in the last, as int64."""
    rank = len(shape_of(index))
    return g.transpose(g.cast(index, ir.DataType.INT64), [*range(1, rank), 0])
