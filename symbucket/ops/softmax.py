"""Softmax and its relatives as plain operators (SoftmaxOutput, the loss, is in ``loss``)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import onnx_ir as ir

from symbucket.errors import ShapeError
from symbucket.ir import shape_of
from symbucket.ops.record import Emitter, IndexBounds, Operator, operator
from symbucket.ops.shape import axis_of, unify, with_dim
from symbucket.types import InferredShapes, InferredTypes, PartialDType, PartialShape, Shape

FAMILY = "Softmax"


class _Softmax(Operator):
    """Along ``axis``, of the data divided by ``temperature``."""

    shapes = "(*d), (*e) -> (*d)"
    no_gradient = ("length",)
    onnx_type = "Softmax"
    sign = 1.0
    axis: int = -1
    temperature: float | None = None
    dtype: str | None = None
    use_length: bool = False

    def __post_init__(self) -> None:
        self.check(
            self.temperature is None or self.temperature > 0,
            f"temperature={self.temperature} must be positive",
        )

    def arguments(self) -> tuple[str, ...]:
        return ("data", "length") if self.use_length else ("data",)

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        data, lengths = unify(ins[0], outs[0]), ins[1:]
        if data is not None:
            axis = axis_of(self.axis, len(data))
            lengths = [unify(s, (*data[:axis], *data[axis + 1 :]) or (1,)) for s in lengths]
        return [data, *lengths], [data]

    def infer_type(self, ins: list[PartialDType], outs: list[PartialDType]) -> InferredTypes:
        if self.dtype is not None:
            return ins, [np.dtype(self.dtype)]
        dtype = ins[0] or outs[0]
        return [dtype, *ins[1:]], [dtype]

    def emit(self, g: Emitter, data: ir.Value, length: ir.Value | None = None) -> ir.Value:
        data = g.cast(data, ir.DataType.from_numpy(g.out_dtypes[0]))
        shape = shape_of(data)
        axis = axis_of(self.axis, len(shape))
        factor = self.sign / (self.temperature or 1.0)
        if factor != 1.0:
            data = g.op("Mul", data, g.const(factor, like=data))
        if length is None:
            return g.op(self.onnx_type, data, axis=axis)
        column = with_dim((1,) * len(shape), axis, shape[axis])
        steps = np.arange(shape[axis], dtype=np.int64).reshape(column)
        length = g.reshape(g.cast(length, ir.DataType.INT64), with_dim(shape, axis, 1))
        inside = g.op("Less", g.const(steps), length)
        # Far below every value of use, and finite: a row without elements must not become NaN.
        masked = g.op("Where", inside, data, g.const(-1e30, like=data))
        y = g.op(self.onnx_type, masked, axis=axis)
        return g.op("Where", inside, y, g.const(0.0, like=data))


@operator("softmax", method="softmax")
class Softmax(_Softmax):
    """``exp(x / temperature)``, normalised to the sum 1 along ``axis``.

    With ``use_length`` the input ``length`` (the data's shape without ``axis``) says how many of
    the first elements take part; the others get 0. ``dtype`` is that of the output.
    """

    formula = "y = exp(x / t) / sum of exp(x / t), t = temperature"
    example = "softmax([0, 0, 1]) -> [0.2119, 0.2119, 0.5761]"

    axis: int = -1
    temperature: float | None = None
    dtype: str | None = None
    use_length: bool = False


@operator("softmin", method="softmin")
class Softmin(_Softmax):
    """The softmax of the negated data; attributes as for ``softmax``."""

    formula = "y = exp(-x / t) / sum of exp(-x / t), t = temperature"
    example = "softmin([0, 0, 1]) -> [0.4223, 0.4223, 0.1554]"
    sign = -1.0
    axis: int = -1
    temperature: float | None = None
    dtype: str | None = None
    use_length: bool = False


@operator("log_softmax", method="log_softmax")
class LogSoftmax(_Softmax):
    """The logarithm of the softmax, 0 beyond ``length``; attributes as for ``softmax``."""

    formula = "y = x / t - log(sum of exp(x / t)), t = temperature"
    example = "log_softmax([0, 0]) -> [-0.6931, -0.6931]"
    onnx_type = "LogSoftmax"
    axis: int = -1
    temperature: float | None = None
    dtype: str | None = None
    use_length: bool = False


@operator("SoftmaxActivation")
class SoftmaxActivation(Operator):
    """Softmax over the last axis (mode "instance") or over axis 1 (mode "channel").

    MXNet's documentation says of "instance" that it takes all axes but the first; MXNet 1.9.1 takes
    the last one, and so does this.
    """

    formula = "y = exp(x) / sum of exp(x)"
    example = "SoftmaxActivation([[0, 0]]) -> [[0.5, 0.5]]"

    mode: Literal["instance", "channel"] = "instance"

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        shape = unify(ins[0], outs[0])
        if shape is not None and len(shape) < 2:
            raise ShapeError(f"data must have two or more axes, it has shape {shape}")
        return [shape], [shape]

    def emit(self, g: Emitter, data: ir.Value) -> ir.Value:
        axis = len(shape_of(data)) - 1 if self.mode == "instance" else 1
        return g.op("Softmax", data, axis=axis)


@operator("softmax_cross_entropy")
class SoftmaxCrossEntropy(Operator):
    """The sum over rows of ``-log softmax(data)[label]``, of shape (1,)."""

    formula = "y = -sum over n of log(softmax(data[n]))[label[n]]"
    example = "softmax_cross_entropy([[0, 0]], [1]) -> [0.6931]"
    shapes = "(n, c), (n,) -> (1,)"
    implicit = ("label",)
    no_gradient = ("label",)

    def arguments(self) -> tuple[str, ...]:
        return ("data", "label")

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        data, label = ins
        if data is not None and len(data) != 2:
            raise ShapeError(f"data must have two axes, it has shape {data}")
        if data is not None:
            label = unify(label, data[:1])
        if label is not None:
            data = unify(data, (label[0], 0))
        return [data, label], [unify(outs[0], (1,))]

    def infer_type(self, ins: list[PartialDType], outs: list[PartialDType]) -> InferredTypes:
        dtype = ins[0] or outs[0]
        return [dtype, ins[1]], [dtype]

    def index_bounds(self, ins: Sequence[Shape]) -> dict[str, IndexBounds]:
        return {"label": IndexBounds("classes", ins[0][1])}

    def emit(self, g: Emitter, data: ir.Value, label: ir.Value) -> ir.Value:
        rows = shape_of(label)[0]
        index = g.reshape(g.cast(label, ir.DataType.INT64), (rows, 1))
        picked = g.op("GatherElements", g.op("LogSoftmax", data, axis=1), index, axis=1)
        return g.op("Neg", g.reshape(g.reduce_sum(picked, [0, 1]), (1,)))
