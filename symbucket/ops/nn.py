"""Layers with parameters: FullyConnected and Embedding."""

from __future__ import annotations

import math
from collections.abc import Sequence

import onnx_ir as ir

from symbucket.ir import shape_of
from symbucket.ops.record import Emitter, IndexBounds, Operator, operator
from symbucket.ops.shape import unify
from symbucket.types import InferredShapes, InferredTypes, PartialDType, PartialShape, Shape

FAMILY = "Layers"


@operator("FullyConnected")
class FullyConnected(Operator):
    """``data W^T + bias``; W is (num_hidden, in). ``flatten`` joins all axes but the first.

    Data of one axis is a column then: (n,) is taken as (n, 1).
    """

    formula = "y = x W^T + b"
    example = "FullyConnected([[1, 2]], [[3, 4], [5, 6]], [10, 20], num_hidden=2) -> [[21, 37]]"
    shapes = (
        "(n, *d), (num_hidden, k), (num_hidden,) -> (n, num_hidden)"
        " or (*d, k), (num_hidden, k), (num_hidden,) -> (*d, num_hidden)"
    )
    implicit = ("weight", "bias")

    num_hidden: int
    no_bias: bool = False
    flatten: bool = True

    def __post_init__(self) -> None:
        self.check(self.num_hidden > 0, f"num_hidden={self.num_hidden} must be positive")

    def arguments(self) -> tuple[str, ...]:
        return ("data", "weight") if self.no_bias else ("data", "weight", "bias")

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        data, weight, out = ins[0], ins[1], outs[0]
        if data is not None:
            lead = (data[0],) if self.flatten else data[:-1]
            wide = math.prod(data[1:]) if self.flatten else data[-1]
            out = unify(out, (*lead, self.num_hidden))
            weight = unify(weight, (self.num_hidden, wide))
        if out is not None and data is not None:
            batch = out[:1] if self.flatten else out[:-1]
            data = unify(data, (*batch, *data[len(batch) :]))
            if weight is not None and data is not None and len(data) == len(batch) + 1:
                data = unify(data, (*batch, weight[1]))
        bias = [] if self.no_bias else [unify(ins[2], (self.num_hidden,))]
        return [data, weight, *bias], [out]

    def emit(
        self, g: Emitter, data: ir.Value, weight: ir.Value, bias: ir.Value | None = None
    ) -> ir.Value:
        shape = shape_of(data)
        rows = shape[0] if self.flatten else math.prod(shape[:-1])
        data = g.reshape(data, (rows, math.prod(shape) // rows))
        y = g.op("Gemm", data, weight, bias, transB=1)
        return g.reshape(y, g.out_shapes[0])


@operator("Embedding")
class Embedding(Operator):
    """Rows of ``weight`` (input_dim, output_dim) chosen by the integers in ``data``.

    Negative ids read the first row. Ids that are too large read the last one at inference; training
    refuses them, unless ``CompilerOptions.out_of_range`` says otherwise.
    """

    formula = "y[i] = weight[data[i]]"
    example = "Embedding([1, 0], [[1, 2], [3, 4]], input_dim=2, output_dim=2) -> [[3, 4], [1, 2]]"
    shapes = "(*d), (input_dim, output_dim) -> (*d, output_dim)"
    implicit = ("weight",)
    no_gradient = ("data",)

    input_dim: int
    output_dim: int
    dtype: str = "float32"
    sparse_grad: bool = False

    def __post_init__(self) -> None:
        self.check(self.input_dim > 0, f"input_dim={self.input_dim} must be positive")
        self.check(self.output_dim > 0, f"output_dim={self.output_dim} must be positive")

    def arguments(self) -> tuple[str, ...]:
        return ("data", "weight")

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        data, out = ins[0], outs[0]
        if data is not None:
            out = unify(out, (*data, self.output_dim))
        elif out is not None:
            data = out[:-1]
        return [data, unify(ins[1], (self.input_dim, self.output_dim))], [out]

    def infer_type(self, ins: list[PartialDType], outs: list[PartialDType]) -> InferredTypes:
        weight = ins[1] or outs[0]
        return [ins[0], weight], [weight]

    def emit(self, g: Emitter, data: ir.Value, weight: ir.Value) -> ir.Value:
        rows = g.cast(data, ir.DataType.INT64)  # int32 too: CUDA has no Clip of it
        # Ids outside the table read its first or last row, as in MXNet; ONNX would count negative
        # ones from the end. In training the host refuses ids that are too large: index_bounds.
        last = self.input_dim - 1
        rows = g.op("Clip", rows, g.const(0, like=rows), g.const(last, like=rows))
        return g.op("Gather", weight, rows, axis=0)

    def index_bounds(self, ins: Sequence[Shape]) -> dict[str, IndexBounds]:
        return {"data": IndexBounds("ids of the table", self.input_dim, low=None, lenient=True)}
