"""Reductions over axes: sum, mean, extremes, norms, positions of extremes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np
import onnx_ir as ir

from symbucket.errors import ShapeError
from symbucket.ir import Expr, dtype_of, shape_of
from symbucket.ops.extremes import check_positions, extreme, position
from symbucket.ops.integers import integer_product, integer_sum
from symbucket.ops.record import Emitter, Operator, operator
from symbucket.ops.roots import root
from symbucket.ops.shape import axis_of, unify
from symbucket.types import InferredShapes, InferredTypes, PartialDType, PartialShape, Shape

FAMILY = "Reductions"

Axes = int | tuple[int, ...] | None


def reduced_axes(axis: Axes, exclude: bool, rank: int) -> list[int]:
    """Return the axes to reduce, sorted: all by default, else those in ``axis`` or the others."""
    if axis is None or axis == ():
        return list(range(rank))
    axes = [axis_of(a, rank) for a in ((axis,) if isinstance(axis, int) else axis)]
    if len(set(axes)) != len(axes):
        raise ShapeError(f"axis={axis} names one of {rank} axes twice")
    return [i for i in range(rank) if (i in axes) != exclude]


def reduced_shape(shape: Shape, axes: Sequence[int], keepdims: bool) -> Shape:
    """Return the shape after reducing ``axes``; (1,) if none is left, as MXNet has no scalars."""
    if keepdims:
        return tuple(1 if i in axes else d for i, d in enumerate(shape))
    return tuple(d for i, d in enumerate(shape) if i not in axes) or (1,)


class _OverAxes(Operator):
    """One output, in which ``axis`` (all axes if it is None) is gone, or of size 1."""

    axis: Axes = None
    keepdims: bool = False

    def axes(self, rank: int) -> list[int]:
        """Return the axes that go away."""
        return reduced_axes(self.axis, False, rank)

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        data = ins[0]
        if data is None:
            return ins, outs
        return ins, [unify(outs[0], reduced_shape(data, self.axes(len(data)), self.keepdims))]


_OF_INTEGERS = {"ReduceSum": integer_sum, "ReduceProd": integer_product}


class _Reduce(_OverAxes):
    """A reduction over ``axis``, or over all other axes (``exclude``)."""

    onnx_type = ""
    nan: ClassVar[float | None] = None
    """What stands for NaN; None: NaN itself."""
    exclude: bool = False

    def axes(self, rank: int) -> list[int]:
        return reduced_axes(self.axis, self.exclude, rank)

    def emit(self, g: Emitter, data: ir.Value) -> ir.Value:
        axes = self.axes(len(shape_of(data)))
        if self.nan is not None and dtype_of(data).is_floating_point():
            data = g.op("Where", g.op("IsNaN", data), g.const(self.nan, like=data), data)
        if not axes:
            return g.op("Identity", data)
        return g.reshape(self.reduced(Expr(g, data), axes).value, g.out_shapes[0])

    def reduced(self, x: Expr, axes: Sequence[int]) -> Expr:
        """Append the nodes that reduce ``x`` over one or more axes."""
        exact = _OF_INTEGERS.get(self.onnx_type)
        if exact is not None and x.dtype.is_integer():
            return exact(x, axes, self.keepdims)
        return x.op(self.onnx_type, list(axes), keepdims=int(self.keepdims))


class _Extreme(_Reduce):
    """A reduction to the largest or smallest element."""

    def reduced(self, x: Expr, axes: Sequence[int]) -> Expr:
        return extreme(x, self.onnx_type, axes, self.keepdims)


def _define(
    name: str,
    onnx_type: str,
    doc: str,
    formula: str,
    result: str,
    *aliases: str,
    nan: float | None = None,
    base: type[_Reduce] = _Reduce,
) -> None:
    annotations = {"axis": Axes, "keepdims": bool, "exclude": bool}
    body = {
        "__annotations__": annotations,
        "__doc__": f"{doc} over ``axis`` (None: all axes; ``exclude``: all axes but those).",
        "__module__": __name__,
        "formula": f"y = {formula}",
        "example": f"{name}([[1, 2], [3, 4]], axis=1) -> {result}",
        "axis": None,
        "exclude": False,
        "keepdims": False,
        "nan": nan,
        "onnx_type": onnx_type,
        "shapes": "(*d) -> (*e)",
    }
    operator(name, *aliases, method=name)(type(name, (base,), body))


_define("sum", "ReduceSum", "The sum", "sum of x", "[3, 7]", "sum_axis")
_define("mean", "ReduceMean", "The mean", "sum of x / m, m elements", "[1.5, 3.5]")
_define("prod", "ReduceProd", "The product", "product of x", "[2, 12]")
_define(
    "nansum",
    "ReduceSum",
    "The sum of what is not NaN",
    "sum of x, NaN taken as 0",
    "[3, 7]",
    nan=0.0,
)
_define(
    "nanprod",
    "ReduceProd",
    "The product of what is not NaN",
    "product of x, NaN taken as 1",
    "[2, 12]",
    nan=1.0,
)
_define(
    "max",
    "ReduceMax",
    "The largest value, NaN if one is,",
    "max of x",
    "[2, 4]",
    "max_axis",
    base=_Extreme,
)
_define(
    "min",
    "ReduceMin",
    "The smallest value, NaN if one is,",
    "min of x",
    "[1, 3]",
    "min_axis",
    base=_Extreme,
)
_define(
    "logsumexp",
    "ReduceLogSumExp",
    "The logarithm of the sum of the exponentials",
    "log(sum of exp(x))",
    "[2.313, 4.313]",
)


@operator("norm", method="norm")
class Norm(_OverAxes):
    """The L1 (``ord=1``) or L2 norm of the elements along ``axis`` (None: of all)."""

    formula = "ord 1: sum of abs(x); ord 2: sqrt(sum of x^2)"
    example = "norm([3, 4]) -> [5]"
    shapes = "(*d) -> (*e)"

    ord: int = 2
    axis: Axes = None
    out_dtype: str | None = None
    keepdims: bool = False

    def infer_type(self, ins: list[PartialDType], outs: list[PartialDType]) -> InferredTypes:
        data = ins[0]
        return [data], [np.dtype(self.out_dtype) if self.out_dtype else data or outs[0]]

    def __post_init__(self) -> None:
        self.check(self.ord in (1, 2), f"ord={self.ord} must be 1 or 2")

    def emit(self, g: Emitter, data: ir.Value) -> ir.Value:
        x, axes = Expr(g, data), self.axes(len(shape_of(data)))
        dtype = ir.DataType.from_numpy(g.out_dtypes[0])
        if self.ord == 2:
            # The squares of 1e-30 and 1e30 are none of float32.
            y = root(x.cast(ir.DataType.DOUBLE).op("ReduceSumSquare", axes), 2)
        else:
            y = (abs(x) if dtype.is_integer() else abs(x).cast(dtype)).sum(axes)
        return y.cast(dtype).reshape(g.out_shapes[0]).value


def _position(x: Expr, kind: str, axis: int, shape: Shape) -> ir.Value:
    dtype = x.dtype
    name = "argmin" if kind == "ArgMin" else "argmax"
    check_positions(x.shape[axis], dtype.numpy(), f"{name} returns numbers of the data's dtype")
    return position(x, kind, axis, keepdims=False).cast(dtype).reshape(shape).value


class _Position(_OverAxes):
    """The position of an extreme along ``axis``, as a number of the data's dtype."""

    shapes = "(*d) -> (*e)"
    no_gradient = ("data",)
    onnx_type = ""
    axis: int | None = None

    def emit(self, g: Emitter, data: ir.Value) -> ir.Value:
        shape = shape_of(data)
        flat = g.op("Reshape", data, g.ints(-1)) if self.axis is None else data
        axis = 0 if self.axis is None else axis_of(self.axis, len(shape))
        return _position(Expr(g, flat), self.onnx_type, axis, g.out_shapes[0])


