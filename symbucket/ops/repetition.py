"""Operators that repeat, mirror, crop or surround data: broadcasts, tile, repeat, flip, Pad."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import onnx_ir as ir

from symbucket.errors import ShapeError
from symbucket.ir import shape_of
from symbucket.ops.record import Emitter, Operator, operator
from symbucket.ops.shape import axis_of, is_known, unify, with_dim
from symbucket.types import InferredShapes, InferredTypes, PartialDType, PartialShape, Shape

FAMILY = "Repetition and broadcasting"


class _Expand(Operator):
    """Axes of size 1 become larger."""

    def emit(self, g: Emitter, data: ir.Value) -> ir.Value:
        return g.op("Expand", data, g.ints(*g.out_shapes[0]))


@operator("broadcast_to", method="broadcast_to")
class BroadcastTo(_Expand):
    """The data with axes of size 1 repeated to ``shape``; 0 in ``shape`` keeps a size."""

    formula = "y[i, j] = x[i, 0]"
    example = "broadcast_to([[1], [2]], shape=(2, 2)) -> [[1, 1], [2, 2]]"
    shapes = "(*d) -> (*e)"
    moves_only = True
    shape: tuple[int, ...]

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        data = ins[0]
        if data is None:
            return ins, [unify(outs[0], self.shape)]
        if len(data) != len(self.shape):
            raise ShapeError(f"data {data} and shape={self.shape} have different ranks")
        wrong = [i for i, (d, s) in enumerate(zip(data, self.shape)) if s and d > 1 and d != s]
        if wrong:
            raise ShapeError(f"data {data} does not broadcast to shape={self.shape}")
        return ins, [unify(outs[0], tuple(s or d for s, d in zip(self.shape, data)))]


@operator("broadcast_axis", "broadcast_axes", method="broadcast_axes")
class BroadcastAxis(_Expand):
    """The data with the axes ``axis``, all of size 1, repeated to the sizes ``size``."""

    formula = "y[i, j] = x[i, 0]"
    example = "broadcast_axis([[1], [2]], axis=1, size=2) -> [[1, 1], [2, 2]]"
    shapes = "(*d) -> (*e)"
    moves_only = True
    axis: tuple[int, ...] = ()
    size: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        self.check(
            len(self.axis) == len(self.size),
            f"axis={self.axis} and size={self.size} must be equally long",
        )

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        data, out = ins[0], outs[0]
        if data is None:
            return ins, outs
        wide = data
        for axis, size in zip(self.axis, self.size):
            place = axis_of(axis, len(data))
            if data[place] > 1:
                raise ShapeError(f"axis {axis} of data {data} is not of size 1")
            wide = with_dim(wide, place, size)
        return [data], [unify(out, wide)]


@operator("broadcast_like", method="broadcast_like")
class BroadcastLike(Operator):
    """``lhs`` with axes of size 1 repeated to the sizes of ``rhs``.

    ``lhs_axes`` and ``rhs_axes`` choose the axes that correspond; all of them by default.
    """

    formula = "y[i, j] = lhs[i, 0]"
    example = "broadcast_like([[1], [2]], [[0, 0], [0, 0]]) -> [[1, 1], [2, 2]]"
    shapes = "(*d), (*e) -> (*f)"
    no_gradient = ("rhs",)

    lhs_axes: tuple[int, ...] | None = None
    rhs_axes: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        self.check(
            (self.lhs_axes is None) == (self.rhs_axes is None)
            and len(self.lhs_axes or ()) == len(self.rhs_axes or ()),
            f"lhs_axes={self.lhs_axes} and rhs_axes={self.rhs_axes} must be equally long",
        )
        self.check(
            self.lhs_axes is None or bool(self.lhs_axes),
            "lhs_axes and rhs_axes must name an axis at least",
        )

    def arguments(self) -> tuple[str, ...]:
        return ("lhs", "rhs")

    def infer_type(self, ins: list[PartialDType], outs: list[PartialDType]) -> InferredTypes:
        dtype = ins[0] or outs[0]
        return [dtype, ins[1]], [dtype]

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        a, b = ins
        if a is None or b is None:
            return ins, outs
        if self.lhs_axes is None and len(a) != len(b):
            raise ShapeError(f"lhs {a} and rhs {b} have different ranks; give lhs_axes, rhs_axes")
        left = range(len(a)) if self.lhs_axes is None else self.lhs_axes
        right = range(len(b)) if self.rhs_axes is None else self.rhs_axes
        out = a
        for i, j in zip(left, right):
            size, place = b[axis_of(j, len(b))], axis_of(i, len(a))
            if a[place] > 1 and size and a[place] != size:
                raise ShapeError(f"lhs {a} does not broadcast to rhs {b}")
            out = with_dim(out, place, size or (a[place] if a[place] > 1 else 0))
        return ins, [unify(outs[0], out)]

    def emit(self, g: Emitter, lhs: ir.Value, rhs: ir.Value) -> ir.Value:
        return g.op("Expand", lhs, g.ints(*g.out_shapes[0]))


@operator("tile", method="tile")
class Tile(Operator):
    """The whole data repeated ``reps[i]`` times along axis i; leading 1s make both equally long."""

    formula = "y[i] = x[i % size]"
    example = "tile([1, 2], reps=(2,)) -> [1, 2, 1, 2]"
    shapes = "(*d) -> (*e)"
    moves_only = True
    reps: tuple[int, ...]

    def __post_init__(self) -> None:
        self.check(all(r > 0 for r in self.reps), f"reps={self.reps} must be positive")

    def _aligned(self, data: Shape) -> tuple[Shape, Shape]:
        rank = max(len(data), len(self.reps))
        return (
            (1,) * (rank - len(data)) + data,
            (1,) * (rank - len(self.reps)) + self.reps,
        )

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        if ins[0] is None:
            return ins, outs
        return ins, [unify(outs[0], tuple(d * r for d, r in zip(*self._aligned(ins[0]))))]

    def emit(self, g: Emitter, data: ir.Value) -> ir.Value:
        shape, reps = self._aligned(shape_of(data))
        return g.op("Tile", g.reshape(data, shape), g.ints(*reps))


@operator("repeat", method="repeat")
class Repeat(Operator):
    """Every element repeated ``repeats`` times along ``axis`` (None: of the flattened data)."""

    formula = "y[i] = x[i // repeats]"
    example = "repeat([1, 2], repeats=2) -> [1, 1, 2, 2]"
    shapes = "(*d) -> (*e)"
    moves_only = True
    repeats: int
    axis: int | None = None

    def __post_init__(self) -> None:
        self.check(self.repeats > 0, f"repeats={self.repeats} must be positive")

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        data = ins[0]
        if data is None:
            return ins, outs
        if self.axis is None:
            return ins, [unify(outs[0], (math.prod(data) * self.repeats,))]
        axis = axis_of(self.axis, len(data))
        return ins, [unify(outs[0], with_dim(data, axis, data[axis] * self.repeats))]

    def emit(self, g: Emitter, data: ir.Value) -> ir.Value:
        shape = shape_of(data) if self.axis is not None else (math.prod(shape_of(data)),)
        axis = 0 if self.axis is None else axis_of(self.axis, len(shape))
        before, after = shape[: axis + 1], shape[axis + 1 :]
        data = g.reshape(data, (*before, 1, *after))
        data = g.op("Expand", data, g.ints(*before, self.repeats, *after))
        return g.reshape(data, g.out_shapes[0])


@operator("flip", "reverse", method="flip")
class Flip(Operator):
    """The data with the order along the axes ``axis`` reversed."""

    formula = "y[i] = x[size - 1 - i]"
    example = "flip([1, 2, 3], axis=0) -> [3, 2, 1]"
    moves_only = True
    axis: tuple[int, ...]

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        shape = unify(ins[0], outs[0])
        if shape is not None:
            axes = [axis_of(axis, len(shape)) for axis in self.axis]
            if len(set(axes)) != len(axes):
                raise ShapeError(f"axis={self.axis} names one of {len(shape)} axes twice")
        return [shape], [shape]

    def emit(self, g: Emitter, data: ir.Value) -> ir.Value:
        shape = shape_of(data)
        axes = [axis_of(a, len(shape)) for a in self.axis]
        return g.op(
            "Slice",
            data,
            g.ints(*(shape[a] - 1 for a in axes)),
            g.ints(*(-shape[a] - 1 for a in axes)),
            g.ints(*axes),
            g.ints(*(-1 for _ in axes)),
        )


@operator("slice_like", method="slice_like")
class SliceLike(Operator):
    """The first elements of ``data`` along ``axes`` (empty: all), as many as ``shape_like`` has."""

    formula = "y = x[:shape_like.shape[0], ...]"
    example = "slice_like([1, 2, 3], [0, 0]) -> [1, 2]"
    shapes = "(*d), (*e) -> (*f)"
    no_gradient = ("shape_like",)

    axes: tuple[int, ...] = ()

    def arguments(self) -> tuple[str, ...]:
        return ("data", "shape_like")

    def infer_type(self, ins: list[PartialDType], outs: list[PartialDType]) -> InferredTypes:
        dtype = ins[0] or outs[0]
        return [dtype, ins[1]], [dtype]

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        data, like = ins
        if data is None or like is None:
            return ins, outs
        if not self.axes and len(data) != len(like):
            raise ShapeError(f"data {data} and shape_like {like} have different ranks; give axes")
        out = data
        for a in self.axes or range(len(data)):
            axis, size = axis_of(a, len(data)), like[axis_of(a, len(like))]
            if data[axis] and size > data[axis]:
                raise ShapeError(f"shape_like {like} is larger than data {data} on axis {a}")
            out = with_dim(out, axis, size)
        return ins, [unify(outs[0], out)]

    def emit(self, g: Emitter, data: ir.Value, shape_like: ir.Value) -> ir.Value:
        shape, out_shape = shape_of(data), g.out_shapes[0]
        axes = [i for i, (d, w) in enumerate(zip(shape, out_shape)) if d != w]
        if not axes:
            return g.op("Identity", data)
        ends = g.ints(*(out_shape[a] for a in axes))
        return g.op("Slice", data, g.ints(*(0 for _ in axes)), ends, g.ints(*axes))


@operator("Pad", "pad", method="pad")
class Pad(Operator):
    """The data with elements added around it.

    ``pad_width`` is (before, after) of axis 0, then of axis 1, ... Mode "constant" adds
    ``constant_value``, "edge" the outermost element, "reflect" mirrors without the outermost.
    """

    formula = "y[i + before] = x[i]; around it: constant_value, the edge, or a reflection"
    example = (
        'pad([[[[1, 2]]]], mode="constant", pad_width=(0, 0, 0, 0, 0, 0, 1, 0), constant_value=9) '
        "-> [[[[9, 1, 2]]]]"
    )
    shapes = "(*d) -> (*e)"

    mode: Literal["constant", "edge", "reflect"]
    pad_width: tuple[int, ...]
    constant_value: float = 0.0

    def __post_init__(self) -> None:
        self.check(
            len(self.pad_width) % 2 == 0 and min(self.pad_width, default=0) >= 0,
            f"pad_width={self.pad_width} must be pairs of numbers >= 0",
        )

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        data, out = ins[0], outs[0]
        extra = [a + b for a, b in zip(self.pad_width[::2], self.pad_width[1::2])]
        for shape in (data, out):
            if shape is not None and len(shape) != len(extra):
                raise ShapeError(f"pad_width={self.pad_width} does not fit {len(shape)} axes")
        if data is not None:
            out = unify(out, tuple(d and d + e for d, e in zip(data, extra)))
        if out is not None:
            inner = tuple(o and o - e for o, e in zip(out, extra))
            if any(o and i <= 0 for o, i in zip(out, inner)):
                raise ShapeError(f"output {out} has no room for pad_width={self.pad_width}")
            data = unify(data, inner)
        if self.mode == "reflect" and is_known(data):
            assert data is not None
            for i, size in enumerate(data):
                if max(self.pad_width[2 * i : 2 * i + 2]) >= size:
                    raise ShapeError(f"axis {i} of {data} is too short for {self.pad_width}")
        return [data], [out]

    def emit(self, g: Emitter, data: ir.Value) -> ir.Value:
        x = data
        before, after = self.pad_width[::2], self.pad_width[1::2]
        if self.mode == "constant":
            value = g.const(self.constant_value, like=x)
            return g.op("Pad", x, g.ints(*before, *after), value)
        # A Gather along every axis, whose gradient adds up what an element was copied to.
        for axis, size in enumerate(shape_of(x)):
            if before[axis] or after[axis]:
                padded = np.pad(np.arange(size), (before[axis], after[axis]), mode=self.mode)
                x = g.op("Gather", x, g.const(padded.astype(np.int64)), axis=axis)
        return g.op("Identity", x) if x is data else x
