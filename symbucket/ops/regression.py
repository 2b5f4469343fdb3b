"""Regression outputs, which carry their own gradient (see ``loss``)."""

from __future__ import annotations

import math

import onnx_ir as ir

from symbucket.ir import dtype_of, shape_of
from symbucket.ops.loss import LabelledOutput
from symbucket.ops.record import Emitter, operator
from symbucket.ops.shape import unify
from symbucket.types import InferredShapes, PartialShape

FAMILY = "Losses and gradient blocks"


class _Regression(LabelledOutput):
    grad_scale: float = 1.0
    divides_by_sample = True

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        data, label = unify(ins[0], outs[0]), ins[1]
        if data is not None:
            column = len(data) == 2 and data[1] == 1
            if not (column and label is not None and len(label) == 1):
                label = unify(label, data)
        return [data, label], [data]

    def emit(self, g: Emitter, data: ir.Value, label: ir.Value) -> ir.Value:
        shape = shape_of(data)
        label = g.cast(g.reshape(label, shape), dtype_of(data))
        out = self.link(g, data)
        scale = g.const(self.grad_scale / (math.prod(shape) / shape[0]), like=data)
        dx = g.op("Mul", self.slope(g, g.op("Sub", out, label)), scale)
        return g.own("LossOutput", data, out, dx)

    def link(self, g: Emitter, data: ir.Value) -> ir.Value:
        """Return the output for the data."""
        return data

    def slope(self, g: Emitter, difference: ir.Value) -> ir.Value:
        """Return the gradient for output minus label."""
        return difference


@operator("LinearRegressionOutput")
class LinearRegressionOutput(_Regression):
    """The data itself; its gradient is that of half the squared difference to ``label``."""

    formula = "y = x; dx = grad_scale / m (x - label), m values a sample"
    example = "LinearRegressionOutput([[1, 2]], [[1, 1]]) -> [[1, 2]]"
    grad_scale: float = 1.0


@operator("LogisticRegressionOutput")
class LogisticRegressionOutput(_Regression):
    """Sigmoid of the data; its gradient is that of the binary cross entropy with ``label``."""

    formula = "y = 1 / (1 + exp(-x)); dx = grad_scale / m (y - label), m values a sample"
    example = "LogisticRegressionOutput([[0, 2]], [[1, 1]]) -> [[0.5, 0.8808]]"
    grad_scale: float = 1.0

    def link(self, g: Emitter, data: ir.Value) -> ir.Value:
        return g.op("Sigmoid", data)


@operator("MAERegressionOutput")
class MAERegressionOutput(_Regression):
    """The data itself; its gradient is that of the absolute difference to ``label``."""

    formula = "y = x; dx = grad_scale / m sign(x - label), m values a sample"
    example = "MAERegressionOutput([[1, 2]], [[1, 1]]) -> [[1, 2]]"
    grad_scale: float = 1.0

    def slope(self, g: Emitter, difference: ir.Value) -> ir.Value:
        return g.op("Sign", difference)