@operator("argmax", method="argmax")
class ArgMax(_Position):
    """The position of the first largest value along ``axis`` (None: in the flattened data).

    A NaN is larger than any number. The dtype is that of the data, and has to hold the position.
    """

    formula = "y = the first i with x[i] = max(x)"
    example = "argmax([[1, 3, 2]], axis=1) -> [1]"

    axis: int | None = None
    keepdims: bool = False
    onnx_type = "ArgMax"


@operator("argmin", method="argmin")
class ArgMin(_Position):
    """The position of the first smallest value along ``axis`` (None: in the flattened data).

    A NaN is smaller than any number. The dtype is that of the data, and has to hold the position.
    """

    formula = "y = the first i with x[i] = min(x)"
    example = "argmin([[1, 3, 0]], axis=1) -> [2]"

    axis: int | None = None
    keepdims: bool = False
    onnx_type = "ArgMin"


@operator("argmax_channel", method="argmax_channel")
class ArgMaxChannel(Operator):
    """The position of the largest value, or of a NaN, along axis 1, in the dtype of the data."""

    formula = "y[n] = the first c with x[n, c] = max(x[n])"
    example = "argmax_channel([[1, 3, 2]]) -> [1]"
    shapes = "(n, k, *d) -> (n, *d)"
    no_gradient = ("data",)

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        data = ins[0]
        if data is None:
            return ins, outs
        if len(data) < 2:
            raise ShapeError(f"data must have two or more axes, it has shape {data}")
        return ins, [unify(outs[0], (data[0], *data[2:]))]

    def emit(self, g: Emitter, data: ir.Value) -> ir.Value:
        return _position(Expr(g, data), "ArgMax", 1, g.out_shapes[0])


