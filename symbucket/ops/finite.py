"""Operators that ask whether all elements are finite, or two arrays close to each other."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from symbucket.ir import Expr
from symbucket.ops.record import Emitter, Operator, operator
from symbucket.ops.shape import unify
from symbucket.types import InferredShapes, InferredTypes, PartialDType, PartialShape

FAMILY = "Reductions"


def _all_true(condition: Expr) -> Expr:
    """Return whether a condition holds everywhere, of shape (1,)."""
    numbers = condition.cast(ir.DataType.FLOAT).reshape((condition.size,))
    return numbers.op("ReduceMin", [0], keepdims=1) > 0.5


@operator("_contrib_allclose")
class AllClose(Operator):
    """1 if ``|a - b| <= atol + rtol |b|`` for all elements, else 0; of shape (1,)."""

    formula = "y = 1 if abs(a - b) <= atol + rtol abs(b) everywhere, else 0"
    example = "contrib.allclose([1, 2], [1, 2]) -> [1]"
    shapes = "(*d), (*d) -> (1,)"
    no_gradient = ("a", "b")

    rtol: float = 1e-5
    atol: float = 1e-8
    equal_nan: bool = True

    def arguments(self) -> tuple[str, ...]:
        return ("a", "b")

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        shape = unify(*ins)
        return [shape, shape], [unify(outs[0], (1,))]

    def emit(self, g: Emitter, a: ir.Value, b: ir.Value) -> ir.Value:
        x, y = Expr(g, a), Expr(g, b)
        close = (abs(x - y) <= abs(y) * self.rtol + self.atol) | (x == y)
        if self.equal_nan:
            close = close | (x.op("IsNaN") & y.op("IsNaN"))
        return _all_true(close).cast(x.dtype).value


def _finite(g: Emitter, values: tuple[ir.Value, ...]) -> ir.Value:
    """1 if every element of every value is finite, else 0; float32 of shape (1,)."""
    result = None
    for value in values:
        x = Expr(g, value)
        each = _all_true(~(x.op("IsNaN") | x.op("IsInf")))
        result = each if result is None else result & each
    assert result is not None
    return result.cast(ir.DataType.FLOAT).value


@operator("all_finite")
class AllFinite(Operator):
    """1 if every element is finite, else 0; of shape (1,). ``init_output`` has no effect here."""

    formula = "y = 1 if all elements are finite, else 0"
    example = "all_finite([1, 2]) -> [1]"
    shapes = "(*d) -> (1,)"
    no_gradient = ("data",)

    init_output: bool = True

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        return ins, [unify(outs[0], (1,))]

    def infer_type(self, ins: list[PartialDType], outs: list[PartialDType]) -> InferredTypes:
        return ins, [np.dtype(np.float32)]

    def emit(self, g: Emitter, data: ir.Value) -> ir.Value:
        return _finite(g, (data,))


@operator("multi_all_finite")
class MultiAllFinite(Operator):
    """1 if every element of every array is finite, else 0; of shape (1,)."""

    formula = "y = 1 if all elements of all arrays are finite, else 0"
    example = "multi_all_finite([1], [2], num_arrays=2) -> [1]"
    shapes = "(*d), ... -> (1,)"
    variadic = True
    count_in_files = "num_arrays"

    num_args: int = 1
    num_arrays: int = 1
    init_output: bool = True

    def arguments(self) -> tuple[str, ...]:
        return tuple(f"array_{i}" for i in range(self.num_args))

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        return ins, [unify(outs[0], (1,))]

    def infer_type(self, ins: list[PartialDType], outs: list[PartialDType]) -> InferredTypes:
        return ins, [np.dtype(np.float32)]

    def emit(self, g: Emitter, *inputs: ir.Value) -> ir.Value:
        return _finite(g, inputs)