@operator("moments")
class Moments(Operator):
    """Mean and variance (the mean squared distance from the mean) over ``axes`` (None: all)."""

    formula = "mean = sum of x / m; var = sum of (x - mean)^2 / m"
    example = "moments([1, 3], axes=(0,)) -> [2], [1]"
    shapes = "(*d) -> (*e), (*e)"

    axes: Axes = None
    keepdims: bool = False

    def outputs(self) -> tuple[str, ...]:
        return ("output0", "output1")

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        data = ins[0]
        if data is None:
            return ins, outs
        axes = reduced_axes(self.axes, False, len(data))
        shape = reduced_shape(data, axes, self.keepdims)
        return ins, [unify(out, shape) for out in outs]

    def emit(self, g: Emitter, data: ir.Value) -> Sequence[ir.Value]:
        x = Expr(g, data)
        axes = reduced_axes(self.axes, False, x.rank)
        mean = x.mean(axes, keepdims=True)
        away = x - mean
        var = (away * away).mean(axes, keepdims=True)
        return [g.reshape(y.value, g.out_shapes[0]) for y in (mean, var)]


@operator("L2Normalization")
class L2Normalization(Operator):
    """``data / sqrt(sum(data^2) + eps)``, summed as ``mode`` says.

    "instance": over all axes but the first; "channel": over axis 1; "spatial": over axes 2 and up.
    """

    formula = "y = x / sqrt(sum of x^2 + eps)"
    example = "L2Normalization([[3, 4]]) -> [[0.6, 0.8]]"

    eps: float = 1e-10
    mode: Literal["instance", "channel", "spatial"] = "instance"

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        shape = unify(ins[0], outs[0])
        least = 3 if self.mode == "spatial" else 2
        if shape is not None and len(shape) < least:
            raise ShapeError(f"mode={self.mode!r} needs {least} or more axes, data is {shape}")
        return [shape], [shape]

    def emit(self, g: Emitter, data: ir.Value) -> ir.Value:
        rank = len(shape_of(data))
        axes = {
            "instance": range(1, rank),
            "channel": range(1, 2),
            "spatial": range(2, rank),
        }[self.mode]
        total = g.reduce_sum(g.op("Mul", data, data), axes)
        length = g.op("Sqrt", g.op("Add", total, g.const(self.eps, like=data)))
        return g.op("Div", data, length)
